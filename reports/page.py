"""The report of one run: Markdown, HTML, JSON and figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.figures import Curve, write_figures
from reports.layout import Cell, Column, Section, Table
from reports.measured import grid, suite_label
from reports.records import Record, to_json, write_text
from reports.render import Block, Gallery, Listing, html, markdown
from reports.selection import selection_table, several_students
from reports.tables import joins_published, measured_table, plain_table, published_table

if TYPE_CHECKING:
    import numpy as np

FIGURES = "figures"
TEXTS = {"deviation": "deviations", "reason": "skipped"}  # headings, and the fields that they show
MACS = ("short", "medium", "long", "longer", "strict", "heads", "superb")


@dataclass(frozen=True)
class RunReport:
    """What a run leaves behind.

    counts: a flat dictionary an upstream (name, size, parameters, multiply-accumulates by bucket, convention, traced or
    formula); curves: rows of the distillation log of each student; seconds: by stage of the run; grams: states
    (frames, dim) of teacher and student of one utterance, by what they are (see `figures.gram_figure`); set_aside: why
    files were left out of the distillation, by their ids.
    """

    records: Sequence[Record]
    counts: Sequence[Mapping[str, Any]]
    curves: Mapping[str, Curve]
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]
    grams: Mapping[str, tuple["np.ndarray", "np.ndarray"]] = field(default_factory=dict)
    set_aside: Mapping[str, str] = field(default_factory=dict)


def write_report(folder: Path, report: RunReport) -> None:
    """Write report.md, report.html, report.json, and the figures as PNG and PDF in the folder `figures`.

    report.json holds all but the states of `grams`. Records may be none, or may lack values. Raises RecordError for
    records that cannot stand in one table (see `measured.grid`), ValueError for a number that is not finite; nothing is
    written then.
    """
    records = report.records
    content = {
        "records": [to_json(record) for record in records],
        "counts": report.counts,
        "curves": report.curves,
        "settings": report.settings,
        "seconds": report.seconds,
        "set_aside": report.set_aside,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    tables = [*_scores(records), _failures(report)]
    tables_below = _tables(report)
    pictures = write_figures(folder / FIGURES, records, report.curves, report.grams)
    blocks = [*tables, *([Gallery("Figures", pictures)] if pictures else []), *tables_below]
    title = f"Run report: {suite_label(records)}" if records else "Run report"
    write_text(folder / "report.json", text + "\n")
    write_text(folder / "report.md", f"# {title}\n\n{markdown(blocks)}")
    write_text(folder / "report.html", html(title, blocks))


def _scores(records: Sequence[Record]) -> list[Block]:
    if not records:
        return [Listing("Measured", "Nothing: the run has no records.")]
    return [measured_table(records), *([selection_table(records)] if several_students(records) else [])]


def _tables(report: RunReport) -> list[Block]:
    """What stands below the figures: costs, deviations, settings, provenance, times and published results."""
    records = report.records
    tables = {
        "Size and cost": [_count(row) for row in report.counts],
        "Deviations from the official recipe": _gathered(records, "deviation"),
        **_settings(report.settings),
    }
    blocks: list[Block] = [plain_table(title, rows) for title, rows in tables.items() if rows]
    if records:
        blocks += [_provenance(records), plain_table("Versions", _versions(records))]
    if report.seconds:
        stages = [{"stage": stage, "seconds": round(value, 1)} for stage, value in report.seconds.items()]
        total = f"In all {sum(report.seconds.values()):.1f} s, without what was found done already."
        blocks.append(replace(plain_table("Seconds by stage", stages), notes=(total,)))
    if records:
        blocks.append(plain_table("Seconds by upstream, all tasks", _seconds(records)))
    return [*blocks, published_table(records if joins_published(records) else ())]


def _failures(report: RunReport) -> Block:
    """Cells without a value and files set aside, each with its reason."""
    scores = grid(report.records) if report.records else {}
    rows: list[dict[str, Any]] = [
        {"what": "no value", "tasks": key, "reason": " ".join(score.remarks), "upstreams": upstream}
        for upstream, cells in scores.items()
        for key, score in cells.items()
        if score.value is None
    ]
    scored = [record for record in report.records if record.value is not None]
    rows += [{"what": "set aside"} | row for row in _gathered(scored, "reason")]
    for name, reason in report.set_aside.items():
        rows.append({"what": "set aside", "tasks": "distillation", "reason": f"{name}: {reason}"})
    if not rows:
        return Listing("Failures", f"None among {len(report.records)} records.")
    return plain_table("Failures", rows)


def _count(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of counts with its multiply-accumulates in giga."""
    shown = {}
    for key, value in row.items():
        if key in MACS:
            shown[f"{key} (G)"] = None if value is None else value / 1e9
        elif key != "reconstructed":
            shown[key] = value
    return shown


