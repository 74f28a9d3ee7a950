"""The sizes of an encoder, known without loading torch."""

import math
from dataclasses import dataclass

STRIDE = 320  # samples at 16 kHz from one frame to the next


@dataclass(frozen=True)
class Dims:
    """The sizes of one encoder.

    stem: (channels, kernel, stride) per convolution; only the first is normalised, over time and per channel.
    projection: whether a linear layer takes the stem's last width to `width`; without it the two are equal.
    Dropouts act in training only: hidden, attention, ffn, and input (on the input of the transformer).
    """

    stem: tuple[tuple[int, int, int], ...]
    width: int
    layers: int
    heads: int
    ffn: int
    pos_kernel: int = 128
    pos_groups: int = 16
    projection: bool = False
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    ffn_dropout: float = 0.0
    input_dropout: float = 0.0

    def __post_init__(self) -> None:
        problems = [f"{name} is {value}, expected at least 1" for name, value in self._counts() if value < 1]
        if problems or not self.stem:
            raise ValueError("; ".join(problems) or "stem is empty, expected at least one convolution")
        if self.width % self.heads:
            problems.append(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.width % self.pos_groups:
            problems.append(f"width {self.width} is not a multiple of pos_groups {self.pos_groups}")
        if not self.projection and self.stem[-1][0] != self.width:
            problems.append(f"stem ends at {self.stem[-1][0]} channels, width is {self.width}, and no projection")
        if math.prod(stride for _, _, stride in self.stem) != STRIDE:
            problems.append(f"stem strides multiply to other than {STRIDE}")
        if problems:
            raise ValueError("; ".join(problems))

    def _counts(self) -> tuple[tuple[str, int], ...]:
        names = ("width", "layers", "heads", "ffn", "pos_kernel", "pos_groups")
        return tuple((name, getattr(self, name)) for name in names)

    def frames(self, samples: int) -> int:
        """Number of frames of an utterance of so many samples (model-zoo.md 1)."""
        for _, kernel, stride in self.stem:
            samples = (samples - kernel) // stride + 1
        return max(samples, 0)
