"""What a table is before a writer gives it a form, and how its numbers are spelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Mark = Literal["", "best", "second", "warning"]
MARKS: tuple[Mark, Mark] = ("best", "second")
MISSING = "–"
ARROWS = {True: "↑", False: "↓"}


@dataclass(frozen=True)
class Cell:
    """One cell: a value, its mark among those of its column in its section or a warning, its spread, its footnotes.

    spread: a standard error or an interval, as text. footnotes: from 1, into `Table.footnotes`.
    """

    text: str
    mark: Mark = ""
    spread: str = ""
    footnotes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column: its title and a second line (metric and arrow, or unit); neighbours of one group share its heading."""

    title: str
    detail: str = ""
    group: str = ""
    align: Literal["l", "r"] = "r"


@dataclass(frozen=True)
class Section:
    """Rows under one heading; no heading if the title is empty."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """A titled table of sections; footnotes are numbered from 1, notes are about the whole table."""

    title: str
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    footnotes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows of all sections."""
        return tuple(row for section in self.sections for row in section.rows)


def groups(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Neighbouring columns of one group, as its heading and their number."""
    found: list[tuple[str, int]] = []
    for column in columns:
        if found and found[-1][0] == column.group:
            found[-1] = (column.group, found[-1][1] + 1)
        else:
            found.append((column.group, 1))
    return found


def plain(text: str) -> str:
    """Text on one line without control, direction or other characters that a reader cannot see."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))


def ranking(texts: Sequence[str], higher_is_better: bool) -> list[Mark]:
    """Best and second among numbers as they are shown, equal ones alike; no marks where all are equal."""
    values = [None if text == MISSING else float(text) for text in texts]
    order = sorted({value for value in values if value is not None}, reverse=higher_is_better)
    marks: dict[float | None, Mark] = dict(zip(order, MARKS, strict=False)) if len(order) > 1 else {}
    return [marks.get(value, "") for value in values]


def fixed(value: float | None, digits: int) -> str:
    """A number with so many decimals; None as a dash."""
    return MISSING if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Two decimals, or two significant digits where those would show nothing; None as a dash."""
    return f"{value:.2g}" if value and abs(value) < 0.005 else fixed(value, 2)


def short(value: float | None) -> str:
    """Four significant digits; None as a dash."""
    return MISSING if value is None else f"{value:.4g}"
