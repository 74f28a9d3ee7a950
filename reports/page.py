"""The report of one run: Markdown, HTML and JSON."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.measured import suite_label
from reports.records import Record, to_json, write_text
from reports.render import Block, Listing, Picture, html, markdown
from reports.selection import selection_table, several_students
from reports.tables import joins_published, measured_table, plain_table, published_table


@dataclass(frozen=True)
class RunReport:
    """What a run leaves behind.

    counts: a flat dictionary an upstream (name, size, parameters, multiply-accumulates by bucket, convention, traced or
    formula); curves: rows of the distillation log by student; seconds: by phase of the run; figure: a PNG file.
    """

    records: Sequence[Record]
    counts: Sequence[Mapping[str, Any]]
    curves: Mapping[str, Sequence[Mapping[str, Any]]]
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]
    figure: Path | None = None


def write_report(folder: Path, report: RunReport) -> None:
    """Write report.md, report.html and report.json, and copy the figure beside them.

    report.json holds records, counts, curves, settings and seconds. Raises RecordError for records that cannot stand in
    one table (see `measured.grid`), ValueError for a number that is not finite.
    """
    blocks = _blocks(report)
    title = f"Run report: {suite_label(report.records)}"
    content = {
        "records": [to_json(record) for record in report.records],
        "counts": report.counts,
        "curves": report.curves,
        "settings": report.settings,
        "seconds": report.seconds,
    }
    pages = {
        "report.json": _pretty(content) + "\n",
        "report.md": f"# {title}\n\n{markdown(blocks)}",
        "report.html": html(title, blocks),
    }
    for name, text in pages.items():
        write_text(folder / name, text)
    if report.figure is not None and report.figure.parent.resolve() != folder.resolve():
        shutil.copyfile(report.figure, folder / report.figure.name)


def _blocks(report: RunReport) -> list[Block]:
    blocks: list[Block] = [measured_table(report.records)]
    if several_students(report.records):
        blocks.append(selection_table(report.records))
    if report.figure is not None:
        blocks.append(Picture("Distillation, and overall score against size", report.figure))
    tables = {
        "Size and cost": report.counts,
        "Deviations and skipped items": _remarks(report.records),
        "Time": [{"phase": phase, "seconds": seconds} for phase, seconds in report.seconds.items()],
    }
    blocks += [plain_table(title, rows) for title, rows in tables.items() if rows]
    blocks.append(Listing("Settings", _pretty(report.settings)))
    blocks.append(published_table(report.records if joins_published(report.records) else ()))
    return blocks


def _remarks(records: Sequence[Record]) -> list[dict[str, str]]:
    """Each deviation and each skipped item once, with the upstreams it concerns."""
    upstreams: dict[tuple[str, str, str], dict[str, None]] = {}
    for record in records:
        for kind, texts in (("deviation", record.deviations), ("skipped", record.skipped)):
            for text in texts:
                upstreams.setdefault((record.task, kind, text), {})[record.upstream] = None
    return [
        {"task": task, "kind": kind, "what": text, "upstreams": ", ".join(names)}
        for (task, kind, text), names in upstreams.items()
    ]


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
