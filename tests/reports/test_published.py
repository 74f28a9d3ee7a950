"""Published rows: every number is the source's, aggregates recompute, and the row that contradicts itself is found."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from reports.published import (
    DATA,
    SOURCES,
    PublishedRow,
    ablation_rows,
    published_generalizability,
    published_rows,
    published_values,
)

ROWS = {row.key: row for row in published_rows()}
SOUND = [row for row in ROWS.values() if row.key != "fbank_printed"]
# star-objective.md, "The paper's loss selection", copied by hand: overall, generalizability, mean rank.
ABLATION = {
    ("fithubert", "100h"): (74.5, 695, None),
    ("maskhubert", "100h"): (76.3, 789, None),
    ("last-attn", "100h"): (75.7, 750, None),
    ("avg-attn", "100h"): (76.5, 766, 4.4),
    ("layer-wise", "100h"): (77.8, 829, 2.7),
    ("intra-layer", "100h"): (77.7, 820, 3.2),
    ("star", "100h"): (77.8, 831, 2.2),
    ("layer-wise+intra-layer+avg-attn", "100h"): (77.7, 827, 2.6),
    ("layer-wise", "960h"): (79.4, 887, 2.1),
    ("star", "960h"): (79.5, 887, 1.7),
    ("layer-wise+intra-layer+avg-attn", "960h"): (78.8, 871, 2.3),
}


@pytest.mark.parametrize("row", SOUND, ids=lambda row: row.key)
def test_aggregates_are_the_printed_ones(row: PublishedRow) -> None:
    assert row.overall_recomputed == pytest.approx(row.overall, abs=0.05)
    assert row.general is None or row.general_recomputed == pytest.approx(row.general, abs=2)
    assert row.contradictions == ()


def test_published_rows_are_all_there() -> None:
    assert len(ROWS) == 24
    assert sum(row.general is not None for row in ROWS.values()) == 12
    assert ROWS["starhubert"].scores["qbe"] == pytest.approx(6.88)
    assert ROWS["distilhubert"].macs_g is None


def test_printed_fbank_contradicts_itself() -> None:
    assert ROWS["fbank_printed"].contradictions == (
        "Overall 46.5 printed, 40.5 recomputed",
        "Generalizability 0 printed, -166 recomputed",
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"overall": 80.0, "overall_recomputed": 80.05}, []),
        ({"overall": 80.0, "overall_recomputed": 79.949}, ["Overall"]),
        ({"general": 900.0, "general_recomputed": 902.0}, []),
        ({"general": 900.0, "general_recomputed": 897.9}, ["Generalizability"]),
        ({"overall": None, "general": None}, []),
        ({"overall_recomputed": None, "general_recomputed": None}, []),
    ],
)
def test_contradictions_are_computed(change: dict[str, float | None], named: list[str]) -> None:
    row = replace(ROWS["dphubert"], **change)  # type: ignore[arg-type]
    assert [text.split()[0] for text in row.contradictions] == named


def test_values_are_those_of_the_file() -> None:
    with (DATA / "superb_published.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    values = published_values()
    renamed = {"overall": "overall_printed", "general": "general_printed"}
    for line, row in zip(lines, values, strict=True):
        for name, text in line.items():
            value = row[renamed.get(name, name)]
            assert value == (float(text) if isinstance(value, float) else text or None), (line["key"], name)
    assert [row["key"] for row in values if row["consistent"] == "no"] == ["fbank_printed"]
    assert list(values[0])[7:12] == [
        "overall_printed", "overall_recomputed", "general_printed", "general_recomputed", "consistent",
    ]  # fmt: skip


def test_scale_of_generalizability_is_the_published_one() -> None:
    assert published_generalizability(ROWS["fbank_leaderboard"].scores) == 0
    assert published_generalizability(ROWS["sota"].scores) == 1000
    assert published_generalizability(ROWS["starhubert"].scores) == pytest.approx(887.4, abs=0.05)


def test_ablation_is_the_papers() -> None:
    rows = ablation_rows()
    found = {(row.objective, row.distil_data): (row.overall, row.general, row.mean_rank) for row in rows}
    assert found == ABLATION and len(rows) == len(ABLATION)
    for key, data in (("starhubert", "960h"), ("starhubert_100h", "100h")):
        assert ABLATION["star", data][:2] == (ROWS[key].overall, ROWS[key].general)
    assert ABLATION["fithubert", "100h"][0] == ROWS["fithubert_100h"].overall


@pytest.mark.parametrize("data", ["100h", "960h"])
def test_ranks_of_the_ablation_add_up(data: str) -> None:
    # The ranks of n rows add up to n (n + 1) / 2 on every task; each mean is rounded to a tenth.
    ranks = [row.mean_rank for row in ablation_rows() if row.distil_data == data and row.mean_rank is not None]
    assert sum(ranks) == pytest.approx(len(ranks) * (len(ranks) + 1) / 2, abs=0.05 * len(ranks))


def test_every_source_is_named_and_explained() -> None:
    readme = (Path(DATA) / "README.md").read_text(encoding="utf-8")
    for source in {row.source for row in ROWS.values()} | {row.source for row in ablation_rows()}:
        assert SOURCES[source] and f"`{source}`" in readme
