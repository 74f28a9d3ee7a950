"""The figures of a run: scores for their cost, distillation curves, weights of the states, Gram matrices."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from reports.aggregate import SUPERB
from reports.drawing import (
    BLACK,
    BLUE,
    COLUMN,
    GREEN,
    GREY,
    ORANGE,
    PAGE,
    PURPLE,
    SKY,
    VERMILION,
    drawing,
    legend,
    short_names,
)
from reports.labels import settle
from reports.layout import plain
from reports.measured import cell, columns, suite_label
from reports.records import Record, column
from reports.render import Picture
from reports.tables import joins_published
from reports.tradeoffs import draw_panel, head_panel, macs_figure, name_panel, panel, size_figure

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Curve = Sequence[Mapping[str, Any]]
COLORS = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY)
CURVES = "Thin: training loss; with markers: validation loss."
APART = "Dashed: the teacher. Bars: ± of the table."
BESIDE = (
    "Filled: distilled on 960 h, hollow: on 100 h, as published; a line joins two points of one model. Bars: ± of what "
    "was measured here. A model of over 60 M parameters is a line; FBANK and random weights are left out."
)
LAYERS = "Share of each state in what a task's head sees. A dot: the one state that QbE chose on dev."
GRAMS = "Products of the states of every two frames of one utterance, on one colour scale."
ONE_STATE = ("QbE",)
MARKERS = "osD^v<>P"


def write_figures(
    folder: Path,
    records: Sequence[Record],
    curves: Mapping[str, Curve],
    grams: Mapping[str, tuple["np.ndarray", "np.ndarray"]],
) -> list[Picture]:
    """Draw every figure that there is something to draw for, as PNG and PDF, and return them with their captions.

    curves: of each student, see `distillation_figure`. grams: states of teacher and student by what they are, see
    `gram_figure`. Raises RecordError as `measured.grid` does.
    """
    points = BESIDE if joins_published(records) else APART
    offered: list[tuple[Callable[[Sequence[Record], Path], bool], str, str, str]] = [
        (partial(distillation_figure, curves), "distillation", "Distillation, and overall score against size", CURVES),
        (size_figure, "size", "WER, SID accuracy and IC accuracy against parameters", points),
        (macs_figure, "macs", "Overall score against MACs", points),
        (layers_figure, "layers", "Learned weights of the states", LAYERS),
    ]
    drawn = [
        Picture(title, path, caption)
        for draw, name, title, caption in offered
        if draw(records, path := folder / f"{name}.png")
    ]
    for number, (label, (teacher, student)) in enumerate(grams.items(), 1):
        path = folder / f"gram-{number}.png"
        gram_figure(teacher, student, path, label)
        drawn.append(Picture(f"Gram matrices: {label}", path, GRAMS))
    return drawn


def distillation_figure(curves: Mapping[str, Curve], records: Sequence[Record], path: Path) -> bool:
    """Loss against step, and overall score against parameters, a page wide, as PNG and PDF (see `drawing`).

    curves: of each student, rows with step, loss and valid_loss (None where validation was not run). The losses of
    several students are each divided by the student's first validation loss, since objectives have scales of their own.
    False, and no file, without curves. Raises RecordError as `measured.grid` does.
    """
    if not any(curves.values()):
        return False
    shown = panel(records, "overall", "parameters")
    with drawing(path, PAGE, 3.1) as figure:
        left, right = figure.subplots(1, 2)
        handles = draw_curves(left, curves)
        if len(curves) > 1:
            legend(figure, handles, loc="outside lower center", ncols=3)
        else:
            legend(left, handles)
        if shown.points:
            draw_panel(right, shown)
            head_panel(right, records)
            settle(figure)
            name_panel(right, shown)
        else:
            right.set_axis_off()
            text = "no upstream has a score on every task"
            right.text(0.5, 0.5, text, transform=right.transAxes, ha="center", va="center", color=GREY)
    return True


def draw_curves(axes: "Axes", curves: Mapping[str, Curve]) -> dict[str, "Artist"]:
    """Draw training losses as thin lines, validation losses with markers; gives the legend's lines by their names."""
    from matplotlib.ticker import LogLocator, NullFormatter

    several = len(curves) > 1
    axes.set(title="Distillation", xlabel="step", ylabel="loss / first validation loss" if several else "loss")
    handles: dict[str, Artist] = {}
    short = short_names(curves)
    for number, (name, curve) in enumerate(curves.items()):
        valid = _known(curve, "valid_loss")
        unit = valid[0][1] if several and valid else 1.0
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        dashes = ("-", "--", ":")[number // len(COLORS) % 3]
        for points, style in (
            (_known(curve, "loss"), {"linewidth": 0.4, "alpha": 0.25 if several else 0.6, "zorder": 1}),
            (valid, {"linestyle": dashes, "marker": marker, "markersize": 3}),
        ):
            steps, losses = [step for step, _ in points], [loss / unit for _, loss in points]
            line = axes.plot(steps, losses, color=color, **style)[0]
            what = "training" if points is not valid else "validation"
            if not several or points is valid:
                handles[short[name] if several else what] = line
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    return handles


def layer_weights(records: Sequence[Record]) -> dict[str, dict[str, list[float]]]:
    """The mean over folds and seeds of the weights of each upstream's states, by task in the papers' order.

    Upstreams of one state, which has no weight to learn, are left out, and so are cells that failed.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for upstream in dict.fromkeys(record.upstream for record in records):
        for key, sample in columns(records).items():
            folds = [fold for record in cell(records, upstream, key) for fold in record.config.get("folds", ())]
            weights = [fold["layer_weights"] for fold in folds if len(fold.get("layer_weights", ())) > 1]
            if weights:
                means = [fmean(shares) for shares in zip(*weights, strict=True)]
                found.setdefault(upstream, {})[_task(sample)] = means
    return found


def layers_figure(records: Sequence[Record], path: Path) -> bool:
    """The learned weight of each state of each upstream on each task, one heat map an upstream, as PNG and PDF.

    QbE, whose head takes one state chosen on dev, has a dot there and no colours; a task that failed has neither.
    False, and no file, where no upstream has more than one state.
    """
    found = layer_weights(records)
    if not found:
        return False
    tasks = list(dict.fromkeys(_task(sample) for sample in columns(records).values()))
    wide = 1 if len(found) <= 3 else 2
    high = -(-len(found) // wide)
    shares = [share for rows in found.values() for task, row in rows.items() if task not in ONE_STATE for share in row]
    with drawing(path, COLUMN if wide == 1 else PAGE, high * (0.45 + 0.13 * len(tasks)) + 0.7) as figure:
        maps = figure.subplots(high, wide, squeeze=False)
        for axes, (upstream, rows) in zip(maps.flat, found.items(), strict=False):
            image = _heat_map(axes, tasks, rows, max(shares, default=1))
            axes.set_title(plain(upstream), parse_math=False)
            names = _states(records, upstream)
            axes.set_xticks(range(len(names)), names)
        for axes in maps.flat[len(found) :]:
            axes.set_axis_off()
        figure.supxlabel("output of layer (in: input of the first)", fontsize=8)
        figure.colorbar(image, ax=maps, label="weight", location="top", shrink=0.8 / wide, aspect=30)
        figure.suptitle(suite_label(records))
    return True


def gram_figure(teacher: "np.ndarray", student: "np.ndarray", path: Path, label: str) -> None:
    """The temporal Gram matrices F F^T of one utterance, teacher and student side by side, as PNG and PDF.

    teacher, student: states of one layer (frames, dim) without padding, of any width but of equally many frames. label:
    what the figure shows, as its title. One colour scale serves both, as the objective compares the entries as they are
    (star-objective.md, "Notation"). Raises ValueError for other shapes or numbers that are not finite.
    """
    import numpy as np

    for states in (teacher, student):
        if states.ndim != 2 or len(states) != len(teacher) or not len(states) or not np.isfinite(states).all():
            raise ValueError(
                f"states of shape {teacher.shape} (teacher) and {student.shape} (student); expected finite numbers "
                "(frames, dim), as many frames of both: cut the padding off"
            )
    grams = [states.astype(np.float64) @ states.T.astype(np.float64) for states in (teacher, student)]
    bound = max(float(np.abs(gram).max()) for gram in grams)
    with drawing(path, COLUMN, 2.75) as figure:
        pair = figure.subplots(1, 2, sharey=True)
        for axes, gram, name in zip(pair, grams, ("teacher", "student"), strict=True):
            image = axes.imshow(gram, cmap="PuOr", vmin=-bound, vmax=bound)
            axes.grid(False)
            axes.set(title=name, xlabel="frame")
        pair[0].set_ylabel("frame")
        figure.colorbar(image, ax=pair, label="entry of the Gram matrix", location="bottom", shrink=0.7, aspect=30)
        figure.suptitle(plain(label), parse_math=False)


def _known(curve: Curve, key: str) -> list[tuple[int, float]]:
    """Steps and losses where the loss is a positive number, as a log scale needs."""
    return [(row["step"], row[key]) for row in curve if row.get(key)]


def _task(sample: Record) -> str:
    return SUPERB[column(sample)].task if column(sample) in SUPERB else sample.task.upper()


def _states(records: Sequence[Record], upstream: str) -> list[str]:
    """Short names of an upstream's states: the number of the layer that they are the output of."""
    config = next(r.config for r in records if r.upstream == upstream and r.config.get("states"))
    return ["in" if name.startswith("input") else name.rpartition(" ")[2] for name in config["states"]]


def _heat_map(axes: "Axes", tasks: Sequence[str], rows: Mapping[str, Sequence[float]], top: float) -> "AxesImage":
    """Draw weights from 0 to `top`, a task a row."""
    import numpy as np

    nothing = [math.nan] * len(next(iter(rows.values())))
    cells = np.array([nothing if task in ONE_STATE else rows.get(task, nothing) for task in tasks])
    chosen = [
        (state, tasks.index(task)) for task in ONE_STATE for state, share in enumerate(rows.get(task, ())) if share
    ]
    axes.plot([state for state, _ in chosen], [row for _, row in chosen], "o", color=BLACK)
    axes.grid(False)
    axes.set_yticks(range(len(tasks)), tasks, parse_math=False)
    return axes.imshow(cells, cmap="cividis", vmin=0, vmax=top, aspect="auto")
