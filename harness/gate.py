"""The statistics of the regression gate: both runs' stored predictions, scored and resampled by the task's metric."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from harness.config import UsageError, unknown
from reports.baseline import Cells, Stored
from reports.gate import TOLERANCES, Evidence, Finding, Outcome, Problem, combined, drop, find_problem, judge
from tasks.base import Metric, Protocol
from tasks.registry import TASKS, load_task

Rows = Sequence[dict[str, Any]]
_ROUNDING = 1e-6  # points by which a score may differ from its record's: another library may add in another order


def compare(candidate: Cells, baseline: Cells, tolerances: Mapping[str, float] = TOLERANCES) -> list[Outcome]:
    """The verdict on every cell of the baseline, in its order; what only the candidate has is left alone.

    tolerances: by column of the table, as reports.gate has them.
    """
    findings = []
    for cell, theirs in baseline.items():
        ours = candidate.get(cell)
        problem = find_problem(theirs.record, ours.record if ours else None)
        result = problem or (evidence(theirs, ours) if ours else None)
        assert result is not None
        findings.append(Finding(theirs.record, ours.record if ours else None, result))
    return judge(findings, tolerances)


def chosen(baseline: Cells, upstreams: Sequence[str], tasks: Sequence[str]) -> Cells:
    """The cells of the baseline of these upstreams and tasks, all where none is named.

    Raises UsageError if the baseline has none of one that is named.
    """
    there = {"upstream": [cell.record.upstream for cell in baseline.values()]}
    there["task"] = [cell.record.task for cell in baseline.values()]
    problems = [
        f"no {what} {name!r} in the baseline: expected one of {', '.join(dict.fromkeys(there[what]))}"
        for what, names in (("upstream", upstreams), ("task", tasks))
        for name in names
        if name not in there[what]
    ]
    if problems:
        raise UsageError("\n".join(problems))
    return {
        key: cell
        for key, cell in baseline.items()
        if (not upstreams or cell.record.upstream in upstreams) and (not tasks or cell.record.task in tasks)
    }


def read_tolerances(listed: str) -> dict[str, float]:
    """All tolerances, those in `listed` ("ks=0.5,er=2", in points) in place of the defaults.

    Raises UsageError for an unknown column or what is no number from 0 to 100.
    """
    tolerances, problems = dict(TOLERANCES), []
    for entry in filter(None, (entry.strip() for entry in listed.split(","))):
        name, _, value = (part.strip() for part in entry.partition("="))
        points = _number(value)
        if name not in TOLERANCES:
            problems.append(f"--tolerance {entry}: unknown column {name!r}: expected one of {', '.join(TOLERANCES)}")
        elif points is None:
            problems.append(f"--tolerance {entry}: expected points from 0 to 100, such as {name}=0.5")
        else:
            tolerances[name] = points
    if problems:
        raise UsageError("\n".join(problems))
    return tolerances


def _number(text: str) -> float | None:
    try:
        points = float(text)
    except ValueError:
        return None
    return points if 0 <= points <= 100 else None


def evidence(baseline: Stored, candidate: Stored) -> Evidence | Problem:
    """How much worse the candidate's predictions are, item by item where both runs scored the same ones.

    A Problem where predictions cannot be scored or do not give the value of their record.
    """
    for name, stored in (("candidate", candidate), ("baseline", baseline)):
        if stored.problem:
            return Problem("failed", f"the {name}: {stored.problem}")
    metric = _metric(baseline)
    if isinstance(metric, Problem):
        return metric
    sides = []
    for name, stored in (("candidate", candidate), ("baseline", baseline)):
        try:
            rows = sorted(stored.predictions, key=_identity)
            score, _, _ = mean_score(metric, rows), mean_draws(metric, rows, stored.record.seed), _units(metric, rows)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            return Problem("failed", f"the {name}'s predictions cannot be scored ({error!r}): run the task again")
        value = stored.record.value
        if value is None or not abs(score - value) <= _ROUNDING:
            reason = f"the {name}'s predictions score {score:.4f}, its record says {value}: run the task again"
            return Problem("failed", reason)
        sides.append(rows)
    ours, theirs = sides
    if [_identity(row) for row in ours] != [_identity(row) for row in theirs]:
        units = min(_units(metric, ours), _units(metric, theirs))
        return combined(baseline.record, candidate.record, units)
    seed = baseline.record.seed
    worse = mean_draws(metric, ours, seed) - mean_draws(metric, theirs, seed)
    method = f"paired bootstrap over {metric.unit}"
    return Evidence(drop(baseline.record, candidate.record), float(worse.std(ddof=1)), _units(metric, theirs), method)


def _metric(stored: Stored) -> Metric | Problem:
    record = stored.record
    if record.task not in TASKS:
        return Problem("failed", unknown("task", record.task, TASKS) or "")
    protocol: Protocol = "official" if record.config.get("protocol") == "official" else "corrected"
    task = load_task(record.task, protocol)
    for metric in task.metrics:
        if metric.name == record.metric and metric.higher_is_better == record.higher_is_better:
            return metric
    names = ", ".join(metric.name for metric in task.metrics)
    return Problem("stale", f"{record.task} has no metric {record.metric!r} now, but {names}: save a new baseline")


def mean_score(metric: Metric, rows: Rows) -> float:
    """The score of all predictions of a cell, in percent: the mean over its folds."""
    return fmean(metric.score(fold) for fold in _folds(rows))


def mean_draws(metric: Metric, rows: Rows, seed: int) -> np.ndarray:
    """Bootstrap values of mean_score, (draws,), each fold resampled by itself."""
    return np.mean([metric.draws(fold, seed + index) for index, fold in enumerate(_folds(rows))], axis=0)


def _folds(rows: Rows) -> list[list[dict[str, Any]]]:
    folds: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        folds.setdefault(row.get("fold", 1), []).append(row)
    return [folds[number] for number in sorted(folds)]


def _identity(row: dict[str, Any]) -> tuple[int, str, str]:
    return row.get("fold", 1), str(row["id"]), str(row.get("reference"))


def _units(metric: Metric, rows: Rows) -> int:
    """How many independent units the metric is resampled over; of two kinds, the rarer kind."""
    if metric.unit == "queries":
        return sum(1 for row in rows if row["hypothesis"] and row["reference"])
    if metric.unit == "speaker pairs":
        return min(len({row["speakers"] for row in rows if row["reference"] == kind}) for kind in "01")
    return len(rows)
