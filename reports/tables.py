"""Records and published rows as tables like the papers'; render.py and latex.py write them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from reports.aggregate import SUPERB, overall
from reports.layout import ARROWS, MISSING, Cell, Column, Mark, Section, Table, fixed, percent, ranking, short
from reports.measured import Score, cell, columns, grid, overall_scores, protocol, size, suite_label
from reports.published import (
    BEST,
    SOURCES,
    PublishedRow,
    ablation_rows,
    published_generalizability,
    published_rows,
)
from reports.records import Record, RecordError, column

Footnotes = dict[str, int]
SECTIONS = {None: "Baselines and teachers", "960h": "Distilled on 960 h", "100h": "Distilled on 100 h"}
NOT_ONE_MODEL = "Not one model: the best printed score of each task at submission."
MARKED = "Best in bold, second underlined"
SYNTHETIC = "Synthetic speech: these scores say nothing of real speech and never stand beside published ones."


@dataclass(frozen=True)
class _Row:
    """A row to be: its name, its numbers by column key, and whether it takes part in the ranking."""

    name: str
    scores: Mapping[str, Score]
    remarks: tuple[str, ...] = ()
    ranked: bool = True


@dataclass(frozen=True)
class _Kind:
    """How a column of numbers is headed, spelled and ranked (None: not at all)."""

    column: Column
    form: Callable[[float | None], str]
    higher_is_better: bool | None


_general, _overall = partial(fixed, digits=0), partial(fixed, digits=1)
_SIZES = {"params": _Kind(Column("Params", "(M)"), percent, None), "macs": _Kind(Column("MACs", "(G)"), short, None)}
_AGGREGATES = {
    "overall_printed": _Kind(Column("printed", group="Overall ↑"), _overall, True),
    "overall": _Kind(Column("recomp.", group="Overall ↑"), _overall, True),
    "general_printed": _Kind(Column("printed", group="General. ↑"), _general, True),
    "general": _Kind(Column("recomp.", group="General. ↑"), _general, True),
}


def published_table(records: Sequence[Record] = (), ci: bool = False, tasks: bool = True) -> Table:
    """The published SUPERB table in the papers' order, aggregates as printed and recomputed; QbE as 100 x MTWV.

    records: of the superb suite on the official corpora, as a section of their own. ci: their 95 % intervals instead of
    standard errors. tasks: whether to show the scores of single tasks. Raises RecordError for a record of another suite
    or of synthetic speech, and as `grid` does.
    """
    footnotes: Footnotes = {}
    printed = published_rows()
    kinds = _SIZES | _AGGREGATES | ({key: _task_kind(key) for key in SUPERB} if tasks else {})
    sections = [
        _section(SECTIONS[data], [_published(row) for row in printed if row.distil_data == data], kinds, footnotes)
        for data in dict.fromkeys(row.distil_data for row in printed)
    ]
    notes = [
        f"{MARKED}, of the models in each group. Scores in %, QbE as 100 x MTWV. MACs over the 32 profiling utterances."
    ]
    if records:
        sections.append(_section("Measured here", _joining(records), kinds, footnotes, ci))
        own = _interval_notes(records, ci) + _macs_notes(records) + _protocol_notes(records)
        own += [f"All tasks: {text}." for text in _shared_deviations(records)]
        notes.append(" ".join(["Measured here:", *own]))
    title = "Published and measured SUPERB results" if records else "Published SUPERB results"
    return _table(title, "Model", kinds, sections, footnotes, notes)


def joins_published(records: Sequence[Record]) -> bool:
    """Whether these records may stand beside published ones: the superb suite, on the official corpora."""
    return bool(records) and all(record.suite == "superb" and not record.synthetic for record in records)


def measured_table(records: Sequence[Record], ci: bool = False) -> Table:
    """The table of what was measured: an upstream a row in the order of the records, a task a column in the papers'.

    Several seeds are averaged. A cell that failed or lacks a seed is a dash with a footnote. The best and the second
    value of a column are marked. ci: 95 % intervals instead of standard errors. Raises RecordError as `grid` does.
    """
    footnotes: Footnotes = {}
    means = overall_scores(records)
    kinds = _SIZES | {"overall": _Kind(Column("Overall", "↑"), percent, True)}
    kinds |= {key: _task_kind(key, sample) for key, sample in columns(records).items()}
    rows = [
        _Row(upstream, _measured_sizes(records, upstream) | {"overall": Score(means[upstream])} | scores)
        for upstream, scores in grid(records).items()
    ]
    notes = [f"Scores in %. {MARKED}. Overall: mean over the tasks shown, 100 minus error rates."]
    notes += _interval_notes(records, ci) + _macs_notes(records) + _settings_notes(records)
    if records[0].synthetic:
        notes.append(SYNTHETIC)
    sections = [_section("", rows, kinds, footnotes, ci)]
    return _table(f"Measured: {suite_label(records)}", "Upstream", kinds, sections, footnotes, notes)


def report_tables(records: Sequence[Record], ci: bool = False) -> list[Table]:
    """What `harness report` shows: the measured table, and the published one joined by it where it may be.

    Raises RecordError as `grid` does.
    """
    tables = [measured_table(records, ci)]
    return [*tables, published_table(records, ci)] if joins_published(records) else tables


def ablation_table() -> Table:
    """The paper's loss selection (star-objective.md), a section a distillation set, as printed."""
    footnotes: Footnotes = {}
    kinds = {
        "overall": _Kind(Column("Overall", "↑"), _overall, True),
        "general": _Kind(Column("General.", "↑"), _general, True),
        "rank": _Kind(Column("Mean rank", "↓"), _overall, False),
    }
    printed = ablation_rows()
    sections = []
    for data in dict.fromkeys(row.distil_data for row in printed):
        group = [row for row in printed if row.distil_data == data]
        numbers = [dict(zip(kinds, (row.overall, row.general, row.mean_rank), strict=True)) for row in group]
        rows = [
            _Row(row.label, {key: Score(value) for key, value in own.items()})
            for row, own in zip(group, numbers, strict=True)
        ]
        sections.append(_section(SECTIONS[data], rows, kinds, footnotes))
    sources = " ".join(SOURCES[source] for source in dict.fromkeys(row.source for row in printed))
    notes = [f"{MARKED}, in each group. As printed; mean rank over the tasks, among the group's rows that have one."]
    title = "Published loss selection, STaRHuBERT"
    return _table(title, "Objective", kinds, sections, footnotes, [*notes, sources])


