"""Scores against cost: the right points and lines, nothing synthetic beside published models."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.records import Record
from reports.tradeoffs import macs_figure, panel, size_figure

PRINTED = Path(__file__).parents[2] / "reports" / "data" / "superb_published.csv"
Make = Callable[..., list[Record]]


@pytest.fixture
def printed() -> list[dict[str, str]]:
    with PRINTED.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def measured(superb: Make) -> list[Record]:
    """A run on the official corpora: student, teacher, untrained control and FBANK."""
    return [
        *superb("student", 12.5, parameters=22_000_000, macs=450_000_000_000, stderr=0.25),
        *superb("teacher", 6.5, upstream_kind="teacher", parameters=94_700_000, macs=1_669_000_000_000),
        *superb("random:student", 80.0, upstream_kind="random", parameters=22_000_000),
        *superb("fbank", 23.0, upstream_kind="fbank", parameters=0, macs=None),
    ]


def drawn_points(axes: Axes, group: str) -> set[tuple[float, float]]:
    lines = [line for line in axes.lines if line.get_label() == group]
    return {(round(float(x), 6), round(float(y), 6)) for line in lines for x, y in line.get_xydata()}


def levels(axes: Axes) -> dict[str, tuple[float, str]]:
    across = [line for line in axes.lines if line.get_transform() == axes.get_yaxis_transform()]
    return {str(line.get_label()): (float(line.get_ydata()[0]), str(line.get_linestyle())) for line in across}


def assert_names_cover_nothing(axes: Axes, number: int) -> None:
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == number
    marked = [line for line in axes.lines if line.get_marker() != "None"]
    markers = [axes.transData.transform(point) for line in marked for point in line.get_xydata()]
    for index, box in enumerate(boxes):
        assert axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max)
        assert not any(box.overlaps(other) for other in boxes[:index])
        assert not any(box.contains(*marker) for marker in markers)


def test_published_and_measured_points_stand_where_they_belong(
    tmp_path: Path, drawn: list[Figure], printed: list[dict[str, str]], measured: list[Record]
) -> None:
    assert size_figure(measured, tmp_path / "size.png")
    base = next(row for row in printed if row["key"] == "hubert_base")
    for axes, column in zip(drawn[0].axes, ("asr_wer", "sid_acc", "ic_acc"), strict=True):
        for hours in ("960", "100"):
            rows = [row for row in printed if row["distil_data"] == f"{hours}h"]
            expected = {(float(row["params_m"]), float(row[column])) for row in rows}
            assert drawn_points(axes, f"published, {hours} h") == expected
        assert drawn_points(axes, "measured here") == {(22.0, 12.5)}
        assert levels(axes) == {
            "HuBERT Base, published": (float(base[column]), "--"),
            "teacher, here": (6.5, "-."),
        }
        assert_names_cover_nothing(axes, 15)  # 13 models, one of them at two sizes, and the student
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["ASR WER (%) ↓", "SID Acc (%) ↑", "IC Acc (%) ↑"]
    assert drawn[0].axes[-1].get_xlabel() == "parameters (M)"
    assert drawn[0].get_size_inches()[0] == 3.3


def test_overall_stands_against_macs(
    tmp_path: Path, drawn: list[Figure], printed: list[dict[str, str]], measured: list[Record]
) -> None:
    assert macs_figure(measured, tmp_path / "macs.png")
    (axes,) = drawn[0].axes
    points = drawn_points(axes, "published, 960 h") | drawn_points(axes, "published, 100 h")
    expected = sorted(
        (float(row["macs_g"]), float(row["overall"])) for row in printed if row["distil_data"] and row["macs_g"]
    )
    assert len(points) == len(expected) == 8
    for (x, y), (macs, overall) in zip(sorted(points), expected, strict=True):
        assert x == macs and y == pytest.approx(overall, abs=0.06)  # printed with one decimal
    # Six accuracies of 12.5 and five error rates of 12.5.
    assert drawn_points(axes, "measured here") == {(450.0, round((6 * 12.5 + 5 * 87.5) / 11, 6))}
    assert levels(axes)["HuBERT Base, published"][0] == pytest.approx(80.8, abs=0.05)


@pytest.mark.parametrize("changes", [{"suite": "mini", "synthetic": True}, {"synthetic": True}])
def test_synthetic_speech_never_meets_published_models(
    tmp_path: Path, drawn: list[Figure], superb: Make, changes: dict[str, object]
) -> None:
    records = [
        *superb("student", 40.0, **changes, stderr=2.0),
        *superb("$t_e", 60.0, **changes, upstream_kind="teacher", parameters=3_000_000),
        *superb("fbank", 20.0, **changes, upstream_kind="fbank", parameters=0),
    ]
    assert size_figure(records, tmp_path / "size.png")
    suite = f"{changes.get('suite', 'superb')} (synthetic speech)"
    assert drawn[0].axes[0].get_title() == suite and drawn[0].axes[0].get_legend() is None
    for axes in drawn[0].axes:
        assert {text.get_text() for text in axes.texts if text.get_text()} == {"student", "$t_e", "fbank"}
        assert drawn_points(axes, "measured here") == {(1.24, 40.0)}
        assert drawn_points(axes, "teacher") == {(3.0, 60.0)}
        assert drawn_points(axes, "control") == {(0.0, 20.0)}
        assert levels(axes) == {"$t_e": (60.0, "--")}
        bars = [line.get_ydata().tolist() for line in axes.lines if line.get_linestyle() == "-"]
        assert bars == [[38.0, 42.0]]


def test_one_student_with_many_objectives_is_named_by_them(tmp_path: Path, drawn: list[Figure], superb: Make) -> None:
    objectives = ["avg-attn", "intra-layer", "last-attn", "layer-wise", "layer-wise+intra-layer+avg-attn"]
    mini = {"suite": "mini", "synthetic": True}
    records = [*superb("star", 27.0, **mini), *superb("teacher", 45.0, **mini, upstream_kind="teacher", parameters=3)]
    for score, name in zip((38.5, 35.0, 33.0, 35.1, 33.6), objectives, strict=True):
        records += superb(f"star [{name}]", score, **mini, stderr=4.0)
    assert size_figure(records, tmp_path / "size.png")
    for axes in drawn[0].axes:
        names = {text.get_text() for text in axes.texts if text.get_text()}
        assert names == {"star", "teacher", *(f"[{name}]" for name in objectives)}
        assert_names_cover_nothing(axes, 7)


def test_cells_without_a_value_are_left_out(tmp_path: Path, drawn: list[Figure], run: list[Record]) -> None:
    assert panel(run, "overall", "parameters").points[0].name == "starhubert"
    assert [point.name for point in panel(run, "overall", "macs").points] == ["starhubert", "mini_hubert"]
    assert not size_figure(run, tmp_path / "size.png")  # neither ASR nor SID nor IC
    assert not size_figure([], tmp_path / "size.png") and not macs_figure([], tmp_path / "macs.png")
    assert drawn == [] and list(tmp_path.iterdir()) == []


def test_sizes_far_apart_get_a_log_scale(tmp_path: Path, drawn: list[Figure], superb: Make) -> None:
    mini = {"suite": "mini", "synthetic": True}
    records = [*superb("a", 40.0, **mini, macs=10**9), *superb("b", 50.0, **mini, macs=10**10)]
    assert macs_figure(records, tmp_path / "macs.png")
    assert drawn[0].axes[0].get_xscale() == "log"
