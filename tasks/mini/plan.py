"""What the corpora of the mini suite have in common: a plan of utterances, and a step that then writes the lists."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.mini.espeak import Voice
from tasks.mini.render import Utterance


@dataclass(frozen=True)
class CorpusPlan:
    """One corpus to make: its speakers, the utterances to render, and what remains to be written after them."""

    voices: dict[str, Voice]
    utterances: list[Utterance]
    finish: Callable[[], None]


def draw_seed(rng: np.random.Generator) -> int:
    """A seed for one utterance's room and noise."""
    return int(rng.integers(2**31))


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write text lines in UTF-8; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
