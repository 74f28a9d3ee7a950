"""Counts of parameters and MACs beside the printed ones."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.layout import MISSING, Cell, Column, Section, Table

DATA = Path(__file__).parent / "data" / "published_counts.csv"
RECONSTRUCTED = "Sizes reconstructed from the printed parameter count alone."
_COLUMNS = (
    Column("Network", align="l"),
    Column("inference", "(M)", "Parameters"),
    Column("as published", "(M)", "Parameters"),
    Column("printed", "(M)", "Parameters"),
    Column("difference", "", "Parameters"),
    Column("strict", "", "MACs"),
    Column("superb", "", "MACs"),
    Column("printed", "(G)", "MACs"),
    Column("difference", "", "MACs"),
)


@dataclass(frozen=True)
class PrintedCount:
    """What is printed of a network, digit by digit; empty where nothing is. parameters: millions; macs: giga; counted:
    whether the harness can count it without a checkpoint."""

    parameters: str
    macs: str
    note: str
    counted: bool = True


def printed_counts() -> dict[str, PrintedCount]:
    """The printed counts by the name of the network; data/README.md tells the sources."""
    with DATA.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return {
        line["key"]: PrintedCount(line["params_m"], line["macs_g"], line["note"], line["counted"] == "yes")
        for line in lines
    }


def counts_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Counts of paper-size networks beside the printed ones, each with the difference: "exact" where ours rounds to it.

    rows: with name, reconstructed, and the counts parameters, as_published, strict and superb. `superb` is compared, as
    the leaderboard's profiler made the printed MACs (model-zoo.md 2.2). What is printed of networks that cannot be
    counted without their file stands at the end.
    """
    printed, footnotes, body = printed_counts(), dict[str, int](), []
    for row in rows:
        beside = printed.get(row["name"], PrintedCount("", "", ""))
        remarks = [text for text in (beside.note, RECONSTRUCTED if row["reconstructed"] else "") if text]
        numbers = tuple(footnotes.setdefault(text, len(footnotes) + 1) for text in remarks)
        texts = (
            *(f"{row[key] / 1e6:.2f}" for key in ("parameters", "as_published")),
            beside.parameters or MISSING,
            difference(row["as_published"] / 1e6, beside.parameters),
            *(f"{row[key]:,}" for key in ("strict", "superb")),
            beside.macs or MISSING,
            difference(row["superb"] / 1e9, beside.macs),
        )
        body.append((Cell(row["name"], footnotes=numbers), *map(Cell, texts)))
    for name, beside in printed.items():
        if not beside.counted:
            number = footnotes.setdefault(beside.note, len(footnotes) + 1)
            texts = (MISSING, MISSING, beside.parameters, MISSING, MISSING, MISSING, beside.macs, MISSING)
            body.append((Cell(name, footnotes=(number,)), *map(Cell, texts)))
    notes = (
        "Parameters: those that inference of the states needs; with what the printed number includes besides; printed.",
        "MACs over the 32 profiling utterances: convolutions, linear layers and attention products (strict); as the "
        "leaderboard's profiler counts (superb); printed.",
    )
    title = "Parameters and MACs beside the printed ones"
    return Table(title, _COLUMNS, (Section("", tuple(body)),), tuple(footnotes), notes)


def difference(value: float, printed: str) -> str:
    """ "exact" where the value rounds to what is printed, else how far it is off in %; a dash if nothing is printed."""
    if not printed:
        return MISSING
    decimals = len(printed.partition(".")[2])
    if f"{value:.{decimals}f}" == printed:
        return "exact"
    return f"{100 * (value / float(printed) - 1):+.2f} %"
