"""Tables: marks, dashes with reasons, comparability, and the wall between measured and published rows."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from reports.aggregate import SUPERB
from reports.layout import Column, Table
from reports.measured import measured_values, overall_scores
from reports.published import published_rows
from reports.records import Record, RecordError
from reports.tables import (
    ablation_table,
    joins_published,
    measured_table,
    plain_table,
    published_table,
    report_tables,
)

Make = Callable[..., Record]
# The paper's STaRHuBERT row, whose aggregates are printed as 79.5 and 887: scores in percent, MTWV times 100.
STARHUBERT = (8.16, 9.35, 96.27, 6.88, 77.58, 5.39, 6.05, 97.55, 87.94, 25.31, 63.01)


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def footnotes(table: Table, row: int, column: int = 0) -> list[str]:
    return [table.footnotes[number - 1] for number in table.rows[row][column].footnotes]


@pytest.fixture
def superb(record: Make) -> Callable[..., list[Record]]:
    """Make the eleven records of one upstream with the scores of STaRHuBERT; keywords replace fields of all."""

    def make(**changes: Any) -> list[Record]:
        return [
            record(
                **{
                    "suite": "superb",
                    "synthetic": False,
                    "task": key.partition("_")[0],
                    "metric": metric.name.lower(),
                    "higher_is_better": metric.higher_is_better,
                    "value": value,
                    "parameters": 22_308_592,
                    "macs": 463_501_579_392,
                }
                | changes
            )
            for (key, metric), value in zip(SUPERB.items(), STARHUBERT, strict=True)
        ]

    return make


def test_measured_table(run: list[Record]) -> None:
    table = measured_table(run)
    assert table.title == "Measured: mini (synthetic speech)"
    assert table.columns == (
        Column("Upstream", align="l"),
        Column("Params", "(M)"),
        Column("MACs", "(G)"),
        Column("Overall", "↑"),
        Column("PR", "PER ↓", "Content"),
        Column("KS", "Acc ↑", "Content"),
    )
    assert texts(table) == [
        ["starhubert", "1.24", "23.4", "88.75", "12.50", "90.00"],
        ["mini_hubert", "1.24", "23.4", "92.50", "10.00", "95.00"],
        ["fbank", "0.00", "–", "–", "60.00", "–"],
    ]
    assert [[cell.mark for cell in row[3:]] for row in table.rows] == [["second"] * 3, ["best"] * 3, ["", "", ""]]
    assert [row[5].spread for row in table.rows] == ["", "± 0.50", ""]
    assert footnotes(table, 2, 5) == ["out of memory | at batch 3"] == list(table.footnotes)
    assert "± is one standard error (binomial)." in table.notes
    assert any(note.startswith("Synthetic speech") for note in table.notes)


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
    assert texts(table)[0][3:] == ["88.00", "12.00"] and table.rows[0][4].spread == "± 2.83"
    assert texts(table)[1][3:] == ["–", "–"]
    assert footnotes(table, 1, 4) == ["No record for seed 0."]
    assert "Mean and standard deviation over the seeds 0, 1." in table.notes


def test_other_reasons_and_deviations_are_footnoted(record: Make) -> None:
    records = [record(deviations=["steps 400, official 100000"]), record(upstream="b", task="er", value=None)]
    table = measured_table(records)
    assert table.footnotes == ("Not measured.", "The record has no value and gives no reason.")
    assert footnotes(table, 0, 5) == ["Not measured."] == footnotes(table, 1, 4)
    assert any("Not the official settings: PR." in note for note in table.notes)


def test_real_corpora_are_not_called_synthetic(record: Make) -> None:
    table = measured_table([record(suite="superb", synthetic=False)])
    assert table.title == "Measured: superb"
    assert not any("ynthetic" in note for note in table.notes)


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
    assert [section.title for section in table.sections] == [
        "Baselines and teachers",
        "Distilled on 960 h",
        "Distilled on 100 h",
    ]
    assert len(table.rows) == len(published_rows()) and {len(row) for row in table.rows} == {len(table.columns)}
    rows = {row[0]: row[1:] for row in texts(table)[:18]}
    assert rows["STaRHuBERT"] == (
        "22.31 463.5 79.5 79.5 887 887 8.16 9.35 96.27 6.88 77.58 5.39 6.05 97.55 87.94 25.31 63.01".split()
    )
    assert rows["DistilHuBERT"][:6] == ["23.49", "–", "75.9", "75.9", "–", "717"]
    assert rows["FBANK (as printed)"][2:6] == ["46.5", "40.5", "0", "-166"]
    assert rows["FBANK (as printed)"][10] == "0.00085"
    flagged = [row for row in range(24) if any("do not follow" in text for text in footnotes(table, row))]
    assert [texts(table)[row][0] for row in flagged] == ["FBANK (as printed)"]
    assert footnotes(table, 0)[1].startswith("Not one model")
    assert all(footnotes(table, row) for row in range(24))


def test_published_marks_are_within_groups() -> None:
    # Read off the data by hand. Overall: WavLM 81.9, HuBERT 80.8; STaRHuBERT-L 79.8, STaRHuBERT 79.5; at 100 h
    # STaRHuBERT 77.8, DPHuBERT 77.7. PER at 100 h: 8.33, then two of 9.17. SOTA and FBANK are no models.
    table = published_table()
    overall, per = 3, 7
    found = {
        (section.title[-5:], row[0].text, cell.mark)
        for section in table.sections
        for row in section.rows
        for cell in [row[overall]]
        if cell.mark
    }
    assert found == {
        ("chers", "WavLM Base", "best"),
        ("chers", "HuBERT Base", "second"),
        ("960 h", "STaRHuBERT-L", "best"),
        ("960 h", "STaRHuBERT", "second"),
        ("100 h", "STaRHuBERT", "best"),
        ("100 h", "DPHuBERT", "second"),
    }
    marked = {row[0].text: row[per].mark for row in table.sections[2].rows if row[per].mark}
    assert marked == {"ARMwavLM-S": "best", "ARMHuBERT-S": "second", "STaRHuBERT": "second"}


def test_superb_records_join_the_published_rows(superb: Callable[..., list[Record]]) -> None:
    records = superb() + superb(upstream="b", value=90.0)
    table = published_table(records)
    assert table.title == "Published and measured SUPERB results"
    assert [section.title for section in table.sections][3:] == ["Measured here"]
    assert texts(table)[:24] == texts(published_table())
    mine = next(row for row in texts(table) if row[0] == "starhubert")
    assert mine[1:] == ("22.31 463.5 – 79.5 – 887 8.16 9.35 96.27 6.88 77.58 5.39 6.05 97.55 87.94 25.31 63.01".split())
    marks = {row[0].text: row[7].mark for row in table.sections[3].rows}
    assert marks == {"starhubert": "best", "b": "second"}
    assert [made.title for made in report_tables(records)] == ["Measured: superb", table.title]


def test_joined_rows_name_what_they_lack_and_where_they_deviate(superb: Callable[..., list[Record]]) -> None:
    first, *rest = superb(deviations=["no padding"])
    own = dataclasses.replace(first, deviations=["no padding", "steps 1, official 2"], n_examples=190, skipped=["x"])
    table = published_table([own, *rest[:-1]])
    row = len(table.rows) - 1
    assert footnotes(table, row, 7) == [
        "steps 1, official 2.",
        "1 items set aside, named in the records; 190 of 200 items scored.",
    ]
    assert footnotes(table, row, 8) == []
    assert footnotes(table, row, 17) == ["Not measured."] and texts(table)[row][3:7] == ["–"] * 4
    assert any(note.startswith("Measured here:") and "All tasks: no padding." in note for note in table.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suite": "mini", "synthetic": True}, r"starhubert on pr was measured on mini \(synthetic speech\)"),
        ({"suite": "mini"}, "measured on mini"),
        ({"synthetic": True}, r"measured on superb \(synthetic speech\)"),
    ],
)
def test_mini_and_synthetic_records_never_join(
    superb: Callable[..., list[Record]], change: dict[str, Any], message: str
) -> None:
    records = superb(**change)
    for chosen in (records, records[:1], [*superb(upstream="b"), records[0]]):
        assert not joins_published(chosen)
        with pytest.raises(RecordError, match=message):
            published_table(chosen)
    assert [table.title.split(":")[0] for table in report_tables(records)] == ["Measured"]
    with pytest.raises(RecordError, match=r"records differ in (suite|synthetic): .*; report them apart"):
        report_tables([*superb(upstream="b"), records[0]])


def test_no_records_join_nothing() -> None:
    assert not joins_published([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "cer"}, "starhubert on pr was measured in cer; published results give PER on it"),
        (
            {"task": "st", "metric": "bleu"},
            "starhubert on st was measured in bleu; published results give the tasks pr",
        ),
    ],
)
def test_other_metrics_do_not_join(record: Make, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        published_table([record(suite="superb", synthetic=False, **change)])


def test_measured_and_published_rows_never_mix(run: list[Record]) -> None:
    measured = {row[0] for row in texts(measured_table(run))}
    published = {row.model for row in published_rows()}
    assert measured == {record.upstream for record in run}
    assert not measured & published
    assert "synthetic" not in published_table().title
    with pytest.raises(AttributeError):
        measured_table([*run, published_rows()[0]])  # type: ignore[list-item]


def test_intervals_on_request(record: Make) -> None:
    method = "bootstrap over utterances"
    sure = record(value=10.0, stderr=1.0, low=8.0, high=12.5, stderr_method=method)
    table = measured_table([sure, record(upstream="b", stderr=1.0)], ci=True)
    assert [row[4].spread for row in table.rows] == ["[8.00, 12.50]", ""]
    assert f"[low, high]: 95 % interval over what was scored ({method})." in table.notes
    # over seeds the means of 8 and 10, and of 12.5 and 15
    seeds = [sure, record(value=12.0, low=10.0, high=15.0, seed=1, stderr_method=method)]
    table = measured_table(seeds, ci=True)
    assert (table.rows[0][4].text, table.rows[0][4].spread) == ("11.00", "[9.00, 13.75]")
    assert any("mean over the seeds 0, 1, of the bounds too" in note for note in table.notes)
    assert measured_table([record(value=1.0, low=0.5), record(seed=1)], ci=True).rows[0][4].spread == ""


def test_values_for_machines(run: list[Record], record: Make) -> None:
    rows = measured_values(run)
    assert rows[1] == {
        "upstream": "mini_hubert",
        "suite": "mini",
        "synthetic": "yes",
        "params_m": 1.24,
        "macs_g": 23.4,
        "overall": 92.5,
        "pr_per": 10.0,
        "ks_acc": 95.0,
    }
    assert rows[2]["ks_acc"] is rows[2]["overall"] is rows[2]["macs_g"] is None
    qbe = record(task="qbe", metric="mtwv", value=7.41, low=6.0, high=8.0, suite="superb", synthetic=False)
    (row,) = measured_values([qbe], ci=True)
    assert list(row.items())[-3:] == [("qbe_mtwv", 0.0741), ("qbe_mtwv_low", 0.06), ("qbe_mtwv_high", 0.08)]
    assert row["synthetic"] == "no"


def test_column_that_superb_does_not_have(record: Make) -> None:
    table = measured_table([record(task="st", metric="BLEU", higher_is_better=True), record(metric="CER")])
    assert [(column.title, column.detail, column.group) for column in table.columns[4:]] == [
        ("PR", "CER ↓", ""),
        ("ST", "BLEU ↑", ""),
    ]


def test_ablation_table() -> None:
    table = ablation_table()
    assert [(section.title, len(section.rows)) for section in table.sections] == [
        ("Distilled on 100 h", 8),
        ("Distilled on 960 h", 3),
    ]
    marked = [[(cell.text, cell.mark) for cell in row] for row in table.sections[1].rows]
    assert marked == [
        [("layer-wise TGM", ""), ("79.4", "second"), ("887", "best"), ("2.1", "second")],
        [("layer-wise + intra-layer TGM", ""), ("79.5", "best"), ("887", "best"), ("1.7", "best")],
        [("all three", ""), ("78.8", ""), ("871", "second"), ("2.3", "")],
    ]
    assert any("arXiv 2312.09040" in note for note in table.notes)


def test_plain_table() -> None:
    table = plain_table("t", [{"name": "a", "macs": 1234567}, {"name": "b", "macs": None, "ok": True, "rate": 0.12345}])
    assert texts(table) == [["a", "1,234,567", "–", "–"], ["b", "–", "yes", "0.1235"]]
    assert [(column.title, column.align) for column in table.columns] == [
        ("name", "l"),
        ("macs", "r"),
        ("ok", "r"),
        ("rate", "r"),
    ]


def test_protocols_are_not_mixed_in_one_column(record: Make) -> None:
    official, other = record(config={"protocol": "official"}), record(upstream="b", config={"protocol": "corrected"})
    assert any("as the published numbers are: PR" in note for note in measured_table([official]).notes)
    with pytest.raises(RecordError, match="on pr differ in protocol: corrected, official"):
        measured_table([official, other])
