"""The figures of a run: what is drawn, and the files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from reports.drawing import short_names
from reports.figures import distillation_figure, gram_figure, layer_weights, layers_figure, write_figures
from reports.records import Record

CURVE = [{"step": 1, "loss": 3.0, "valid_loss": 4.0}, {"step": 2, "loss": 2.0, "valid_loss": None}]
FASTER = [{"step": 1, "loss": 50.0, "valid_loss": None}, {"step": 2, "loss": 20.0, "valid_loss": 40.0}]
FASTER += [{"step": 3, "loss": 8.0, "valid_loss": 10.0}]


def test_one_student_has_its_losses(tmp_path: Path, drawn: list[Figure], run: list[Record]) -> None:
    assert distillation_figure({"star": CURVE}, run, tmp_path / "a.png")
    left, right = drawn[0].axes
    assert [line.get_xydata().tolist() for line in left.lines] == [[[1, 3], [2, 2]], [[1, 4]]]
    assert left.get_yscale() == "log" and left.get_ylabel() == "loss"
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["training", "validation"]
    assert right.get_title() == "mini (synthetic speech)" and right.get_ylabel() == "Overall (%) ↑"
    # KS 90 with PER 12.5, and KS 95 with PER 10; FBANK failed on KS.
    points = {tuple(line.get_xydata()[0]) for line in right.lines if line.get_marker() != "None"}
    assert points == {(1.24, 88.75), (1.24, 92.5)}


def test_several_students_start_at_one(tmp_path: Path, drawn: list[Figure], run: list[Record]) -> None:
    assert distillation_figure({"star": CURVE, "_$a$": FASTER}, run, tmp_path / "a.png")
    left = drawn[0].axes[0]
    assert [line.get_xydata().tolist() for line in left.lines] == [
        [[1, 0.75], [2, 0.5]],
        [[1, 1]],
        [[1, 1.25], [2, 0.5], [3, 0.2]],
        [[2, 1], [3, 0.25]],
    ]
    assert left.get_ylabel() == "loss / first validation loss"
    (shown,) = drawn[0].legends
    names = shown.get_texts()
    assert [text.get_text() for text in names] == ["star", "_$a$"]
    assert not any(text.get_parse_math() for text in names)
    assert len({line.get_color() for line in left.lines}) == 2


def test_names_lose_only_the_student_that_all_share() -> None:
    assert short_names(["s", "s [x]", "s [y [z]]", "t"]) == {"s": "s", "s [x]": "[x]", "s [y [z]]": "[y [z]]", "t": "t"}
    assert short_names(["s [x]", "t [x]"]) == {"s [x]": "s [x]", "t [x]": "t [x]"}


def test_a_run_without_overall_scores_says_so(tmp_path: Path, drawn: list[Figure], run: list[Record]) -> None:
    assert distillation_figure({"star": CURVE}, run[-2:], tmp_path / "a.png")
    assert [text.get_text() for text in drawn[0].axes[1].texts] == ["no upstream has a score on every task"]
    assert not distillation_figure({}, run, tmp_path / "a.png")


@pytest.fixture
def weighted(record: Callable[..., Record]) -> list[Record]:
    """Two folds of KS, one probe of QbE and a failed one of ER over three states; FBANK has one state."""
    states = ["input of layer 1", "output of layer 1", "output of layer 2"]

    def make(task: str, *folds: list[float], **changes: object) -> Record:
        config = {"states": states, "folds": [{"layer_weights": weights} for weights in folds]}
        return record(**{"task": task, "metric": "acc", "higher_is_better": True, "config": config} | changes)

    return [
        make("er", value=None, skipped=["no memory"]),
        make("qbe", [0.0, 1.0, 0.0], metric="mtwv"),
        make("ks", [0.2, 0.2, 0.6], [0.4, 0.4, 0.2]),
        make("ks", [1.0], upstream="fbank", upstream_kind="fbank"),
    ]


def test_weights_are_means_over_folds(weighted: list[Record]) -> None:
    found = layer_weights(weighted)
    assert list(found) == ["starhubert"] and list(found["starhubert"]) == ["KS", "QbE"]
    assert found["starhubert"]["KS"] == pytest.approx([0.3, 0.3, 0.4])


def test_weights_are_a_heat_map(tmp_path: Path, drawn: list[Figure], weighted: list[Record]) -> None:
    assert layers_figure(weighted, tmp_path / "a.png")
    axes = drawn[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["KS", "QbE", "ER"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["in", "1", "2"]
    (image,) = axes.images
    shown = np.ma.filled(np.ma.masked_invalid(image.get_array()), -1)
    assert shown == pytest.approx(np.array([[0.3, 0.3, 0.4], [-1, -1, -1], [-1, -1, -1]]))
    assert image.get_clim() == (0, pytest.approx(0.4))
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1, 1]]]  # QbE takes the second state
    assert not layers_figure(weighted[-1:], tmp_path / "b.png")


def test_gram_matrices_are_products_of_frames(tmp_path: Path, drawn: list[Figure]) -> None:
    draw = np.random.default_rng(3)
    teacher, student = draw.normal(size=(5, 4)).astype(np.float32), draw.normal(size=(5, 2)).astype(np.float32)
    gram_figure(teacher, student, tmp_path / "gram.png", "layer 2 of $x$")
    shown = [axes.images[0] for axes in drawn[0].axes[:2]]
    for states, image in zip((teacher, student), shown, strict=True):
        slow = [
            [sum(float(a) * float(b) for a, b in zip(one, other, strict=True)) for other in states] for one in states
        ]
        assert np.asarray(image.get_array()) == pytest.approx(np.array(slow))
    assert shown[0].get_clim() == shown[1].get_clim()
    assert [axes.get_title() for axes in drawn[0].axes[:2]] == ["teacher", "student"]
    for wrong in (student[:4], student[0], np.full((5, 2), np.nan), np.empty((0, 2))):
        with pytest.raises(ValueError, match="cut the padding off"):
            gram_figure(teacher, wrong, tmp_path / "gram.png", "")


def test_every_figure_is_written_as_png_and_pdf(tmp_path: Path, superb: Callable[..., list[Record]]) -> None:
    config = {"states": ["a 1", "a 2"], "folds": [{"layer_weights": [0.25, 0.75]}]}
    records = superb("student", 12.5, suite="mini", synthetic=True, config=config)
    grams = {"layer 1": (np.eye(3), np.ones((3, 1)))}
    pictures = write_figures(tmp_path / "run", records, {"star": CURVE}, grams)
    assert [picture.path.name for picture in pictures] == [
        "distillation.png", "size.png", "macs.png", "layers.png", "gram-1.png",
    ]  # fmt: skip
    files = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert len(files) == 10
    for name in files:
        content = (tmp_path / "run" / name).read_bytes()
        assert content.startswith(b"%PDF" if name.endswith(".pdf") else b"\x89PNG\r\n\x1a\n")
        assert b"Date" not in content and b"atplotlib" not in content
    write_figures(tmp_path / "again", [], {}, grams)
    for name in ("gram-1.png", "gram-1.pdf"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_nothing_to_draw_gives_no_figure(tmp_path: Path) -> None:
    assert write_figures(tmp_path, [], {}, {}) == [] and list(tmp_path.iterdir()) == []
