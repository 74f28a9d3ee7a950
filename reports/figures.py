"""The figure of a run: how the student learned, and what it scores for its size."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

# Okabe-Ito palette: told apart by colour-blind readers; line style and marker tell the curves apart in grey print.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
PALETTE = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
CURVES: dict[str, dict[str, Any]] = {
    "loss": {"label": "training", "color": BLUE, "linewidth": 1.2},
    "valid_loss": {"label": "validation", "color": VERMILION, "linestyle": "--", "marker": "o", "markersize": 4},
}


def distillation_figure(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    scores: Sequence[tuple[str, int, float | None]],
    path: Path,
    suite: str = "",
) -> None:
    """Draw one PNG: loss against step on a log scale, and overall score against millions of parameters.

    curves: by student, rows with step, loss and valid_loss (None where validation was not run); of several students the
    validation loss over its first value, as their objectives may differ. scores: label, number of
    parameters, overall score in percent; upstreams without a score are left out. suite: named in the title, see
    `tables.suite_label`. An empty panel says why.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), dpi=200, layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    if len(curves) > 1:
        _draw_curves(left, curves)
    else:
        _draw_curve(left, next(iter(curves.values()), []))
    right.set_title(f"Overall score, {suite}" if suite else "Overall score")
    _draw_scores(right, [(label, size / 1e6, score) for label, size, score in scores if score is not None])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def _draw_curve(axes: "Axes", curve: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set(title="Distillation", xlabel="step", ylabel="loss")
    for key, style in CURVES.items():
        points = [(row["step"], row[key]) for row in curve if row.get(key)]
        if points:
            axes.plot(*zip(*points, strict=True), **style)
    if not axes.lines:
        return _say(axes, "no distillation in this run")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False)


def _draw_curves(axes: "Axes", curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    axes.set(title="Distillation", xlabel="step", ylabel="validation loss over its first value")
    for (name, curve), style in zip(curves.items(), product(("-", "--", ":"), PALETTE), strict=False):
        points = [(row["step"], row["valid_loss"]) for row in curve if row.get("valid_loss")]
        if points:
            steps, losses = zip(*points, strict=True)
            axes.plot(steps, [loss / losses[0] for loss in losses], style[0], color=style[1], label=name)
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=7)


def _draw_scores(axes: "Axes", points: list[tuple[str, float, float]]) -> None:
    axes.set(xlabel="parameters (M)", ylabel="overall score (%)")
    if not points:
        return _say(axes, "no upstream has a score on every task")
    axes.plot([size for _, size, _ in points], [score for _, _, score in points], "o", color=GREEN)
    axes.margins(0.15)
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # settles the layout, which the places of the labels depend on
    figure.set_layout_engine("none")
    taken = [_around(axes, (size, score)) for _, size, score in points]
    for label, size, score in sorted(points, key=lambda point: -point[2]):
        taken.append(_label(axes, label, (size, score), taken))


def _label(axes: "Axes", label: str, point: tuple[float, float], taken: list["Bbox"]) -> "Bbox":
    """Write the label at the nearest free place around its point; return that place."""
    text = axes.annotate(label, point, (0, 0), textcoords="offset points", fontsize=8, parse_math=False)
    for distance, angle in product((7, 15, 25, 36, 48), (0, 90, 270, 180, 45, 315, 135, 225)):
        right, up = distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle))
        text.set_position((right, up))
        text.set_horizontalalignment("center" if abs(right) < 1 else "left" if right > 0 else "right")
        text.set_verticalalignment("center" if abs(up) < 1 else "bottom" if up > 0 else "top")
        place = text.get_window_extent()
        inside = axes.bbox.contains(*place.min) and axes.bbox.contains(*place.max)
        if inside and not any(place.overlaps(other) for other in taken):
            break
    if distance > 7:
        line = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
        axes.annotate("", point, (right, up), textcoords="offset points", arrowprops=line)
    return place


def _around(axes: "Axes", point: tuple[float, float]) -> "Bbox":
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform(point)
    return Bbox([[x - 8, y - 8], [x + 8, y + 8]])  # pixels: a marker at 200 dots per inch


def _say(axes: "Axes", text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#555555")
