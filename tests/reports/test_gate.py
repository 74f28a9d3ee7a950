"""The gate's verdicts, worked by hand."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from scipy import stats

from reports.aggregate import SUPERB
from reports.gate import (
    LEVEL,
    TOLERANCES,
    Evidence,
    Finding,
    Outcome,
    Problem,
    combined,
    exit_code,
    find_problem,
    holm,
    judge,
    p_value,
)
from reports.records import Record

Make = Callable[..., Record]


def evidence(drop: float, stderr: float = 1.0, units: int = 1000) -> Evidence:
    return Evidence(drop, stderr, units, "by hand")


@pytest.fixture
def verdict(record: Make) -> Callable[..., Outcome]:
    """The outcome of one cell on its own."""

    def judged(result: Evidence | Problem, tolerance: float = 0.5, **changes: Any) -> Outcome:
        (outcome,) = judge([Finding(record(), record(**changes), result)], {"pr": tolerance})
        return outcome

    return judged


def test_every_column_has_a_tolerance() -> None:
    assert list(TOLERANCES) == list(SUPERB)


def test_holm_by_hand() -> None:
    # from the least: 4 x .005, 3 x .01, 2 x .03, 1 x .04, none less than the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_p_value_is_that_of_students_t() -> None:
    for drop, stderr, units in ((3.0, 1.0, 11), (-2.0, 0.5, 300), (0.7, 0.4, 24)):
        expected = stats.t.sf(drop / stderr, units - 1)
        assert p_value(evidence(drop, stderr, units)) == pytest.approx(expected, rel=1e-9)


def test_few_units_are_never_sure() -> None:
    assert p_value(evidence(100.0, 0.0, 1)) == 1.0
    assert p_value(evidence(100.0, 0.0, 4)) == 1 / 16
    assert p_value(evidence(100.0, 1e-9, 4)) == 1 / 16
    assert p_value(evidence(0.0, 0.0)) == p_value(evidence(-1.0, 0.0)) == 1.0
    assert p_value(evidence(100.0, 0.0)) < 1e-300


@pytest.mark.parametrize(
    ("result", "tolerance", "status", "reason"),
    [
        (evidence(-3.0), 0.5, "pass", "not worse"),
        (evidence(0.0, 0.0), 0.5, "pass", "not worse"),
        (evidence(0.5, 0.001), 0.5, "pass", "worse by 0.50 points, within the tolerance of 0.5"),
        (
            evidence(1.6),
            0.5,
            "pass",
            "worse by 1.60 points, within the noise: standard error 1.00 (by hand), p = 0.05",
        ),
        (evidence(3.0), 0.5, "regression", "worse by 3.00 points, tolerance 0.5: standard error 1.00 (by hand), p ="),
        (evidence(3.0), 4.0, "pass", "worse by 3.00 points, within the tolerance of 4"),
    ],
)
def test_verdicts(verdict: Any, result: Evidence, tolerance: float, status: str, reason: str) -> None:
    outcome = verdict(result, tolerance)
    assert (outcome.status, outcome.tolerance, outcome.method) == (status, tolerance, "by hand")
    assert outcome.reason.startswith(reason)
    assert (outcome.drop, outcome.stderr) == (result.drop, result.stderr)


def test_more_cells_ask_for_more(record: Make) -> None:
    def statuses(drops: list[float]) -> list[str]:
        findings = [Finding(record(seed=i), record(seed=i), evidence(drop)) for i, drop in enumerate(drops)]
        return [outcome.status for outcome in judge(findings)]

    # one-sided normal quantiles: 1.88 at .03, 2.51 at .03 / 5
    assert statuses([2.0]) == ["regression"]
    assert statuses([2.0, 0.0, 0.0, 0.0, 0.0]) == ["pass"] * 5
    assert statuses([2.6, 0.0, 0.0, 0.0, 0.0]) == ["regression"] + ["pass"] * 4
    assert statuses([1.9, 9.0, 9.0, 9.0, 9.0]) == ["regression"] * 5


def test_a_drop_that_is_seen_to_be_three_standard_errors_fails_among_all_columns(record: Make) -> None:
    drops = [3.0, *[0.0] * (len(SUPERB) - 1)]
    findings = [Finding(record(seed=i), record(seed=i), evidence(drop, units=100)) for i, drop in enumerate(drops)]
    assert [outcome.status for outcome in judge(findings)][:2] == ["regression", "pass"]


def test_cells_that_are_not_compared_do_not_count_as_tests(record: Make) -> None:
    lost = [Finding(record(seed=i), None, Problem("missing", "gone")) for i in range(1, 9)]
    (first, *others) = judge([Finding(record(), record(), evidence(2.0)), *lost])
    assert first.status == "regression" and first.p_value == pytest.approx(p_value(evidence(2.0)))
    assert {other.status for other in others} == {"missing"}
    assert all(other.drop is other.stderr is other.p_value is other.method is None for other in others)
    assert others[0].candidate is None and others[0].baseline == 12.5


def test_an_unknown_column_has_no_tolerance(record: Make) -> None:
    (outcome,) = judge([Finding(record(task="new"), record(task="new"), evidence(0.1, 0.001))])
    assert (outcome.status, outcome.tolerance) == ("regression", 0.0)


def test_combined_standard_errors_by_hand(record: Make) -> None:
    result = combined(record(value=10.0, stderr=3.0), record(value=17.0, stderr=4.0), 80)
    assert result == Evidence(7.0, 5.0, 80, "combined standard errors")
    better = {"higher_is_better": True}
    result = combined(record(value=10.0, stderr=3.0, **better), record(value=17.0, stderr=4.0, **better), 80)
    assert isinstance(result, Evidence) and result.drop == -7.0
    for sides in ((record(), record(stderr=1.0)), (record(stderr=1.0), record())):
        assert combined(*sides, 80) == Problem("failed", "no standard error in the record: run the task again")


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"value": None, "skipped": ["out of memory"]}, "failed", "the candidate has no value: out of memory"),
        ({"value": None}, "failed", "the candidate has no value: no reason kept"),
        ({"data_fingerprint": "beef"}, "stale", "data_fingerprint is beef, but f00d in the baseline"),
        ({"task_version": 2}, "stale", "task_version is 2, but 1 in the baseline"),
        ({"split": "dev"}, "stale", "split is dev, but test in the baseline"),
        ({"metric": "WER"}, "stale", "metric is WER, but PER in the baseline"),
        ({"higher_is_better": True}, "stale", "higher_is_better is True, but False in the baseline"),
        ({"config": {"protocol": "official"}}, "stale", "protocol is official, but corrected in the baseline"),
        (
            {"suite": "superb", "synthetic": False},
            "stale",
            "suite is superb, but mini in the baseline; synthetic is False, but True in the baseline: run both on the",
        ),
        ({"data_fingerprint": "0123456789abcdef0"}, "stale", "data_fingerprint is 0123456789ab..., but f00d"),
    ],
)
def test_what_cannot_be_compared(record: Make, change: dict[str, Any], status: str, reason: str) -> None:
    problem = find_problem(record(), record(**change))
    assert problem is not None and problem.status == status and problem.reason.startswith(reason)
    (outcome,) = judge([Finding(record(), record(**change), problem)])
    assert (outcome.status, outcome.reason) == (status, problem.reason)


def test_what_can_be_compared(record: Make) -> None:
    other_weights = {"checkpoint_sha256": "cd34", "commit": "1234", "value": 3.0, "config": {"protocol": "corrected"}}
    assert find_problem(record(), record(**other_weights)) is None
    assert find_problem(record(), None) == Problem("missing", "the candidate has no such record")
    failed = find_problem(record(value=None, skipped=["lost"]), record())
    assert failed == Problem("failed", "the baseline has no value: lost")


def test_exit_codes(verdict: Any) -> None:
    passed, worse = verdict(evidence(0.0)), verdict(evidence(9.0))
    incomplete = [verdict(Problem(status, "why")) for status in ("missing", "stale", "failed")]
    assert exit_code([passed, passed]) == 0
    assert exit_code([passed, worse]) == exit_code([*incomplete, worse, passed]) == 1
    assert [exit_code([passed, one]) for one in incomplete] == [3, 3, 3]


def test_the_level_is_kept_over_all_cells(record: Make) -> None:
    """With p-values drawn evenly, as equal models give, LEVEL of the comparisons have a regression."""
    import numpy as np

    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(2000):
        scores = rng.standard_normal(11)
        alarms += any(p <= LEVEL for p in holm([p_value(evidence(float(z), 1.0, 10**6)) for z in scores]))
    assert abs(alarms / 2000 - LEVEL) < 3 * math.sqrt(LEVEL * (1 - LEVEL) / 2000)
