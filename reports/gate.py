"""The regression gate: which cells of a candidate are worse than a baseline's, and on what evidence.

A cell is one upstream on one column of the table with one seed. It is a regression if its score is worse by more than
the tolerance of its column and the drop is significant: its one-sided p-value, after Holm's correction over all cells
compared, is at most LEVEL. So equal models fail, on any cell, in at most 5 % of comparisons, however many cells there
are. The p-value knows the noise of the test items only; the tolerance is what training may
add, on another machine for one. Where both runs scored the same items the drop is paired item by item, and its standard
error is that of the difference; else it is the root of the sum of the squares of both standard errors.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reports.records import Record, column

LEVEL = 0.03  # 5 % less a margin for what a bootstrap of few items gets wrong
# Drop in points up to which a cell passes whatever the evidence, by column; a judgement, to be set with --tolerance.
TOLERANCES = {
    "pr": 0.5,
    "asr": 0.5,
    "ks": 0.5,
    "qbe": 0.5,
    "sid": 1.0,
    "asv": 0.5,
    "sd": 0.5,
    "ic": 0.5,
    "sf_f1": 0.5,
    "sf_cer": 1.0,
    "er": 1.0,
}

Status = Literal["pass", "regression", "missing", "stale", "failed"]
CellKey = tuple[str, str, int]
_ALIKE = ("suite", "synthetic", "task_version", "split", "metric", "higher_is_better", "data_fingerprint")
_CURE = "run both on the same, or save a new baseline"


@dataclass(frozen=True)
class Evidence:
    """How much worse a candidate is on one cell.

    drop: in points, negative where the candidate is better; stderr: its standard error; units: how many independent
    units were tested (utterances, recordings, queries, speaker pairs); method: of the standard error.
    """

    drop: float
    stderr: float
    units: int
    method: str


@dataclass(frozen=True)
class Problem:
    """Why a cell cannot be compared."""

    status: Literal["missing", "stale", "failed"]
    reason: str


@dataclass(frozen=True)
class Finding:
    """One cell of the baseline, the candidate's if there is one, and what their comparison gave."""

    baseline: Record
    candidate: Record | None
    result: Evidence | Problem


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The verdict on one cell.

    task: column of the table; baseline, candidate: scores in percent; p_value: after Holm's correction; reason: the
    verdict in words.
    """

    upstream: str
    task: str
    metric: str
    seed: int
    higher_is_better: bool
    status: Status
    baseline: float | None
    candidate: float | None
    drop: float | None
    stderr: float | None
    p_value: float | None
    tolerance: float
    method: str | None
    reason: str


def key(record: Record) -> CellKey:
    """The cell that a record fills: upstream, column and seed."""
    return record.upstream, column(record), record.seed


def find_problem(baseline: Record, candidate: Record | None) -> Problem | None:
    """What forbids to compare two records of one cell: absent, failed, or not of the same data and task; else None."""
    if candidate is None:
        return Problem("missing", "the candidate has no such record")
    for name, record in (("candidate", candidate), ("baseline", baseline)):
        if record.value is None:
            return Problem("failed", f"the {name} has no value: {'; '.join(record.skipped) or 'no reason kept'}")
    values = {name: (getattr(candidate, name), getattr(baseline, name)) for name in _ALIKE}
    values["protocol"] = (_protocol(candidate), _protocol(baseline))
    unlike = [
        f"{name} is {_short(ours)}, but {_short(theirs)} in the baseline"
        for name, (ours, theirs) in values.items()
        if ours != theirs
    ]
    return Problem("stale", f"{'; '.join(unlike)}: {_CURE}") if unlike else None


def drop(baseline: Record, candidate: Record) -> float:
    """By how many points the candidate is worse; both have a value."""
    ours, theirs = candidate.value, baseline.value
    assert ours is not None and theirs is not None
    return theirs - ours if baseline.higher_is_better else ours - theirs


def combined(baseline: Record, candidate: Record, units: int) -> Evidence | Problem:
    """Evidence from the two scores and their own standard errors, for runs that did not score the same items.

    units: independent units of the run that has fewer.
    """
    if baseline.stderr is None or candidate.stderr is None:
        return Problem("failed", "no standard error in the record: run the task again")
    stderr = math.hypot(baseline.stderr, candidate.stderr)
    return Evidence(drop(baseline, candidate), stderr, units, "combined standard errors")


def p_value(evidence: Evidence) -> float:
    """Chance that equal models differ by such a drop or more, from 0 to 1.

    Student's t with units - 1 degrees of freedom, and never less than 2 ** -units, the least that a sign test on as
    many units can give: a standard error of zero is no certainty. 1 if there are not two units.
    """
    from scipy.special import stdtr

    if evidence.units < 2:
        return 1.0
    if evidence.stderr > 0:
        tail = float(stdtr(evidence.units - 1, -evidence.drop / evidence.stderr))
    else:
        tail = 0.0 if evidence.drop > 0 else 1.0
    return max(tail, 0.5**evidence.units)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's step-down correction for as many tests, in the same order."""
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def judge(findings: Sequence[Finding], tolerances: Mapping[str, float] = TOLERANCES) -> list[Outcome]:
    """The verdict on each cell, in the same order; tolerances: drop in points by column, 0 where none is given."""
    tested = [index for index, finding in enumerate(findings) if isinstance(finding.result, Evidence)]
    evidence = [finding.result for finding in findings if isinstance(finding.result, Evidence)]
    adjusted = dict(zip(tested, holm([p_value(one) for one in evidence]), strict=True))
    return [
        _outcome(finding, adjusted.get(index), tolerances.get(column(finding.baseline), 0.0))
        for index, finding in enumerate(findings)
    ]


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 if every cell passes, 1 if one is a regression, else 3: some could not be compared."""
    statuses = {outcome.status for outcome in outcomes}
    if "regression" in statuses:
        return 1
    return 3 if statuses - {"pass"} else 0


def _outcome(finding: Finding, adjusted: float | None, tolerance: float) -> Outcome:
    upstream, task, seed = key(finding.baseline)
    result = finding.result
    if isinstance(result, Evidence):
        assert adjusted is not None
        status, reason = _verdict(result, adjusted, tolerance)
    else:
        status, reason = result.status, result.reason
    known = result if isinstance(result, Evidence) else None
    return Outcome(
        upstream=upstream,
        task=task,
        metric=finding.baseline.metric,
        seed=seed,
        higher_is_better=finding.baseline.higher_is_better,
        status=status,
        baseline=finding.baseline.value,
        candidate=finding.candidate.value if finding.candidate else None,
        drop=known.drop if known else None,
        stderr=known.stderr if known else None,
        p_value=adjusted,
        tolerance=tolerance,
        method=known.method if known else None,
        reason=reason,
    )


def _verdict(evidence: Evidence, adjusted: float, tolerance: float) -> tuple[Status, str]:
    if evidence.drop <= 0:
        return "pass", "not worse"
    worse = f"worse by {evidence.drop:.2f} points"
    if evidence.drop <= tolerance:
        return "pass", f"{worse}, within the tolerance of {tolerance:g}"
    sure = f"standard error {evidence.stderr:.2f} ({evidence.method}), p = {adjusted:.2g}"
    if adjusted > LEVEL:
        return "pass", f"{worse}, within the noise: {sure}"
    return "regression", f"{worse}, tolerance {tolerance:g}: {sure}"


def _protocol(record: Record) -> str:
    return str(record.config.get("protocol", "corrected"))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:12]}..."
