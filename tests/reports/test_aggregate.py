"""Aggregates against the values that the papers print, and worked by hand."""

import pytest

from reports.aggregate import SUPERB, generalizability, overall
from reports.published import PublishedRow, published_rows

ROWS = {row.key: row for row in published_rows()}
HAND = dict(zip(SUPERB, (10.0, 20.0, 90.0, 5.0, 80.0, 4.0, 6.0, 95.0, 85.0, 30.0, 60.0), strict=True))


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.key != "fbank_printed"], ids=lambda row: row.key)
def test_overall_is_the_printed_one(row: PublishedRow) -> None:
    assert row.overall_recomputed == pytest.approx(row.overall, abs=0.05)


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.general is not None], ids=lambda row: row.key)
def test_generalizability_is_the_printed_one(row: PublishedRow) -> None:
    if row.key != "fbank_printed":
        assert row.general_recomputed == pytest.approx(row.general, abs=2)


def test_published_rows_are_all_there() -> None:
    assert len(ROWS) == 24
    assert sum(row.general is not None for row in ROWS.values()) == 12
    assert ROWS["starhubert"].scores["qbe"] == pytest.approx(6.88)
    assert ROWS["distilhubert"].macs_g is None


def test_printed_fbank_does_not_recompute() -> None:
    row = ROWS["fbank_printed"]
    assert row.overall_recomputed is not None and row.overall is not None
    assert abs(row.overall_recomputed - row.overall) > 6


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
