"""Aggregates worked by hand; test_published.py holds them against the values that the papers print."""

import pytest

from reports.aggregate import SUPERB, generalizability, overall, unscaled

HAND = dict(zip(SUPERB, (10.0, 20.0, 90.0, 5.0, 80.0, 4.0, 6.0, 95.0, 85.0, 30.0, 60.0), strict=True))


def test_overall_worked_by_hand() -> None:
    # 90 + 80 + 90 + 5 + 80 + 96 + 94 + 95 + 85 + 70 + 60 = 845
    assert overall(HAND) == pytest.approx(845 / 11)
    assert overall({"pr": 10.0, "ks": 90.0, "er": 1.0}, {"pr": False, "ks": True}) == pytest.approx(90)


def test_generalizability_worked_by_hand() -> None:
    fbank = dict.fromkeys(SUPERB, 0.0)
    sota = dict.fromkeys(SUPERB, 100.0)
    # tasks: .10 .20 .90 .05 .80 .04 .06 .95 (.85 + .30) / 2 .60 = 4.275
    assert generalizability(HAND, fbank, sota) == pytest.approx(427.5)
    assert generalizability(fbank, fbank, sota) == 0
    assert generalizability(sota, fbank, sota) == 1000


@pytest.mark.parametrize("task", SUPERB)
def test_missing_task_gives_no_aggregate(task: str) -> None:
    for scores in (HAND | {task: None}, {key: value for key, value in HAND.items() if key != task}):
        assert overall(scores) is None
        assert generalizability(scores, dict.fromkeys(SUPERB, 0.0), dict.fromkeys(SUPERB, 1.0)) is None


def test_groups_are_those_of_the_benchmark() -> None:
    # SUPERB's four aspects, in the order of the papers' tables.
    aspects = {"Content": "PR ASR KS QbE", "Speaker": "SID ASV SD", "Semantics": "IC SF SF", "Paraling.": "ER"}
    found: dict[str, list[str]] = {}
    for metric in SUPERB.values():
        found.setdefault(metric.aspect, []).append(metric.task)
    assert {aspect: " ".join(tasks) for aspect, tasks in found.items()} == aspects


def test_only_mtwv_has_another_scale_in_files() -> None:
    assert (unscaled("qbe", 7.41), unscaled("qbe", None), unscaled("pr", 7.41)) == (0.0741, None, 7.41)
