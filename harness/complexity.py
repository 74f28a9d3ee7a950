"""Parameters and multiply-accumulate operations (MACs) of an encoder: closed formulas, and a trace that must agree.

The primary count is `strict`: convolutions, dense projections and the two attention products of the inference graph,
one MAC per multiply-add, and nothing else (model-zoo.md 2.1). The leaderboard's own count is `superb` (2.2).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from students.dims import Dims, LayerDims

CONVENTION = "strict"

# Samples at 16 kHz: every 82nd utterance of LibriSpeech test-clean by length (model-zoo.md 1).
PROFILING_SAMPLES: dict[str, tuple[int, ...]] = {
    "short": (20560, 34560, 38480, 42560, 45600, 48720, 52000, 55120),
    "medium": (59120, 62720, 66400, 71200, 75200, 78640, 82800, 87520),
    "long": (92720, 98560, 104400, 111120, 118480, 125040, 132720, 142640),
    "longer": (154000, 166720, 180880, 197920, 217920, 239280, 268160, 326000),
}

# Operators that `strict` does not count. fvcore itself passes over those that only move or shape data.
UNCOUNTED = frozenset(
    f"aten::{name}"
    for name in (
        "_weight_norm abs add div embedding gelu group_norm layer_norm log lt masked_fill mul pow sigmoid softmax sub "
        "sum unflatten where"
    ).split()
)


class ComplexityError(ValueError):
    """A count that cannot be made or does not hold; the message says what failed, what was expected and what to do."""


@dataclass(frozen=True)
class MacCount:
    """MACs by part: stem, projection after the stem, positional convolution, linear layers, attention products, and
    prediction heads."""

    conv: int = 0
    projection: int = 0
    positional: int = 0
    linear: int = 0
    attention: int = 0
    heads: int = 0

    @property
    def total(self) -> int:
        """All MACs."""
        return sum(astuple(self))

    def __add__(self, other: MacCount) -> MacCount:
        return MacCount(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class CountRow:
    """The counts of one network.

    macs: by bucket of PROFILING_SAMPLES, each summed over the bucket's utterances. convention: of those MACs.
    verified: the buckets whose every utterance was traced and agreed with the formula to the integer.
    """

    name: str
    parameters: int
    macs: dict[str, MacCount]
    convention: str
    verified: tuple[str, ...]

    @property
    def total(self) -> MacCount:
        """MACs over all buckets."""
        return sum(self.macs.values(), MacCount())


def parameters(dims: Dims) -> int:
    """Number of values of an encoder, its heads and mask vector included, by formula (model-zoo.md 3.2)."""
    d, last = dims.width, dims.stem[-1][0]
    normed = sum(channels for channels, _, _ in dims.stem) if dims.stem_norm == "layer" else dims.stem[0][0]
    stem = sum(before * channels * kernel for before, channels, kernel, _ in _convolutions(dims)) + 2 * normed
    stem += sum(channels for channels, _, _ in dims.stem) if dims.stem_bias else 0
    stem += last if dims.stem_scale else 0
    projection = (2 * last if dims.projection_norm else 0) + (last * d + d if dims.projection else 0)
    positional = dims.pos_kernel * d * d // dims.pos_groups + d + dims.pos_kernel
    reduction = dims.reduction * d * d + d if dims.reduction > 1 else 0
    layers = sum(_layer_parameters(dims, dims.layer(number)) for number in range(1, dims.layers + 1))
    buckets = 320 * dims.heads if dims.gated_position else 0
    head = reduction + d * dims.prediction_width + (dims.prediction_width if dims.prediction_bias else 0)
    mask = d if dims.mask_vector else 0
    return stem + projection + positional + 2 * d + reduction + layers + buckets + len(dims.predicted) * head + mask


def _layer_parameters(dims: Dims, layer: LayerDims) -> int:
    d, a, f = dims.width, layer.attention, layer.ffn
    attention = (4 * d * a + 3 * a + d) - (2 * (d * a + a) if layer.reuses else 0) if a else 0
    gate = 8 * layer.head_width + 8 + dims.heads if a and dims.gated_position else 0
    return attention + gate + (2 * d * f + f + d if f else 0) + 4 * d


def macs(dims: Dims, samples: int, pad_multiple: int = 1) -> MacCount:
    """MACs of one utterance of so many samples, by formula and in the `strict` convention (model-zoo.md 2.1).

    pad_multiple: the frames of the transformer are padded up to a multiple of it. Raises ComplexityError if the
    utterance is too short for one frame.
    """
    n, d = _frames(dims, samples), dims.width
    conv, length = 0, samples
    for before, channels, kernel, stride in _convolutions(dims):
        length = (length - kernel) // stride + 1
        conv += length * kernel * before * channels
    positions = n + 1 - dims.pos_kernel % 2  # an even kernel makes one position more, computed and then cut off
    rate = n // dims.reduction
    time = rate + -rate % pad_multiple
    layers = [dims.layer(number) for number in range(1, dims.layers + 1)]
    linear = sum(time * ((2 if own.reuses else 4) * d * own.attention + 2 * d * own.ffn) for own in layers)
    if dims.gated_position:
        linear += sum(time * own.attention * 8 for own in layers)
    upsampling = dims.reduction * d * d if dims.reduction > 1 else 0
    head = rate * (upsampling + dims.reduction * d * dims.prediction_width)
    return MacCount(
        conv=conv,
        projection=n * dims.stem[-1][0] * d if dims.projection else 0,
        positional=positions * dims.pos_kernel * d * d // dims.pos_groups,
        linear=linear + time * upsampling,  # the reduction itself costs what undoing it costs
        attention=sum((1 if own.reuses else 2) * time * time * own.attention for own in layers),
        heads=len(dims.predicted) * head,
    )


def profile(dims: Dims, pad_multiple: int = 1) -> dict[str, MacCount]:
    """`strict` MACs by bucket of PROFILING_SAMPLES, each summed over the bucket's utterances."""
    return {
        bucket: sum((macs(dims, samples, pad_multiple) for samples in lengths), MacCount())
        for bucket, lengths in PROFILING_SAMPLES.items()
    }