def plain_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table of flat dictionaries: one column a key in order of appearance, absent and None as a dash."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {key: all(isinstance(row.get(key), int | float | None) for row in rows) for key in keys}
    head = tuple(Column(key.replace("_", " "), align="r" if numeric[key] else "l") for key in keys)
    body = tuple(tuple(Cell(_plain(row.get(key))) for key in keys) for row in rows)
    return Table(title, head, (Section("", body),))


def _table(
    title: str, name: str, kinds: Mapping[str, _Kind], sections: list[Section], footnotes: Footnotes, notes: list[str]
) -> Table:
    head = (Column(name, align="l"), *(kind.column for kind in kinds.values()))
    return Table(title, head, tuple(sections), tuple(footnotes), tuple(notes))


def _section(
    title: str, rows: Sequence[_Row], kinds: Mapping[str, _Kind], footnotes: Footnotes, ci: bool = False
) -> Section:
    """Rows with the best and the second value of each column marked; remarks become footnotes."""
    body = []
    marks: dict[str, list[Mark]] = {}
    for key, kind in kinds.items():
        shown = [kind.form(row.scores[key].value) if row.ranked else MISSING for row in rows]
        marks[key] = ranking(shown, kind.higher_is_better) if kind.higher_is_better is not None else [""] * len(rows)
    for index, row in enumerate(rows):
        cells = [Cell(row.name, footnotes=_numbers(footnotes, row.remarks))]
        for key, kind in kinds.items():
            score = row.scores[key]
            numbers = _numbers(footnotes, score.remarks)
            cells.append(Cell(kind.form(score.value), marks[key][index], _spread(score, ci), numbers))
        body.append(tuple(cells))
    return Section(title, tuple(body))


