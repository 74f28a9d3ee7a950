from collections.abc import Callable

import pytest

from reports.records import Record
from reports.selection import mean_ranks, selection_table, several_students

KINDS = {"pr": ("PR", False), "ks": ("KS", True), "sf_f1": ("SF", True), "sf_cer": ("SF", False)}


def test_mean_ranks_by_hand() -> None:
    """PR: a 1, b 2, c 3. KS: a and b share places 1 and 2, c 3. SF: F1 b 1, a 2, c 3; CER a 1, b 2, c 3, one task."""
    scores = {
        "a": {"pr": 5.0, "ks": 90.0, "sf_f1": 80.0, "sf_cer": 10.0},
        "b": {"pr": 6.0, "ks": 90.0, "sf_f1": 81.0, "sf_cer": 11.0},
        "c": {"pr": 7.0, "ks": 80.0, "sf_f1": 70.0, "sf_cer": 12.0},
        "unfinished": {"pr": 1.0, "ks": None, "sf_f1": 99.0, "sf_cer": 1.0},
    }
    assert mean_ranks(scores, KINDS) == {
        "a": pytest.approx((1 + 1.5 + 1.5) / 3),
        "b": pytest.approx((2 + 1.5 + 1.5) / 3),
        "c": 3.0,
        "unfinished": None,
    }


def records(record: Callable[..., Record], suite: str = "mini") -> list[Record]:
    synthetic = suite == "mini"
    return [
        record(upstream=name, upstream_kind=kind, value=value + seed, seed=seed, suite=suite, synthetic=synthetic)
        for seed in (0, 1)
        for name, kind, value in (("t", "teacher", 5.0), ("s", "student", 20.0), ("s [x]", "student", 10.0))
    ]


def test_a_table_of_students_by_hand(record: Callable[..., Record]) -> None:
    found = records(record)
    assert several_students(found) and not several_students(found[:2])
    table = selection_table(found)
    assert [[cell.text for cell in row] for row in table.rows] == [["s", "79.50", "2.00"], ["s [x]", "89.50", "1.00"]]
    assert [cell.mark for cell in table.rows[1]] == ["", "best", "best"]
    assert table.rows[0][1].spread == "± 0.71"
    assert "synthetic" in table.title and any("never stand beside" in note for note in table.notes)


def test_generalizability_needs_the_official_suite(record: Callable[..., Record]) -> None:
    table = selection_table(records(record, "superb"))
    assert [column.title for column in table.columns][-1] == "General."
    assert table.rows[0][-1].text == "–"  # one task of ten
