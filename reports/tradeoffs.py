"""Scores against parameters and MACs, as the papers draw them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reports.aggregate import SUPERB, overall
from reports.drawing import BLACK, BLUE, COLUMN, GREY, SKY, VERMILION, drawing, legend, short_names
from reports.labels import name_points, settle
from reports.layout import ARROWS, plain
from reports.measured import Score, columns, grid, overall_scores, size, suite_label
from reports.published import published_rows
from reports.records import Record
from reports.tables import joins_published

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cost = Literal["parameters", "macs"]
UNITS = {"parameters": ("parameters (M)", 1e6), "macs": ("MACs over 32 utterances (G)", 1e9)}
REFERENCE = "hubert_base"
LARGE = 60.0  # millions: what is no small model is a line across the panel, not a point
CONTROLS = ("random", "fbank")
PUBLISHED = {"960h": "published, 960 h", "100h": "published, 100 h"}
GROUPS: dict[str, dict[str, Any]] = {
    PUBLISHED["960h"]: {"marker": "o", "color": BLUE},
    PUBLISHED["100h"]: {"marker": "o", "color": BLUE, "markerfacecolor": "white"},
    "measured here": {"marker": "D", "color": VERMILION, "zorder": 3},
    "teacher": {"marker": "s", "color": BLACK},
    "control": {"marker": "^", "color": GREY, "markerfacecolor": "white"},
}
LEVEL_STYLES: tuple[dict[str, Any], ...] = (
    {"color": BLACK, "linestyle": "--"},
    {"color": VERMILION, "linestyle": "-."},
)


@dataclass(frozen=True)
class Point:
    """A network in a panel: what it costs (millions or giga), its score and spread in %, and a key of GROUPS."""

    name: str
    cost: float
    score: float
    group: str
    spread: float | None = None


@dataclass(frozen=True)
class Panel:
    """One score against one cost: points, and levels (label, score) that are drawn as lines, the first one dashed."""

    title: str
    cost: Cost
    points: tuple[Point, ...]
    levels: tuple[tuple[str, float], ...]


def panel(records: Sequence[Record], column: str, cost: Cost) -> Panel:
    """What stands in one panel: the measured records, and the published models where those may join them.

    column: a column of SUPERB, or "overall". Beside published models stand neither FBANK nor random weights, and
    HuBERT Base is the dashed level; else everything measured is a point, and its teacher's score a level.
    """
    if joins_published(records):
        return _published_panel(records, column, cost)
    values = _scores(records, column) if records else {}
    kinds = {record.upstream: record.upstream_kind for record in records}
    named = {"teacher": "teacher", "random": "control", "fbank": "control"}
    points, levels = [], []
    for upstream, score in values.items():
        place = size(records, upstream, cost, UNITS[cost][1])
        if score.value is None:
            continue
        if kinds[upstream] == "teacher":
            levels.append((upstream, score.value))
        if place is not None:
            group = named.get(kinds[upstream], "measured here")
            points.append(Point(upstream, place, score.value, group, score.spread))
    return Panel(_title(records, column), cost, tuple(points), tuple(levels))


def size_figure(records: Sequence[Record], path: Path) -> bool:
    """WER, SID accuracy and IC accuracy against parameters, one column wide, as PNG and PDF (see `drawing`).

    False, and no file, where there is no point to draw. Raises RecordError as `measured.grid` does.
    """
    return _figure(records, [panel(records, column, "parameters") for column in ("asr", "sid", "ic")], path, 2.0)


def macs_figure(records: Sequence[Record], path: Path) -> bool:
    """Overall against MACs, one column wide, as PNG and PDF (see `drawing`).

    False, and no file, where there is no point to draw. Raises RecordError as `measured.grid` does.
    """
    return _figure(records, [panel(records, "overall", "macs")], path, 2.2)


def draw_panel(axes: "Axes", shown: Panel) -> None:
    """Draw points and levels, without the names of points (see `name_panel`)."""
    axes.set(xlabel=UNITS[shown.cost][0], ylabel=shown.title)
    costs = [point.cost for point in shown.points]
    if min(costs) > 0 and max(costs) > 4 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    for one, other in _twins(shown.points):
        axes.plot([one.cost, other.cost], [one.score, other.score], color=SKY, linewidth=0.6, zorder=1)
    for point in shown.points:
        if point.spread:
            bar, color = (point.score - point.spread, point.score + point.spread), GROUPS[point.group]["color"]
            axes.plot([point.cost, point.cost], bar, color=color, linewidth=0.6)
    for group, style in GROUPS.items():
        members = [point for point in shown.points if point.group == group]
        if members:
            axes.plot([p.cost for p in members], [p.score for p in members], linestyle="none", label=group, **style)
    for number, (name, level) in enumerate(shown.levels):
        axes.axhline(level, zorder=1, label=name, **LEVEL_STYLES[number > 0])
    axes.margins(0.3, 0.14)  # room for names


def head_panel(axes: "Axes", records: Sequence[Record]) -> None:
    """Say above a panel what was measured; beside published models also what the markers and the lines mean."""
    if not joins_published(records):
        axes.set_title(suite_label(records))
        return
    handles, names = axes.get_legend_handles_labels()
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 2, "title": "SUPERB, official corpora"}
    legend(axes, dict(zip(names, handles, strict=True)), **place)


def name_panel(axes: "Axes", shown: Panel) -> None:
    """Write the names of the points once the layout of the figure is settled."""
    unnamed = [other for _, other in _twins(shown.points)]
    short = short_names(p.name for p in shown.points)
    name_points(axes, [(short[p.name], p.cost, p.score) for p in shown.points if p not in unnamed])


def _figure(records: Sequence[Record], panels: Sequence[Panel], path: Path, height: float) -> bool:
    shown = [one for one in panels if one.points]
    if not shown:
        return False
    with drawing(path, COLUMN, height * len(shown) + 0.9) as figure:
        stack = figure.subplots(len(shown), 1, squeeze=False, sharex=True)[:, 0]
        for axes, one in zip(stack, shown, strict=True):
            draw_panel(axes, one)
            axes.label_outer()
        head_panel(stack[0], records)
        settle(figure)
        for axes, one in zip(stack, shown, strict=True):
            name_panel(axes, one)
    return True


def _published_panel(records: Sequence[Record], column: str, cost: Cost) -> Panel:
    printed = {row.key: row for row in published_rows()}
    scores = {
        key: row.overall_recomputed if column == "overall" else row.scores[column] for key, row in printed.items()
    }
    points = []
    for key, row in printed.items():
        place, score = row.params_m if cost == "parameters" else row.macs_g, scores[key]
        if row.distil_data and place is not None and score is not None:
            points.append(Point(row.model, place, score, PUBLISHED[row.distil_data]))
    level = scores[REFERENCE]
    levels = [] if level is None else [(f"{printed[REFERENCE].model}, published", level)]
    kinds = {record.upstream: record.upstream_kind for record in records}
    for upstream, measured in _scores(records, column).items():
        place, parameters = (size(records, upstream, name, UNITS[name][1]) for name in (cost, "parameters"))
        if measured.value is None or kinds[upstream] in CONTROLS:
            continue
        if parameters is not None and parameters > LARGE:
            levels.append((f"{upstream}, here", measured.value))
        elif place is not None:
            points.append(Point(upstream, place, measured.value, "measured here", measured.spread))
    return Panel(_title(records, column), cost, tuple(points), tuple(levels))


def _scores(records: Sequence[Record], column: str) -> dict[str, Score]:
    """The score of each upstream in a column. Overall is over the tasks measured, beside published ones over all."""
    if column != "overall":
        return {upstream: row.get(column, Score(None)) for upstream, row in grid(records).items()}
    if joins_published(records):
        values = {upstream: {key: score.value for key, score in row.items()} for upstream, row in grid(records).items()}
        return {upstream: Score(overall(row)) for upstream, row in values.items()}
    return {upstream: Score(value) for upstream, value in overall_scores(records).items()}


def _twins(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """Points of one model at one cost, distilled on two sets: a line joins them, and the first bears the name."""
    found = []
    for index, point in enumerate(points):
        first = next(one for one in points if (one.name, one.cost) == (point.name, point.cost))
        if first is not points[index]:
            found.append((first, point))
    return found


def _title(records: Sequence[Record], column: str) -> str:
    if column == "overall":
        return "Overall (%) ↑"
    sample = columns(records).get(column) if records else None
    known = SUPERB[column]
    name, higher = (sample.metric, sample.higher_is_better) if sample else (known.name, known.higher_is_better)
    return f"{known.task} {known.name if name.lower() == known.name.lower() else plain(name)} (%) {ARROWS[higher]}"
