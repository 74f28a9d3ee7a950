"""The names of objectives and how they are combined, without loading anything heavy.

An objective is written as a sum of weighted terms, for instance `layer-wise+intra-layer+0.1*avg-attn`.
"""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from students.names import suggestion

if TYPE_CHECKING:
    from torch import Tensor

    from students.encoded import Encoded

HEADED = ("hint", "masking", "distilhubert")  # those with heads, which students.criterion adds
OBJECTIVE_NAMES = ("star", "layer-wise", "intra-layer", "avg-attn", "last-attn", "star-post-cnn", *HEADED)
_NEED_MAPS = frozenset({"avg-attn", "last-attn"})
_PLUS = re.compile(r"(?<![\d.][eE])\+")  # not the sign of an exponent


@dataclass(frozen=True)
class Objective:
    """A sum of weighted terms, each with a name out of OBJECTIVE_NAMES; call it to get the loss of a batch."""

    terms: tuple[tuple[str, float], ...]

    @property
    def needs_maps(self) -> bool:
        """Whether the encoders are to return their attention maps."""
        return any(name in _NEED_MAPS for name, _ in self.terms)

    @property
    def needs_projected(self) -> bool:
        """Whether the projected features count, beside the states."""
        return any(name == "star-post-cnn" for name, _ in self.terms)

    @property
    def masks(self) -> bool:
        """Whether the student hears masked utterances."""
        return any(name == "masking" for name, _ in self.terms)

    @property
    def name(self) -> str:
        """The shortest spelling, which `parse` reads back."""
        return "+".join(name if weight == 1 else f"{_number(weight)}*{name}" for name, weight in self.terms)

    def __call__(self, student: "Encoded", teacher: "Encoded") -> "Tensor":
        """The loss of one batch, as `students.objectives.evaluate` defines it."""
        from students.objectives import evaluate

        return evaluate(self, student, teacher)


def parse(text: str) -> Objective:
    """Read an objective: names out of OBJECTIVE_NAMES joined by +, each with an optional weight and * before it.

    Raises ValueError with one line a problem: unknown or repeated names, weights that are not positive numbers.
    """
    terms: list[tuple[str, float]] = []
    problems: list[str] = []
    for part in _PLUS.split(text):
        before, star, after = part.rpartition("*")
        name, weight = after.strip(), _weight(before) if star else 1.0
        if name not in OBJECTIVE_NAMES:
            problems.append(f"unknown objective {name!r}: {suggestion(name, OBJECTIVE_NAMES)}")
        elif name in dict(terms):
            problems.append(f"objective {name} is given twice in {text!r}: give it once, with the sum of the weights")
        if weight is None:
            problems.append(f"weight {before.strip()!r} of objective {name!r}: expected a number over 0, as in 2*star")
        terms.append((name, weight or 0.0))
    if len(terms) > 1 and "masking" in dict(terms):
        problems.append(f"masking changes what the student hears and cannot be part of {text!r}: give it alone")
    if problems:
        raise ValueError("\n".join(problems))
    return Objective(tuple(terms))


def _weight(text: str) -> float | None:
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if 0 < weight < math.inf else None


def _number(weight: float) -> str:
    return repr(weight).removesuffix(".0").replace("e+", "e")
