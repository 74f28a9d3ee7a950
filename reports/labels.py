"""Names of points at places where they cover nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from reports.layout import plain

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Boxes are rows (left, bottom, right, top) in pixels; a point is 1/72 inch.
DISTANCES, ANGLES = (3.5, 6, 10, 15, 21, 28, 36, 46, 58), 20  # points and directions around a marker
NEAR = 6  # points up to which a name needs no line to its marker
PIECES = 9  # of the line from a marker to its name
MOST = 1200  # places that all names of a panel weigh
# What a place costs; a point away from the marker costs 1.
OUTSIDE, COVERS, MEETS, CROSSES, MISLEADS = 1e6, 1e5, 150, 30, 30
TRIES, MOVED, ROUNDS = 250, 4, 6


@dataclass(frozen=True)
class _Choices:
    """The places that one name may take: boxes (places, 4), lines to them (places, PIECES, 2), costs."""

    boxes: "np.ndarray"
    lines: "np.ndarray"
    costs: "np.ndarray"


def settle(figure: "Figure") -> None:
    """Fix the layout of the figure, which the places of names depend on."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def name_points(axes: "Axes", names: Sequence[tuple[str, float, float]]) -> None:
    """Write each name (text, x, y of its marker) at a near place free of markers, lines and other names.

    A name away from its marker gets a thin line to it. The layout must be settled.
    """
    import numpy as np

    if not names:
        return
    taken, unit = _taken(axes), _pixels(axes)
    points = axes.transData.transform([name[1:] for name in names])
    texts = [axes.annotate(plain(name), (x, y), (0, 0), textcoords="offset points", ha="center", va="center",
                           parse_math=False) for name, x, y in names]  # fmt: skip
    sizes = [text.get_window_extent().size + np.array([3, 1]) * unit for text in texts]
    choices = [_choices(axes, index, points, size, taken) for index, size in enumerate(sizes)]
    for text, point, options, index in zip(texts, points, choices, _settled(choices), strict=True):
        box, end = options.boxes[index], (options.lines[index, -1] - point) / unit
        text.set_position(tuple(((box[:2] + box[2:]) / 2 - point) / unit))
        if end.any():
            style = {"arrowstyle": "-", "color": "#8c8c8c", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2.5}
            axes.annotate("", text.xy, tuple(end), textcoords="offset points", arrowprops=style, zorder=1)


def _settled(choices: Sequence[_Choices]) -> list[int]:
    """Which place each name takes, at a low cost in all.

    Each name in turn moves to its best place until none would; then a few are moved at random and all settle again,
    which is kept where it costs less. The random numbers have a fixed seed.
    """
    import numpy as np

    own, pairs = np.stack([options.costs for options in choices]), _pairs(choices)
    names, draw = np.arange(len(own)), np.random.default_rng(0)
    best, lowest = own.argmin(1), np.inf
    for _ in range(TRIES):
        chosen = best.copy()
        if np.isfinite(lowest):
            moved = draw.choice(names, min(MOVED, len(names)), replace=False)
            chosen[moved] = draw.integers(own.shape[1], size=len(moved))
        for _ in range(ROUNDS):
            before = chosen.copy()
            for i in draw.permutation(names):
                chosen[i] = (own[i] + pairs[i, :, names, chosen].sum(0)).argmin()
            if (chosen == before).all():
                break
        cost = own[names, chosen].sum() + pairs[names, chosen][:, names, chosen].sum() / 2
        if cost < lowest:
            best, lowest = chosen, cost
    return [int(place) for place in best]


def _pairs(choices: Sequence[_Choices]) -> "np.ndarray":
    """What it costs that one name takes one place and another another: (names, places, names, places)."""
    import numpy as np

    boxes, lines = (np.concatenate([getattr(options, part) for options in choices]) for part in ("boxes", "lines"))
    cuts = _inside(lines, boxes)
    costs = COVERS * (_overlap(boxes, boxes) | cuts | cuts.T) + MEETS * _met(lines)
    places = len(boxes) // len(choices)
    costs = costs.reshape(2 * (len(choices), places))
    costs[range(len(choices)), :, range(len(choices))] = 0
    return costs


