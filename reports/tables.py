"""Records and published rows as tables of plain text; render.py writes them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from reports.aggregate import SUPERB, overall
from reports.published import published_rows
from reports.records import Record, RecordError, column

Mark = Literal["", "best", "second"]
MARKS: tuple[Mark, Mark] = ("best", "second")
MISSING = "–"
ARROWS = {True: "↑", False: "↓"}
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
KNOWN_ROWS = {
    "sota": "Not one model: the best printed score of each task at submission.",
    "fbank_printed": "The printed aggregates belong to the leaderboard's newer FBANK scores, not to this row's.",
}
SOURCES = (
    "star2024: Jang et al., STaR, ICASSP 2024, arXiv 2312.09040. arm2023: Jang et al., ARMHuBERT, INTERSPEECH 2023, "
    "arXiv 2305.11685. superb-leaderboard: the SUPERB leaderboard."
)


@dataclass(frozen=True)
class Cell:
    """Text of one cell; mark says whether it holds the best or the second value of its column."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class Table:
    """A titled table; align has one letter a column, `l` for text and `r` for numbers."""

    title: str
    columns: tuple[str, ...]
    align: str
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


def published_table() -> Table:
    """The published SUPERB table in the papers' order, aggregates as printed and recomputed; QbE as 100 x MTWV."""
    footnotes: dict[str, str] = {}
    rows = []
    for row in published_rows():
        texts = [row.model + (_mark(footnotes, KNOWN_ROWS[row.key]) if row.key in KNOWN_ROWS else "")]
        texts += [row.distil_data or MISSING, row.source, _fixed(row.params_m, 2), _short(row.macs_g)]
        texts += [_fixed(row.overall, 1), _fixed(row.overall_recomputed, 1)]
        texts += [_fixed(row.general, 0), _fixed(row.general_recomputed, 0)]
        texts += [_percent(row.scores[column]) for column in SUPERB]
        rows.append(tuple(Cell(text) for text in texts))
    columns = ["Model", "Data", "Source", "#params (M)", "MACs (G)", "Overall printed ↑", "Overall recomputed ↑"]
    columns += ["General. printed ↑", "General. recomputed ↑"]
    columns += [f"{title} {ARROWS[higher]}" for title, higher in SUPERB.values()]
    notes = (*_notes(footnotes), "Scores in %, QbE as 100 x MTWV.", SOURCES)
    return Table("Published SUPERB results", tuple(columns), "lll" + "r" * (len(columns) - 3), tuple(rows), notes)


def overall_scores(records: Sequence[Record]) -> dict[str, float | None]:
    """Overall of each upstream over the tasks of these records; None where a task has no value (see `overall`).

    Raises RecordError for records that cannot stand in one table: none at all, two of one cell, or more than one suite,
    task version, split, metric or data fingerprint.
    """
    directions = {task: sample.higher_is_better for task, sample in _tasks(records).items()}
    return {
        upstream: overall({task: value for task, (value, _) in row.items()}, directions)
        for upstream, row in _grid(records).items()
    }


def measured_table(records: Sequence[Record]) -> Table:
    """The table of what was measured: an upstream a row in the order of the records, a task a column in the papers'.

    Several seeds are averaged. A cell that failed or lacks a seed is a dash with a footnote. The best and the second
    value of a column are marked. Raises RecordError as `overall_scores` does.
    """
    means, grid, tasks = overall_scores(records), _grid(records), _tasks(records)
    footnotes: dict[str, str] = {}
    titles = ["Upstream", "#params (M)", "MACs (G)", "Overall ↑"]
    columns = [
        [Cell(upstream) for upstream in grid],
        [Cell(_fixed(_size(records, upstream, "parameters", 1e6), 2)) for upstream in grid],
        [Cell(_short(_size(records, upstream, "macs", 1e9))) for upstream in grid],
        _marked([(mean, _percent(mean)) for mean in means.values()], True),
    ]
    for task, sample in tasks.items():
        cells = [row[task] for row in grid.values()]
        texts = [text if value is not None else MISSING + _mark(footnotes, text) for value, text in cells]
        columns.append(
            _marked([(value, text) for (value, _), text in zip(cells, texts, strict=True)], sample.higher_is_better)
        )
        titles.append(f"{_code(task)} {sample.metric} {ARROWS[sample.higher_is_better]}")
    notes = (*_notes(footnotes), *_measured_notes(records))
    rows = tuple(zip(*columns, strict=True))
    return Table(f"Measured: {suite_label(records)}", tuple(titles), "l" + "r" * (len(titles) - 1), rows, notes)


def suite_label(records: Sequence[Record]) -> str:
    """Name of the suite for titles; synthetic data is always called so."""
    return f"{records[0].suite} (synthetic speech)" if records[0].synthetic else records[0].suite


def plain_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table of flat dictionaries: one column a key in order of appearance, absent and None as a dash."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    align = "".join("r" if all(isinstance(row.get(key), int | float | None) for row in rows) else "l" for key in keys)
    cells = tuple(tuple(Cell(_plain(row.get(key))) for key in keys) for row in rows)
    return Table(title, tuple(key.replace("_", " ") for key in keys), align, cells)


