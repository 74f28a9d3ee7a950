"""Records to tabulate, and a table made by hand."""

from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.figure import Figure

from reports.aggregate import SUPERB
from reports.layout import Cell, Column, Section, Table
from reports.records import Record


@pytest.fixture
def run(record: Callable[..., Record]) -> list[Record]:
    """Three upstreams on two tasks; the last failed on KS."""
    ks = {"task": "ks", "metric": "Acc", "higher_is_better": True}
    failed = {"value": None, "skipped": ["out of memory | at batch 3"]}
    fbank = {"upstream": "fbank", "upstream_kind": "fbank", "parameters": 0, "macs": None}
    return [
        record(**ks, value=90.0),
        record(value=12.5),
        record(upstream="mini_hubert", upstream_kind="teacher", value=10.0),
        record(upstream="mini_hubert", upstream_kind="teacher", **ks, value=95.0, stderr=0.5, stderr_method="binomial"),
        record(**fbank, value=60.0),
        record(**fbank, **ks, **failed),
    ]


@pytest.fixture
def hand() -> Table:
    """Two sections, three columns of which two share a heading, every mark, one spread, two footnotes on one cell."""
    columns = (Column("Model", align="l"), Column("PR", "PER ↓", "Content"), Column("KS", "Acc ↑", "Content"))
    teachers = ((Cell("T_1", footnotes=(1, 2)), Cell("5.41", "best"), Cell("96.30", "best")),)
    students = (
        (Cell("a&b"), Cell("8.16", "best", "± 0.50"), Cell("96.27", "second")),
        (Cell("c"), Cell("9.17", "second"), Cell("–")),
    )
    sections = (Section("Teachers", teachers), Section("Students", students))
    return Table("Hand made", columns, sections, ("frozen", "5 % off"), ("In %.",))


@pytest.fixture
def superb(record: Callable[..., Record]) -> Callable[..., list[Record]]:
    """Make the eleven records of an upstream on the official corpora, every score the same; keywords as for record."""

    def make(upstream: str, value: float, **changes: Any) -> list[Record]:
        fixed = {"suite": "superb", "synthetic": False, "upstream": upstream, "value": value}
        cells = [
            {"task": metric.task.lower(), "metric": metric.name.lower(), "higher_is_better": metric.higher_is_better}
            for metric in SUPERB.values()
        ]
        return [record(**fixed | cell | changes) for cell in cells]

    return make


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved from now on; no file is written."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    return figures