def _numbers(footnotes: Footnotes, remarks: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(footnotes.setdefault(remark, len(footnotes) + 1) for remark in remarks)


def _spread(score: Score, ci: bool) -> str:
    if ci:
        return "" if score.low is None or score.high is None else f"[{score.low:.2f}, {score.high:.2f}]"
    return "" if score.spread is None else f"± {score.spread:.2f}"


def _published(row: PublishedRow) -> _Row:
    scores = {
        "params": row.params_m,
        "macs": row.macs_g,
        "overall_printed": row.overall,
        "overall": row.overall_recomputed,
        "general_printed": row.general,
        "general": row.general_recomputed,
    } | row.scores
    remarks = [SOURCES[row.source]]
    if row.key == BEST:
        remarks.append(NOT_ONE_MODEL)
    if row.contradictions:
        remarks.append(f"Its printed aggregates do not follow from its printed tasks: {'; '.join(row.contradictions)}.")
    return _Row(row.model, {key: Score(value) for key, value in scores.items()}, tuple(remarks), bool(row.params_m))


def _joining(records: Sequence[Record]) -> list[_Row]:
    """Measured rows beside published ones, with every deviation that not all of their cells share."""
    for record in records:
        if not joins_published([record]):
            raise RecordError(
                f"{record.upstream} on {record.task} was measured on {suite_label([record])}; only the superb suite on "
                "the official corpora stands beside published results: report it apart"
            )
        known = SUPERB.get(column(record))
        if known is None or record.metric.lower() != known.name.lower():
            expected = f"{known.name} on it" if known else f"the tasks {', '.join(SUPERB)}"
            raise RecordError(
                f"{record.upstream} on {record.task} was measured in {record.metric}; published results give {expected}"
            )
    shared = set(_shared_deviations(records))
    rows = []
    for upstream, scores in grid(records).items():
        scores = {key: scores.get(key, Score(None, remarks=("Not measured.",))) for key in SUPERB}
        values = {key: score.value for key, score in scores.items()}
        own = {key: _with_deviations(score, cell(records, upstream, key), shared) for key, score in scores.items()}
        aggregates = {"overall": Score(overall(values)), "general": Score(published_generalizability(values))}
        nothing = dict.fromkeys(("overall_printed", "general_printed"), Score(None))
        sizes = _measured_sizes(records, upstream)
        rows.append(_Row(upstream, sizes | nothing | aggregates | own, ranked=sizes["params"].value != 0))
    return rows


def _with_deviations(score: Score, found: Sequence[Record], shared: set[str]) -> Score:
    """The score with a remark of what its runs did otherwise than the official recipe, beyond what all did."""
    if score.value is None:
        return score
    texts = dict.fromkeys(text for record in found for text in record.deviations if text not in shared)
    return replace(score, remarks=(f"{'; '.join(texts)}.", *score.remarks)) if texts else score


def _shared_deviations(records: Sequence[Record]) -> list[str]:
    return [text for text in records[0].deviations if all(text in record.deviations for record in records)]


def _measured_sizes(records: Sequence[Record], upstream: str) -> dict[str, Score]:
    units = {"params": ("parameters", 1e6), "macs": ("macs", 1e9)}
    return {key: Score(size(records, upstream, name, unit)) for key, (name, unit) in units.items()}


def _task_kind(key: str, sample: Record | None = None) -> _Kind:
    """SUPERB's heading of a column, or one made of the record's own words where SUPERB has no such column."""
    known = SUPERB.get(key)
    if known is None or (sample is not None and sample.metric.lower() != known.name.lower()):
        assert sample is not None
        arrow = ARROWS[sample.higher_is_better]
        return _Kind(Column(_code(key), f"{sample.metric} {arrow}"), percent, sample.higher_is_better)
    column = Column(known.task, f"{known.name} {ARROWS[known.higher_is_better]}", known.aspect)
    return _Kind(column, percent, known.higher_is_better)


def _interval_notes(records: Sequence[Record], ci: bool) -> list[str]:
    seeds = sorted({record.seed for record in records})
    methods = "; ".join(sorted({record.stderr_method for record in records if record.stderr_method}))
    listed = ", ".join(map(str, seeds))
    if ci:
        over = f"; mean over the seeds {listed}, of the bounds too" if len(seeds) > 1 else ""
        return [f"[low, high]: 95 % interval over what was scored{f' ({methods})' if methods else ''}{over}."]
    if len(seeds) > 1:
        return [f"Mean and standard deviation over the seeds {listed}."]
    return [f"± is one standard error ({methods})."] if methods else []


def _macs_notes(records: Sequence[Record]) -> list[str]:
    return sorted({f"MACs: {record.macs_convention}." for record in records if record.macs_convention})


def _settings_notes(records: Sequence[Record]) -> list[str]:
    deviating = dict.fromkeys(
        _code(task)
        for task in columns(records)
        if any(", official " in deviation for r in records if column(r) == task for deviation in r.deviations)
    )
    notes = []
    if deviating:
        notes.append(f"Not the official settings: {', '.join(deviating)}. The records list every deviation.")
    return notes + _protocol_notes(records)


def _protocol_notes(records: Sequence[Record]) -> list[str]:
    as_published = dict.fromkeys(_code(column(r)) for r in records if protocol(r) == "official")
    return [f"Chosen or scored as the published numbers are: {', '.join(as_published)}."] if as_published else []


def _code(key: str) -> str:
    return SUPERB[key].task if key in SUPERB else key.partition("_")[0].upper()


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return short(value) if value is None or isinstance(value, float) else str(value)
