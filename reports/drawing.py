"""What the figures share: the style of print, and both file formats."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.layout import plain

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.3, 7.0  # inches: one column of a two-column paper, and both
# Okabe-Ito palette: told apart by colour-blind readers; markers and line styles tell all apart in grey print.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#767676"
STYLE: dict[str, Any] = {
    "figure.dpi": 300,
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.titlesize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e2e2e2",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "ytick.minor.width": 0.4,
    "legend.frameon": False,
    "legend.handletextpad": 0.6,
    "legend.columnspacing": 1.2,
    "legend.title_fontsize": 8,
    "lines.markersize": 4,
    "lines.linewidth": 1.0,
    "pdf.fonttype": 42,  # TrueType: journals refuse matplotlib's default, Type 3
}
# Without dates and versions: the same data give the same bytes.
METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".pdf": dict.fromkeys(("Creator", "Producer", "CreationDate")),
}


@contextmanager
def drawing(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """An empty figure in the style of print; on leaving it is written to `path`, a PNG, and as PDF beside it.

    width, height: inches. The folder is made. What raises inside leaves no file.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix, metadata in METADATA.items():
            figure.savefig(path.with_suffix(suffix), metadata=metadata)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Names as figures show them: where one student differs by its objective alone, "[avg-attn]" stands for it."""
    objectives = {name: name.partition(" [") for name in names}
    bare = len({student for student, bracket, _ in objectives.values() if bracket}) == 1
    return {name: f"[{rest}" if bare and bracket else name for name, (_, bracket, rest) in objectives.items()}


def legend(parent: "Figure | Axes", handles: Mapping[str, "Artist"], **options: Any) -> None:
    """A legend whose names are shown as they are, dollar signs and underscores too."""
    shown = parent.legend(list(handles.values()), list(map(plain, handles)), **options)
    for text in shown.get_texts():
        text.set_parse_math(False)
