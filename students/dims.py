"""The sizes of an encoder, known without loading torch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

STRIDE = 320  # samples at 16 kHz from one frame to the next
Stem = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class LayerDims:
    """The sizes of one transformer layer; no heads or no FFN means that the layer lacks that half. reuses: whether it
    takes the previous layer's attention map instead of its own. kept: numbers (from 0) of the heads that pruning left,
    empty where it left all."""

    heads: int
    head_width: int
    ffn: int
    reuses: bool
    kept: tuple[int, ...] = ()

    @property
    def attention(self) -> int:
        """Width of queries, keys and values."""
        return self.heads * self.head_width


@dataclass(frozen=True)
class Dims:
    """The sizes of one encoder (model-zoo.md 3).

    stem: (channels, kernel, stride) per convolution. stem_norm: "group" normalises the first convolution over time and
    per channel, "layer" each one over its channels. stem_bias, stem_scale: whether the convolutions have a bias, and
    the stem's output a factor per channel.
    projection: whether a linear layer takes the stem's last width to `width`; without it the two are equal.
    projection_norm: whether a LayerNorm precedes it.
    pre_norm: LayerNorm before attention and FFN, and once after the last layer, as in the Large models.
    gated_position: WavLM's gated relative position bias. reuse: layers (from 1) that take the previous attention map;
    softmax_twice: whether that map goes through softmax again, as in ARMHuBERT's released code.
    reduction: frames that one strided convolution joins before the first layer.
    sizes: (heads, FFN) of each layer where pruning left them unequal; head_width: of one head, width / heads if 0;
    kept_heads: which heads pruning left of each layer, needed beside gated_position alone.
    mask_vector: whether there is one in place of masked frames. predicted: layers (from 1) with a head that predicts
    the teacher's output of prediction_width; prediction_bias: whether the heads have a bias.
    Dropouts act in training only: hidden, attention, ffn, and input (on the input of the transformer).
    Raises ValueError for sizes that do not fit together, all at once.
    """

    stem: Stem
    width: int
    layers: int
    heads: int
    ffn: int
    pos_kernel: int = 128
    pos_groups: int = 16
    projection: bool = False
    stem_norm: Literal["group", "layer"] = "group"
    stem_bias: bool = False
    stem_scale: bool = False
    projection_norm: bool = True
    pre_norm: bool = False
    gated_position: bool = False
    reuse: tuple[int, ...] = ()
    softmax_twice: bool = False
    reduction: int = 1
    sizes: tuple[tuple[int, int], ...] = ()
    head_width: int = 0
    kept_heads: tuple[tuple[int, ...], ...] = ()
    mask_vector: bool = False
    predicted: tuple[int, ...] = ()
    prediction_width: int = 0
    prediction_bias: bool = True
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    ffn_dropout: float = 0.0
    input_dropout: float = 0.0

    def __post_init__(self) -> None:
        names = ("width", "layers", "heads", "ffn", "pos_kernel", "pos_groups", "reduction")
        counts = [(name, getattr(self, name)) for name in names]
        problems = [f"{name} is {value}, expected at least 1" for name, value in counts if value < 1]
        if problems or not self.stem:
            raise ValueError("; ".join(problems) or "stem is empty, expected at least one convolution")
        problems = list(self._misfits())
        if problems:
            raise ValueError("; ".join(problems))

    def _misfits(self) -> Iterator[str]:
        if not self.head_width and self.width % self.heads:
            yield f"width {self.width} is not a multiple of heads {self.heads}"
        if self.width % self.pos_groups:
            yield f"width {self.width} is not a multiple of pos_groups {self.pos_groups}"
        if not self.projection and self.stem[-1][0] != self.width:
            yield f"stem ends at {self.stem[-1][0]} channels, width is {self.width}, and no projection"
        if math.prod(stride for _, _, stride in self.stem) != STRIDE:
            yield f"stem strides multiply to other than {STRIDE}"
        if self.stem_norm not in ("group", "layer"):
            yield f"stem_norm is {self.stem_norm!r}, expected group or layer"
        if self.sizes and len(self.sizes) != self.layers:
            yield f"sizes has {len(self.sizes)} entries for {self.layers} layers"
        kept = [len({head for head in layer if head in range(self.heads)}) for layer in self.kept_heads]
        if (kept or (self.sizes and self.gated_position)) and kept != [heads for heads, _ in self.sizes]:
            yield f"kept_heads {self.kept_heads} does not name the heads of sizes {self.sizes}"
        wrong = [layer for layer in (*self.reuse, *self.predicted) if not 1 <= layer <= self.layers]
        if wrong or 1 in self.reuse:
            yield f"reuse {self.reuse} and predicted {self.predicted} must name layers 1 to {self.layers}, reuse not 1"
        heads = sorted({heads for heads, _ in self.sizes})
        if self.reuse and len(heads) > 1:
            yield f"reuse needs as many heads in every layer, sizes has {heads}"
        if self.reuse and self.gated_position:
            yield f"reuse {self.reuse} does not go with gated_position"
        if self.gated_position and self.sizes and not self.sizes[0][0]:
            yield f"gated_position needs heads in layer 1, whose position table all layers share: sizes is {self.sizes}"
        if bool(self.predicted) != bool(self.prediction_width):
            yield f"predicted {self.predicted} does not go with prediction_width {self.prediction_width}"

    def layer(self, number: int) -> LayerDims:
        """The sizes of one layer, counted from 1."""
        heads, ffn = self.sizes[number - 1] if self.sizes else (self.heads, self.ffn)
        kept = self.kept_heads[number - 1] if self.kept_heads else ()
        return LayerDims(heads, self.head_width or self.width // self.heads, ffn, number in self.reuse, kept)

    def bare(self) -> "Dims":
        """The same encoder without prediction heads and mask vector: what inference of its states needs."""
        return replace(self, predicted=(), prediction_width=0, mask_vector=False)

    def frames(self, samples: int) -> int:
        """Number of frames of an utterance of so many samples, before any reduction (model-zoo.md 1)."""
        for _, kernel, stride in self.stem:
            samples = (samples - kernel) // stride + 1
        return max(samples, 0)


def dims_from(stored: dict[str, Any]) -> Dims:
    """Dims from what JSON made of them. Raises TypeError for an unknown name and ValueError for sizes that misfit."""
    return Dims(**{key: _tuples(value) for key, value in stored.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