def _choices(axes: "Axes", index: int, points: "np.ndarray", size: "np.ndarray", taken: "np.ndarray") -> _Choices:
    """The cheapest places around one of the markers for a name of that size."""
    import numpy as np

    unit, point, places = _pixels(axes), points[index], max(12, MOST // len(points))
    angles = np.arange(ANGLES) * 2 * np.pi / ANGLES
    directions = np.stack([np.cos(angles), np.sin(angles)], 1)
    away = np.array(DISTANCES)[:, None, None] * unit * directions
    centers = (point + away + np.clip(2 * directions, -1, 1) * size / 2).reshape(-1, 2)
    boxes = np.concatenate([centers - size / 2, centers + size / 2], 1)
    ends = np.clip(point, boxes[:, :2], boxes[:, 2:])
    length = np.linalg.norm(ends - point, axis=1)
    ends[length < NEAR * unit] = point
    lines = point + np.linspace(0, 1, PIECES)[None, :, None] * (ends - point)[:, None]
    others = taken[(np.abs((taken[:, :2] + taken[:, 2:]) / 2 - point) >= 1).any(1)]
    left, bottom, right, top = axes.bbox.extents
    outside = (boxes[:, :2] < (left, bottom)).any(1) | (boxes[:, 2:] > (right, top)).any(1)
    costs = OUTSIDE * outside + COVERS * _overlap(boxes, taken).sum(1) + CROSSES * _inside(lines, others).sum(1)
    rivals = points[(points != point).any(1)]
    if len(rivals):
        apart = np.linalg.norm(np.clip(rivals, boxes[:, None, :2], boxes[:, None, 2:]) - rivals, axis=-1).min(1)
        costs += MISLEADS * (apart < length + 2 * unit)
    slant = 2 * (1 - directions[:, 0]) + np.abs(directions[:, 1])  # best to the right, where one reads on
    costs += (np.array(DISTANCES)[:, None] + slant).ravel()
    best = np.argsort(costs, kind="stable")[:places]
    return _Choices(boxes[best], lines[best], costs[best])


def _overlap(boxes: "np.ndarray", others: "np.ndarray") -> "np.ndarray":
    """Whether each box overlaps each of the others."""
    import numpy as np

    one, other = boxes[:, None], others[None]
    meeting = (one[..., :2] < other[..., 2:]) & (one[..., 2:] > other[..., :2])
    return np.logical_and(meeting[..., 0], meeting[..., 1])


def _inside(lines: "np.ndarray", boxes: "np.ndarray") -> "np.ndarray":
    """Whether each line runs through each box, by its pieces."""
    import numpy as np

    pieces, others = lines[:, None], boxes[None, :, None]
    inside = (pieces > others[..., :2]) & (pieces < others[..., 2:])
    return np.logical_or.reduce(inside[..., 0] & inside[..., 1], -1)


def _met(lines: "np.ndarray") -> "np.ndarray":
    """Whether each two lines cross."""
    a, b, c, d = lines[:, None, 0], lines[:, None, -1], lines[None, :, 0], lines[None, :, -1]

    def side(p: "np.ndarray", q: "np.ndarray", r: "np.ndarray") -> "np.ndarray":
        return (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) > (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])

    return (side(a, b, c) != side(a, b, d)) & (side(c, d, a) != side(c, d, b))


def _taken(axes: "Axes") -> "np.ndarray":
    """Boxes of the markers, of the lines (along an axis) and of the texts that are drawn already."""
    import numpy as np

    found = [text.get_window_extent().extents for text in axes.texts]
    for line in axes.lines:
        corners = line.get_transform().transform(line.get_xydata())
        if line.get_marker() != "None":
            found += [np.array([*corner, *corner]) + _pad(axes, 3) for corner in corners]
        if line.get_linestyle() != "None":
            edges = [(np.minimum(one, other), np.maximum(one, other)) for one, other in pairwise(corners)]
            found += [np.concatenate(edge) + _pad(axes, 0.7) for edge in edges]
    return np.array(found).reshape(-1, 4)


def _pad(axes: "Axes", points: float) -> "np.ndarray":
    import numpy as np

    return np.array([-1, -1, 1, 1]) * points * _pixels(axes)


def _pixels(axes: "Axes") -> float:
    """Pixels of one point."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return float(figure.dpi) / 72
