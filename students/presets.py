"""Every network by name: a few literal numbers over the shared blocks (model-zoo.md 3.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from students.dims import Dims

Size = str  # "paper" or "mini"


@dataclass(frozen=True)
class Preset:
    """One network family.

    exposes_input: whether its upstream exposes state 0, the input of the first layer, beside the layer outputs.
    fused_attention: None where the published code computes attention step by step; else whether the fused call has
    attention dropout. The leaderboard's profiler counts more for a fused call (model-zoo.md 2.2).
    """

    name: str
    paper: Dims
    mini: Dims
    exposes_input: bool
    fused_attention: bool | None

    def dims(self, size: Size) -> Dims:
        """The sizes of the network as published ("paper") or for the mini suite ("mini")."""
        return {"paper": self.paper, "mini": self.mini}[size]


def wide_stem(channels: int) -> tuple[tuple[int, int, int], ...]:
    """HuBERT's stem: seven convolutions of equal width."""
    return ((channels, 10, 5), *((channels, 3, 2),) * 4, *((channels, 2, 2),) * 2)


def thin_stem(width: int, scale: int = 1) -> tuple[tuple[int, int, int], ...]:
    """The students' stem: narrow at the high frame rates, 1 x 1 convolutions where the width changes."""
    first, second = 128 // scale, 256 // scale
    return ((first, 10, 5), (second, 1, 1), *((second, 3, 2),) * 4, (width, 1, 1), *((width, 2, 2),) * 2)


_STUDENT_DROPOUT: dict[str, Any] = {
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "ffn_dropout": 0.1,
    "input_dropout": 0.05,
}


def hubert() -> Preset:
    """HuBERT Base (arXiv 2106.07447). Mini: mini-hubert, every width a quarter, half the layers, and a quarter of
    the positional kernel and groups."""
    return Preset(
        name="hubert",
        paper=Dims(wide_stem(512), width=768, layers=12, heads=12, ffn=3072, projection=True),
        mini=Dims(wide_stem(128), width=192, layers=6, heads=3, ffn=768, pos_kernel=32, pos_groups=4, projection=True),
        exposes_input=True,
        fused_attention=True,
    )


def starhubert() -> Preset:
    """STaRHuBERT (arXiv 2312.09040): no projection, no heads. Mini: scaled to mini-hubert as the paper's is to HuBERT
    Base (0.5625 of the width, 0.318 of the FFN, the teacher's depth). Its mini size is trained for hundreds of steps,
    not hundreds of thousands, and underfits: no dropout."""
    return Preset(
        name="starhubert",
        paper=Dims(thin_stem(432), width=432, layers=12, heads=12, ffn=976, **_STUDENT_DROPOUT),
        mini=Dims(thin_stem(108, 4), width=108, layers=6, heads=3, ffn=244, pos_kernel=32, pos_groups=4),
        exposes_input=False,
        fused_attention=None,
    )


STUDENTS: dict[str, Callable[[], Preset]] = {"starhubert": starhubert}
TEACHERS: dict[str, Callable[[], Preset]] = {"hubert": hubert}