def _gathered(records: Sequence[Record], heading: str) -> list[dict[str, str]]:
    """Each text of a field of the records once, with the tasks and the upstreams that it concerns."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for record in records:
        for text in getattr(record, TEXTS[heading]):
            found.setdefault(text, {}).setdefault(record.task, {})[record.upstream] = None
    rows = []
    for text, tasks in found.items():
        for upstreams in dict.fromkeys(tuple(names) for names in tasks.values()):
            concerned = [task for task, names in tasks.items() if tuple(names) == upstreams]
            rows.append(
                {
                    "tasks": _listed(concerned, [record.task for record in records]),
                    heading: text,
                    "upstreams": _listed(upstreams, [record.upstream for record in records]),
                }
            )
    return rows


def _listed(names: Sequence[str], every: Sequence[str]) -> str:
    return "all" if len(names) > 1 and set(names) == set(every) else ", ".join(names)


def _settings(settings: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """One row a setting, nested ones with dots; what holds several groups alike, as the probes, has its own table."""
    plain: list[dict[str, Any]] = []
    tables = {}

    def add(path: str, value: Any) -> None:
        if isinstance(value, Mapping) and value and all(isinstance(item, Mapping) for item in value.values()):
            groups = value.items()
            tables[f"Settings: {path}"] = [{"of": name} | {k: _spelled(v) for k, v in g.items()} for name, g in groups]
        elif isinstance(value, Mapping):
            for key, item in value.items():
                add(f"{path}.{key}" if path else key, item)
        else:
            plain.append({"setting": path, "value": json.dumps(value) if value is None else str(_spelled(value))})

    for key, value in settings.items():
        add(key, value)
    return {"Settings": plain, **tables}


def _spelled(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | tuple) else value


def _provenance(records: Sequence[Record]) -> Table:
    """Where the records come from: one row a commit, state of its working tree, and device."""
    trees = {False: Cell("clean"), True: Cell("uncommitted changes", "warning"), None: Cell("not known", "warning")}
    found: dict[tuple[str | None, bool | None, str], list[Record]] = {}
    for record in records:
        found.setdefault((record.commit, record.dirty, record.device), []).append(record)
    rows = []
    for (commit, dirty, device), made in found.items():
        started = sorted(record.started_at for record in made)
        texts = (device, str(len(made)), started[0], started[-1])
        rows.append((Cell((commit or "not known")[:12]), trees[dirty], *map(Cell, texts)))
    names = ("commit", "working tree", "device", "records", "first started", "last started")
    head = tuple(Column(name, align="r" if name == "records" else "l") for name in names)
    return Table("Provenance", head, (Section("", tuple(rows)),))


def _versions(records: Sequence[Record]) -> list[dict[str, str]]:
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for package, version in record.versions.items():
            found.setdefault(package, {})[version] = None
    return [{"package": package, "version": ", ".join(versions)} for package, versions in found.items()]


def _seconds(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Seconds of each phase of an upstream's results, by the records; the metrics of one probe share its time."""
    probes = {(record.upstream, record.task, record.seed): record.seconds for record in records}
    found: dict[str, dict[str, float]] = {}
    for (upstream, _, _), seconds in probes.items():
        times = found.setdefault(upstream, {})
        for phase, value in seconds.items():
            times[phase] = round(times.get(phase, 0.0) + value, 1)
    return [{"upstream": upstream} | times for upstream, times in found.items()]
