"""The figure: what is drawn, and that its labels can be read."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from reports.figures import distillation_figure
from reports.published import published_rows


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: object, **options: object) -> None:
        figures.append(figure)
        save(figure, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", keep)
    yield figures


def test_crowded_labels_do_not_overlap(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [row for row in published_rows() if row.distil_data == "960h"]
    scores = [(f"${row.model}", int(1e6 * (row.params_m or 0)), row.overall) for row in rows]
    curve = [{"step": 1, "loss": 3.0, "valid_loss": 4.0}, {"step": 2, "loss": 2.0, "valid_loss": None}]
    distillation_figure(
        {"student": curve}, [*scores, ("no score", 1, None)], tmp_path / "new" / "figure.png", "mini (synthetic speech)"
    )
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    left, right = drawn[0].axes
    assert [line.get_xydata().tolist() for line in left.lines] == [[[1, 3], [2, 2]], [[1, 4]]]
    assert left.get_yscale() == "log"
    assert right.lines[0].get_xydata().tolist() == [[size / 1e6, score] for _, size, score in scores]
    assert right.get_title() == "Overall score, mini (synthetic speech)"
    labels = [text for text in right.texts if text.get_text()]
    assert {text.get_text() for text in labels} == {label for label, _, _ in scores}
    from matplotlib.text import Text

    boxes = [Text.get_window_extent(text) for text in labels]
    assert len(boxes) == 13
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_empty_panels_say_why(tmp_path: Path, drawn: list[Figure]) -> None:
    distillation_figure({}, [("a", 1, None)], tmp_path / "figure.png")
    assert [axes.texts[0].get_text() for axes in drawn[0].axes] == [
        "no distillation in this run",
        "no upstream has a score on every task",
    ]
