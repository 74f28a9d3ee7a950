"""Counts of parameters and MACs beside the printed ones."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "published_counts.csv"


@dataclass(frozen=True)
class PrintedCount:
    """What is printed of a network, digit by digit; empty where nothing is. parameters: millions; macs: giga."""

    parameters: str
    macs: str
    note: str


def printed_counts() -> dict[str, PrintedCount]:
    """The printed counts by the name of the network; data/README.md tells the sources."""
    with DATA.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return {line["key"]: PrintedCount(line["params_m"], line["macs_g"], line["note"]) for line in lines}


def compared(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Counts of paper-size networks beside the printed ones, in millions and giga, with the difference in %.

    A count that rounds to the printed digits differs by 0 ("exact").
    """
    printed = printed_counts()
    return [_compared(row, printed.get(row["name"], PrintedCount("", "", ""))) for row in rows]


def _compared(row: dict[str, Any], printed: PrintedCount) -> dict[str, Any]:
    return {
        "network": row["name"] + (" [reconstructed]" if row["reconstructed"] else ""),
        "parameters_M": f"{row['parameters'] / 1e6:.2f}",
        "as_published_M": f"{row['as_published'] / 1e6:.2f}",
        "printed_M": printed.parameters or None,
        "parameters_difference": difference(row["as_published"] / 1e6, printed.parameters),
        "strict_G": f"{row['strict'] / 1e9:.3f}",
        "superb_G": f"{row['superb'] / 1e9:.3f}",
        "printed_G": printed.macs or None,
        "MACs_difference": difference(row["superb"] / 1e9, printed.macs),
        "note": printed.note or None,
    }


def difference(value: float, printed: str) -> str | None:
    """ "exact" where the value rounds to what is printed, else how far it is off in %; None if nothing is printed."""
    if not printed:
        return None
    decimals = len(printed.partition(".")[2])
    if f"{value:.{decimals}f}" == printed:
        return "exact"
    return f"{100 * (value / float(printed) - 1):+.2f} %"