def superb_extra(dims: Dims, samples: int, attention_dropout: bool) -> int:
    """What the leaderboard's profiler counts above `strict` for one utterance where attention is one fused call:
    bias, query scaling, mask and softmax, and the dropout wherever the module has one, even in eval mode.

    attention_dropout: whether the published module was built with attention dropout, as HuBERT Base was. Networks
    whose attention is not one fused call, the STaRHuBERT family among them, have no extra. Raises ComplexityError if
    the utterance is too short for one frame. Source: model-zoo.md 2.2.
    """
    n = _frames(dims, samples)
    return dims.layers * (4 * n * dims.width + (3 + attention_dropout) * dims.heads * n * n)


def traced_macs(network: nn.Module, samples: int) -> int:
    """MACs of one utterance of so many samples, read off the traced graph of a network by fvcore.

    network: waveforms (batch, samples) and lengths (batch,) to students.encoded.Encoded; traced in eval
    mode, with gradients, because PyTorch's inference fast paths hide attention from the tracer. Raises
    ComplexityError on any operator that is neither counted nor known to be free of MACs (model-zoo.md 4).
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fvcore scripts functions when imported
        from fvcore.nn import FlopCountAnalysis

    training = network.training
    wave = torch.zeros(1, samples, device=next(network.parameters()).device)
    analysis = FlopCountAnalysis(_single_utterance(network.eval(), samples), wave)
    analysis.clear_op_handles().set_op_handle(**_operator_macs())
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    try:
        with torch.enable_grad():
            total = int(analysis.total())
    finally:
        network.train(training)
    unknown = sorted(set(analysis.unsupported_ops()) - UNCOUNTED)
    if unknown:
        raise ComplexityError(
            f"operators without a MAC rule in {type(network).__name__}: {', '.join(unknown)}; expected only known "
            "ones; add each to _operator_macs or, if it is free of MACs, to UNCOUNTED in harness/complexity.py"
        )
    return total


def count_network(
    name: str, dims: Dims, verify: tuple[str, ...] = (), done: Callable[[int], None] | None = None
) -> CountRow:
    """Count a network by formula; check the parameters against the built network and the MACs against its trace.

    verify: buckets of PROFILING_SAMPLES to trace. done: called after each traced utterance with the number traced so
    far. Raises ComplexityError on an unknown bucket, and where formula and built network differ.
    """
    import torch

    from students.encoder import SpeechEncoder

    unknown = [bucket for bucket in verify if bucket not in PROFILING_SAMPLES]
    if unknown:
        raise ComplexityError(f"unknown buckets: {', '.join(unknown)}; choose from {', '.join(PROFILING_SAMPLES)}")
    with torch.random.fork_rng(devices=()):  # counting must not shift the caller's random numbers
        network = SpeechEncoder(dims)
    built = sum(parameter.numel() for parameter in network.parameters())
    _must_agree(name, "parameters", parameters(dims), built)
    lengths = [samples for bucket in verify for samples in PROFILING_SAMPLES[bucket]]
    for traced, samples in enumerate(lengths, 1):
        _must_agree(name, f"MACs for {samples} samples", macs(dims, samples).total, traced_macs(network, samples))
        if done:
            done(traced)
    return CountRow(name, built, profile(dims), CONVENTION, verify)


def _convolutions(dims: Dims) -> list[tuple[int, int, int, int]]:
    """(channels in, channels out, kernel, stride) of every convolution of the stem."""
    before = [1] + [channels for channels, _, _ in dims.stem]
    return [(width, *convolution) for width, convolution in zip(before, dims.stem, strict=False)]


def _frames(dims: Dims, samples: int) -> int:
    frames = dims.frames(samples)
    if frames < 1:
        raise ComplexityError(f"{samples} samples are too short for one frame; give a longer utterance")
    return frames


def _must_agree(name: str, what: str, formula: int, built: int) -> None:
    if formula != built:
        raise ComplexityError(
            f"{name}: {what}: the formula gives {formula}, the built network {built}; expected the same; bring "
            "students/encoder.py and harness/complexity.py together"
        )


def _operator_macs() -> dict[str, Callable[[list[Any], list[Any]], Any]]:
    """The MAC rule of every operator that counts, each exact to the integer (fvcore's einsum rule is not)."""
    from fvcore.nn import jit_handles as handles

    return {
        "aten::_convolution": handles.conv_flop_jit,
        "aten::addmm": handles.addmm_flop_jit,
        "aten::bmm": handles.bmm_flop_jit,
        "aten::linear": handles.linear_flop_jit,
        "aten::matmul": handles.matmul_flop_jit,
        "aten::mm": handles.matmul_flop_jit,
        "aten::scaled_dot_product_attention": _attention_macs,
    }


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """The two products of attention: queries (..., L, E), keys (..., S, E) and values (..., S, V)."""
    query, key, value = ([int(size) for size in node.type().sizes()] for node in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _single_utterance(network: nn.Module, samples: int) -> nn.Module:
    """The network as a module of one wave (1, samples) that returns a tuple of states, the form a tracer follows."""
    import torch
    from torch import nn

    class SingleUtterance(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.lengths = torch.tensor([samples])

        def forward(self, wave: torch.Tensor) -> tuple[torch.Tensor, ...]:
            encoded = self.network(wave, self.lengths)
            return (*encoded.states, *encoded.predictions.values())

    return SingleUtterance()
