"""Parameters and multiply-accumulate operations (MACs) of an encoder: closed formulas, and a trace that must agree.

The primary count is `strict`: convolutions, dense projections and the two attention products of the inference graph,
one MAC per multiply-add, and nothing else (model-zoo.md 2.1). The leaderboard's own count is `superb` (2.2).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from students.dims import Dims

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
    {"aten::_weight_norm", "aten::add", "aten::gelu", "aten::group_norm", "aten::layer_norm", "aten::unflatten"}
)


class ComplexityError(ValueError):
    """A count that cannot be made or does not hold; the message says what failed, what was expected and what to do."""


@dataclass(frozen=True)
class MacCount:
    """MACs by part: stem, projection after the stem, positional convolution, linear layers and attention products."""

    conv: int = 0
    projection: int = 0
    positional: int = 0
    linear: int = 0
    attention: int = 0

    @property
    def total(self) -> int:
        """All MACs."""
        return self.conv + self.projection + self.positional + self.linear + self.attention

    def __add__(self, other: MacCount) -> MacCount:
        return MacCount(
            self.conv + other.conv,
            self.projection + other.projection,
            self.positional + other.positional,
            self.linear + other.linear,
            self.attention + other.attention,
        )


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
    """Number of trainable values of an encoder, by formula (model-zoo.md 3.2)."""
    d, f, first, last = dims.width, dims.ffn, dims.stem[0][0], dims.stem[-1][0]
    stem = sum(before * channels * kernel for before, channels, kernel, _ in _convolutions(dims)) + 2 * first
    projection = 2 * last + (last * d + d if dims.projection else 0)
    positional = dims.pos_kernel * d * d // dims.pos_groups + d + dims.pos_kernel
    layer = (4 * d * d + 4 * d) + (2 * d * f + f + d) + 4 * d
    return stem + projection + positional + 2 * d + dims.layers * layer


def macs(dims: Dims, samples: int) -> MacCount:
    """MACs of one utterance of so many samples, by formula and in the `strict` convention (model-zoo.md 2.1).

    Raises ComplexityError if the utterance is too short for one frame.
    """
    n = _frames(dims, samples)
    d = dims.width
    conv, length = 0, samples
    for before, channels, kernel, stride in _convolutions(dims):
        length = (length - kernel) // stride + 1
        conv += length * kernel * before * channels
    positions = n + 1 - dims.pos_kernel % 2  # an even kernel makes one position more, computed and then cut off
    return MacCount(
        conv=conv,
        projection=n * dims.stem[-1][0] * d if dims.projection else 0,
        positional=positions * dims.pos_kernel * d * d // dims.pos_groups,
        linear=dims.layers * n * (4 * d * d + 2 * d * dims.ffn),
        attention=dims.layers * 2 * n * n * d,
    )


def profile(dims: Dims) -> dict[str, MacCount]:
    """`strict` MACs by bucket of PROFILING_SAMPLES, each summed over the bucket's utterances."""
    return {
        bucket: sum((macs(dims, samples) for samples in lengths), MacCount())
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

    network: waveforms (batch, samples) and lengths (batch,) to a list of states and their lengths; traced in eval
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
            return tuple(self.network(wave, self.lengths)[0])

    return SingleUtterance()
