"""Which objective, or which student, does best: Overall, generalizability and mean rank, as in the paper's ablation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev

from reports.layout import Cell, Column, Section, Table, fixed, ranking
from reports.measured import columns, grid, overall_scores, suite_label
from reports.published import published_generalizability
from reports.records import Record
from reports.tables import SYNTHETIC, joins_published


def several_students(records: Sequence[Record]) -> bool:
    """Whether there are students to choose from."""
    return len({record.upstream for record in records if record.upstream_kind == "student"}) > 1


def selection_table(records: Sequence[Record]) -> Table:
    """Distilled students by Overall (mean and spread over seeds), mean rank, and generalizability on the superb suite.

    Rank: a student's place in each task among these rows by the mean over seeds, equal ones sharing the mean of their
    places, averaged over tasks; a task with two metrics counts once. Raises RecordError as `grid` does.
    Source: star-objective.md, "The paper's loss selection".
    """
    chosen = [record for record in records if record.upstream_kind == "student"]
    scores = {name: {key: score.value for key, score in row.items()} for name, row in grid(chosen).items()}
    kinds = {key: (sample.task, sample.higher_is_better) for key, sample in columns(chosen).items()}
    seeds = sorted({record.seed for record in chosen})
    by_seed = [overall_scores([record for record in chosen if record.seed == seed]) for seed in seeds]
    overall = {name: [value for own in by_seed if (value := own.get(name)) is not None] for name in scores}
    means = {name: fmean(found) if len(found) == len(seeds) else None for name, found in overall.items()}
    table = [(Column("Overall", "↑"), [fixed(mean, 2) for mean in means.values()], True)]
    table.append((Column("Mean rank", "↓"), [fixed(rank, 2) for rank in mean_ranks(scores, kinds).values()], False))
    if joins_published(chosen):
        general = [fixed(published_generalizability(row), 0) for row in scores.values()]
        table.append((Column("General.", "↑"), general, True))
    marks = [ranking(texts, higher) for _, texts, higher in table]
    rows = []
    for place, name in enumerate(scores):
        cells = [Cell(texts[place], marks[i][place]) for i, (_, texts, _) in enumerate(table)]
        if len(seeds) > 1 and means[name] is not None:
            cells[0] = replace(cells[0], spread=f"± {stdev(overall[name]):.2f}")
        objective = next((record.objective for record in chosen if record.upstream == name), None)
        rows.append((Cell(name if objective is None or "[" in name else f"{name} [{objective}]"), *cells))
    head = (Column("Student [objective]", align="l"), *(column for column, *_ in table))
    tasks = len({task for task, _ in kinds.values()})
    several = f"mean and standard deviation over {len(seeds)} seeds" if len(seeds) > 1 else f"of seed {seeds[0]}"
    note = f"Overall: {several}. Mean rank: over {tasks} tasks, of these rows."
    title = f"Loss selection, measured: {suite_label(chosen)}"
    return Table(title, head, (Section("", tuple(rows)),), (), (note, SYNTHETIC) if chosen[0].synthetic else (note,))


def mean_ranks(
    scores: Mapping[str, Mapping[str, float | None]], kinds: Mapping[str, tuple[str, bool]]
) -> dict[str, float | None]:
    """The mean over tasks of each row's rank, from 1; None for a row without a value in some column.

    scores: by row and column; kinds: of each column its task and whether higher is better.
    """
    whole = {name: row for name, row in scores.items() if all(row.get(key) is not None for key in kinds)}
    places: dict[str, dict[str, list[float]]] = {name: {} for name in whole}
    for key, (task, higher) in kinds.items():
        values = {name: (row[key] or 0.0) * (-1 if higher else 1) for name, row in whole.items()}
        for name, value in values.items():
            below = sum(other < value for other in values.values())
            equal = sum(other == value for other in values.values())
            places[name].setdefault(task, []).append(below + (equal + 1) / 2)
    means = {name: fmean(map(fmean, own.values())) for name, own in places.items()}
    return {name: means.get(name) for name in scores}
