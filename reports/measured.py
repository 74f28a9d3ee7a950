"""Records as a grid of upstreams and columns: what may stand side by side, and means over seeds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from reports.aggregate import SUPERB, overall, unscaled
from reports.records import Record, RecordError, column


@dataclass(frozen=True)
class Score:
    """One cell in percent: mean over the seeds, its spread, its 95 % interval, and remarks to print below the table.

    spread: over several seeds their standard deviation, of one seed its standard error. low, high: over several seeds
    the means of the runs' bounds, None where a run has none. value is None when the cell has none; a remark says why.
    """

    value: float | None
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    remarks: tuple[str, ...] = ()


def grid(records: Sequence[Record]) -> dict[str, dict[str, Score]]:
    """The score of each upstream, in the order of the records, in each column (see `columns`).

    Raises RecordError for records that cannot stand in one table: none at all, two of one cell, or more than one suite,
    task version, split, metric, protocol or data fingerprint.
    """
    _check_comparable(records)
    seeds = {record.seed for record in records}
    return {
        upstream: {key: _score(cell(records, upstream, key), seeds) for key in columns(records)}
        for upstream in dict.fromkeys(record.upstream for record in records)
    }


def columns(records: Sequence[Record]) -> dict[str, Record]:
    """One record of each column, in the papers' order, those that SUPERB does not have last."""
    order = list(SUPERB)
    samples = {column(record): record for record in reversed(records)}
    return dict(sorted(samples.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def cell(records: Sequence[Record], upstream: str, key: str) -> list[Record]:
    """The records of one upstream in one column, one a seed."""
    return [record for record in records if (record.upstream, column(record)) == (upstream, key)]


def overall_scores(records: Sequence[Record]) -> dict[str, float | None]:
    """Overall of each upstream over the tasks of these records; None where a task has no value (see `overall`).

    Raises RecordError as `grid` does.
    """
    directions = {key: sample.higher_is_better for key, sample in columns(records).items()}
    return {
        upstream: overall({key: score.value for key, score in row.items()}, directions)
        for upstream, row in grid(records).items()
    }


def size(records: Sequence[Record], upstream: str, name: str, unit: float) -> float | None:
    """Parameters or macs of an upstream in a unit, from the first of its records that has them."""
    values = [getattr(record, name) for record in records if record.upstream == upstream]
    return next((value / unit for value in values if value is not None), None)


def protocol(record: Record) -> str:
    """Whether the cell was chosen and scored soundly (corrected) or as the published numbers were (official)."""
    return str(record.config.get("protocol", "corrected"))


def suite_label(records: Sequence[Record]) -> str:
    """Name of the suite for titles; synthetic data is always called so."""
    return f"{records[0].suite} (synthetic speech)" if records[0].synthetic else records[0].suite


def measured_values(records: Sequence[Record], ci: bool = False) -> list[dict[str, Any]]:
    """The measured scores for machines, a flat dictionary an upstream: units of the data files, None where absent.

    ci: with the bounds of the 95 % intervals. Raises RecordError as `grid` does.
    """
    means, names = overall_scores(records), columns(records)
    rows = []
    for upstream, scores in grid(records).items():
        row: dict[str, Any] = {
            "upstream": upstream,
            "suite": records[0].suite,
            "synthetic": "yes" if records[0].synthetic else "no",
            "params_m": size(records, upstream, "parameters", 1e6),
            "macs_g": size(records, upstream, "macs", 1e9),
            "overall": means[upstream],
        }
        for key, score in scores.items():
            name = f"{names[key].task}_{names[key].metric}".lower()
            row[name] = unscaled(key, score.value)
            if ci:
                row |= {f"{name}_low": unscaled(key, score.low), f"{name}_high": unscaled(key, score.high)}
        rows.append(row)
    return rows


def _score(found: list[Record], seeds: set[int]) -> Score:
    absent = sorted(seeds - {record.seed for record in found})
    values = [record.value for record in found if record.value is not None]
    if not found:
        return Score(None, remarks=("Not measured.",))
    if absent:
        return Score(None, remarks=(f"No record for seed {', '.join(map(str, absent))}.",))
    if len(values) < len(found):
        reasons = dict.fromkeys(reason for record in found if record.value is None for reason in record.skipped)
        return Score(None, remarks=("; ".join(reasons) or "The record has no value and gives no reason.",))
    spread = stdev(values) if len(values) > 1 else found[0].stderr
    return Score(fmean(values), spread, _mean(found, "low"), _mean(found, "high"), _left_out(found))


def _left_out(found: list[Record]) -> tuple[str, ...]:
    """How many items the probes had to do without, and how many of the test set have a score."""
    skipped = {name for record in found for name in record.skipped}
    remarks = [f"{len(skipped)} items set aside, named in the records"] if skipped else []
    fewest = min(found, key=lambda record: record.n_examples)
    if fewest.n_examples < fewest.n_total:
        remarks.append(f"{fewest.n_examples} of {fewest.n_total} items scored")
    return (f"{'; '.join(remarks)}.",) if remarks else ()


def _mean(found: list[Record], name: str) -> float | None:
    values = [getattr(record, name) for record in found]
    return None if None in values else fmean(values)


def _check_comparable(records: Sequence[Record]) -> None:
    if not records:
        raise RecordError("no records to tabulate; expected at least one: start a run with `harness run`")
    _check_alike(records, ("suite", "synthetic"), "")
    for key in columns(records):
        found = [record for record in records if column(record) == key]
        names = ("task_version", "split", "metric", "higher_is_better", "data_fingerprint", "protocol")
        _check_alike(found, names, f" on {key}")
    for upstream in dict.fromkeys(record.upstream for record in records):
        own = [record for record in records if record.upstream == upstream]
        _check_alike(own, ("teacher", "objective"), f" of {upstream}")
    cells = Counter((record.upstream, column(record), record.seed) for record in records)
    (upstream, task, seed), count = cells.most_common(1)[0]
    if count > 1:
        raise RecordError(f"{count} records of {upstream} on {task} with seed {seed}; report the runs apart")


def _check_alike(records: Sequence[Record], names: tuple[str, ...], where: str) -> None:
    for name in names:
        values = sorted({str(protocol(record) if name == "protocol" else getattr(record, name)) for record in records})
        if len(values) > 1:
            raise RecordError(f"records{where} differ in {name}: {', '.join(values)}; report them apart")
