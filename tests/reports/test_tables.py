"""Tables: marks, dashes with reasons, comparability, and the wall between measured and published rows."""

from collections.abc import Callable
from typing import Any

import pytest

from reports.published import published_rows
from reports.records import Record, RecordError
from reports.tables import Table, measured_table, overall_scores, plain_table, published_table

Make = Callable[..., Record]


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_measured_table(run: list[Record]) -> None:
    table = measured_table(run)
    assert table.title == "Measured: mini (synthetic speech)"
    assert table.columns == ("Upstream", "#params (M)", "MACs (G)", "Overall ↑", "PR PER ↓", "KS Acc ↑")
    assert texts(table) == [
        ["starhubert", "1.24", "23.4", "88.75", "12.50", "90.00"],
        ["mini_hubert", "1.24", "23.4", "92.50", "10.00", "95.00 ± 0.50"],
        ["fbank", "0.00", "–", "–", "60.00", "–¹"],
    ]
    assert [[cell.mark for cell in row[3:]] for row in table.rows] == [["second"] * 3, ["best"] * 3, ["", "", ""]]
    assert table.notes[0] == "¹ out of memory | at batch 3"
    assert "± is one standard error (binomial)." in table.notes


def test_overall_scores(run: list[Record]) -> None:
    assert overall_scores(run) == {"starhubert": 88.75, "mini_hubert": 92.5, "fbank": None}


def test_ties_share_the_mark_and_one_row_has_none(record: Make) -> None:
    values = {"a": 5.001, "b": 5.0, "c": 7.0, "d": 9.0}
    table = measured_table([record(upstream=name, value=value) for name, value in values.items()])
    assert [row[4].mark for row in table.rows] == ["best", "best", "second", ""]
    assert {cell.mark for cell in measured_table([record()]).rows[0]} == {""}


def test_seeds_are_averaged_and_never_in_part(record: Make) -> None:
    records = [record(value=10.0, stderr=3.0), record(value=14.0, seed=1), record(upstream="b", seed=1)]
    table = measured_table(records)
    # the sample standard deviation of 10 and 14 is the root of (4 + 4) / 1
    assert texts(table)[0][3:] == ["88.00", "12.00 ± 2.83"]
    assert texts(table)[1][3:] == ["–", "–¹"]
    assert "¹ No record for seed 0." in table.notes
    assert "Mean and standard deviation over the seeds 0, 1." in table.notes


def test_other_reasons_and_deviations_are_footnoted(record: Make) -> None:
    records = [record(deviations=["steps 400, official 100000"]), record(upstream="b", task="er", value=None)]
    table = measured_table(records)
    assert table.notes[:2] == ("¹ Not measured.", "² The record has no value and gives no reason.")
    assert any("Not the official settings: PR." in note for note in table.notes)


def test_real_corpora_are_not_called_synthetic(record: Make) -> None:
    assert measured_table([record(suite="superb", synthetic=False)]).title == "Measured: superb"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suite": "superb"}, "differ in suite: mini, superb"),
        ({"synthetic": False}, "differ in synthetic"),
        ({"task_version": 2}, "on pr differ in task_version: 1, 2"),
        ({"data_fingerprint": "beef"}, "on pr differ in data_fingerprint"),
        ({"metric": "CER"}, "on pr differ in metric"),
        ({"upstream": "starhubert"}, "2 records of starhubert on pr with seed 0"),
    ],
)
def test_unlike_records_are_refused(record: Make, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError) as caught:
        measured_table([record(), record(**{"upstream": "b"} | change)])
    assert message in str(caught.value)


def test_no_records_are_refused() -> None:
    with pytest.raises(RecordError, match="no records"):
        measured_table([])


def test_published_table() -> None:
    table = published_table()
    assert len(table.rows) == len(published_rows()) and {len(row) for row in table.rows} == {len(table.columns)}
    rows = {tuple(row[:2]): row[3:] for row in texts(table)}
    assert rows["STaRHuBERT", "960h"] == (
        "22.31 463.5 79.5 79.5 887 887 8.16 9.35 96.27 6.88 77.58 5.39 6.05 97.55 87.94 25.31 63.01".split()
    )
    assert rows["DistilHuBERT", "960h"][:6] == ["23.49", "–", "75.9", "75.9", "–", "717"]
    (footnote,) = [note for note in table.notes if "FBANK" in note]
    assert rows[f"FBANK (as printed){footnote[0]}", "–"][2:6] == ["46.5", "40.5", "0", "-166"]
    assert rows["FBANK (as printed)²", "–"][10] == "0.00085"


def test_measured_and_published_rows_never_mix(run: list[Record]) -> None:
    measured = {row[0] for row in texts(measured_table(run))}
    published = {row.model for row in published_rows()}
    assert measured == {record.upstream for record in run}
    assert not measured & published
    assert "synthetic" not in published_table().title
    with pytest.raises(AttributeError):
        measured_table([*run, published_rows()[0]])  # type: ignore[list-item]


def test_plain_table() -> None:
    table = plain_table("t", [{"name": "a", "macs": 1234567}, {"name": "b", "macs": None, "ok": True, "rate": 0.12345}])
    assert texts(table) == [["a", "1,234,567", "–", "–"], ["b", "–", "yes", "0.1235"]]
    assert (table.columns, table.align) == (("name", "macs", "ok", "rate"), "lrrr")


def test_protocols_are_not_mixed_in_one_column(record: Make) -> None:
    official, other = record(config={"protocol": "official"}), record(upstream="b", config={"protocol": "corrected"})
    assert any("as the published numbers are: PR" in note for note in measured_table([official]).notes)
    with pytest.raises(RecordError, match="on pr differ in protocol: corrected, official"):
        measured_table([official, other])