def _grid(records: Sequence[Record]) -> dict[str, dict[str, tuple[float | None, str]]]:
    """Per upstream and column: the value and its text, or None and the reason."""
    _check_comparable(records)
    seeds = {record.seed for record in records}
    grid: dict[str, dict[str, tuple[float | None, str]]] = {}
    for upstream in dict.fromkeys(record.upstream for record in records):
        for task in _tasks(records):
            cell = [record for record in records if (record.upstream, column(record)) == (upstream, task)]
            grid.setdefault(upstream, {})[task] = _summary(cell, seeds)
    return grid


def _summary(cell: list[Record], seeds: set[int]) -> tuple[float | None, str]:
    absent = sorted(seeds - {record.seed for record in cell})
    values = [record.value for record in cell if record.value is not None]
    if not cell:
        return None, "Not measured."
    if absent:
        return None, f"No record for seed {', '.join(map(str, absent))}."
    if len(values) < len(cell):
        reasons = dict.fromkeys(reason for record in cell if record.value is None for reason in record.skipped)
        return None, "; ".join(reasons) or "The record has no value and gives no reason."
    mean, spread = fmean(values), stdev(values) if len(values) > 1 else cell[0].stderr
    return mean, _percent(mean) + ("" if spread is None else f" ± {spread:.2f}")


def _check_comparable(records: Sequence[Record]) -> None:
    if not records:
        raise RecordError("no records to tabulate; expected at least one: start a run with `harness run`")
    alike: list[tuple[Sequence[Record], tuple[str, ...], str]] = [(records, ("suite", "synthetic"), "")]
    for task in _tasks(records):
        of_task = [record for record in records if column(record) == task]
        alike.append(
            (of_task, ("task_version", "split", "metric", "higher_is_better", "data_fingerprint"), f" on {task}")
        )
        protocols = sorted({record.config.get("protocol", "corrected") for record in of_task})
        if len(protocols) > 1:
            raise RecordError(f"records on {task} differ in protocol: {', '.join(protocols)}; report them apart")
    for group, names, where in alike:
        for name in names:
            values = sorted({str(getattr(record, name)) for record in group})
            if len(values) > 1:
                raise RecordError(f"records{where} differ in {name}: {', '.join(values)}; report them apart")
    cells = Counter((record.upstream, column(record), record.seed) for record in records)
    (upstream, task, seed), count = cells.most_common(1)[0]
    if count > 1:
        raise RecordError(f"{count} records of {upstream} on {task} with seed {seed}; report the runs apart")


def _tasks(records: Sequence[Record]) -> dict[str, Record]:
    """One record of each column, in the papers' order, those that SUPERB does not have last."""
    order = list(SUPERB)
    samples = {column(record): record for record in reversed(records)}
    return dict(sorted(samples.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def _measured_notes(records: Sequence[Record]) -> list[str]:
    notes = ["Scores in %. Best in bold, second underlined. Overall: mean over the tasks shown, 100 minus error rates."]
    seeds = sorted({record.seed for record in records})
    methods = sorted({record.stderr_method for record in records if record.stderr_method})
    if len(seeds) > 1:
        notes.append(f"Mean and standard deviation over the seeds {', '.join(map(str, seeds))}.")
    elif methods:
        notes.append(f"± is one standard error ({'; '.join(methods)}).")
    notes += sorted({f"MACs: {record.macs_convention}." for record in records if record.macs_convention})
    deviating = dict.fromkeys(
        _code(task)
        for task in _tasks(records)
        if any(", official " in deviation for r in records if column(r) == task for deviation in r.deviations)
    )
    if deviating:
        notes.append(f"Not the official settings: {', '.join(deviating)}. The records list every deviation.")
    as_published = dict.fromkeys(_code(column(r)) for r in records if r.config.get("protocol") == "official")
    if as_published:
        notes.append(f"Chosen or scored as the published numbers are: {', '.join(as_published)}.")
    return notes


def _marked(cells: list[tuple[float | None, str]], higher_is_better: bool) -> list[Cell]:
    shown = [None if value is None else round(value, 2) for value, _ in cells]
    ranking = sorted({value for value in shown if value is not None}, reverse=higher_is_better)
    marks: dict[float | None, Mark] = dict(zip(ranking, MARKS, strict=False)) if len(ranking) > 1 else {}
    return [Cell(text, marks.get(value, "")) for value, (_, text) in zip(shown, cells, strict=True)]


def _mark(footnotes: dict[str, str], text: str) -> str:
    return footnotes.setdefault(text, str(len(footnotes) + 1).translate(SUPERSCRIPTS))


def _notes(footnotes: dict[str, str]) -> list[str]:
    return [f"{mark} {text}" for text, mark in footnotes.items()]


def _code(task: str) -> str:
    return task.partition("_")[0].upper()


def _size(records: Sequence[Record], upstream: str, name: str, unit: float) -> float | None:
    values = [getattr(record, name) for record in records if record.upstream == upstream]
    return next((value / unit for value in values if value is not None), None)


def _percent(value: float | None) -> str:
    return f"{value:.2g}" if value and abs(value) < 0.005 else _fixed(value, 2)


def _fixed(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"


def _short(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return _short(value) if value is None or isinstance(value, float) else str(value)
