"""How the frames of an utterance relate, student against teacher: the two terms of the STaR loss (arXiv 2312.09040).

With X_l and Y_l the states l of student and teacher for one utterance (N x channels, valid frames only), the error of a
relation with gap g is

    || X_(l-g) X_l^T - Y_(m-g) Y_m^T ||_F^2 / N^2,

g = 0 for the layer-wise temporal Gram matrix (TGM), g = 1 for the intra-layer one. m is the teacher layer of student
layer l (students.layers). The intra-layer term takes that teacher layer's own input, state m - 1, which need not be the
teacher layer of l - 1. Errors are summed over layers and averaged over the batch.

Gradients are formed layer by layer together with the loss, and in either of two forms: "gram" from panels of the
N x N differences, "product" from width x width products (S = X^T X, C = X^T Y, T = Y^T Y), whose cost does not grow
with N^2. Nothing of N x N outlives its panel, nothing of a layer but its gradient outlives the next layer.
"""

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from students.layers import teacher_layer

Form = Literal["auto", "gram", "product"]
FORMS: tuple[Form, ...] = ("auto", "gram", "product")

PANEL = 128  # rows of an N x N difference that exist at a time
BLOCK = 96  # channels; a symmetric product is formed in blocks of so many rows, those over the diagonal only
DOUBT = (
    2e-7  # estimated error of a loss over the loss, past which it is not taken from products; see _Products.variance
)


@dataclass(frozen=True)
class Relations:
    """What is compared: weights of the two terms, the first layer of the layer-wise one, and the form of computation.

    first: 1, or 0 where the layer-wise term includes state 0. form: "auto" takes the cheaper one.
    """

    layer_wise: float
    intra_layer: float
    first: int = 1
    form: Form = "auto"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"unknown form {self.form!r}; expected one of {', '.join(FORMS)}")

    def loss(self, student: list[Tensor], teacher: list[Tensor], frames: Tensor) -> Tensor:
        """The loss of a batch, a scalar in fp32 or better whether or not autocast is on.

        student, teacher: layers + 1 states (batch, frames, width), of any two widths and any float type; frames
        (batch,), whole numbers. Padding, whatever it holds, changes neither the loss nor a gradient; the teacher gets
        no gradient, and the loss cannot be differentiated twice. Raises ValueError for states or frames that do not
        fit together, and for a student deeper than its teacher.
        """
        _check(student, teacher, frames)
        wanted = torch.is_grad_enabled() and any(state.requires_grad for state in student)
        ours = student if wanted else [state.detach() for state in student]
        return _Loss.apply(self, frames.tolist(), [state.detach() for state in teacher], *ours)


class _Loss(torch.autograd.Function):
    """The loss with its gradient, which is formed beside it."""

    @staticmethod
    def forward(ctx: Any, relations: Relations, frames: list[int], teacher: list[Tensor], *student: Tensor) -> Tensor:
        kind = torch.promote_types(student[0].dtype, torch.float32)
        used = [layer >= relations.first or relations.intra_layer > 0 for layer in range(len(student))]
        wanted = [needed and use for needed, use in zip(ctx.needs_input_grad[3:], used, strict=True)]
        gradients = [
            torch.zeros_like(state, dtype=kind) if want else None for state, want in zip(student, wanted, strict=True)
        ]
        with torch.autocast(student[0].device.type, enabled=False):
            losses = [
                _group_loss(relations, _Group(rows, frames, student, teacher, gradients))
                for rows in _together(len(frames), student[0].device)
            ]
        ctx.kinds = [state.dtype for state in student]
        ctx.save_for_backward(*gradients)
        return torch.cat(losses).mean().to(kind)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (
            None if gradient is None else (gradient * upstream).to(kind)
            for gradient, kind in zip(ctx.saved_tensors, ctx.kinds, strict=True)
        )
        return None, None, None, *scaled


def _together(batch: int, device: torch.device) -> list[slice]:
    """Utterances that are computed at once: one on a CPU, which then skips all padding, all where launches cost."""
    return [slice(i, i + 1) for i in range(batch)] if device.type == "cpu" else [slice(0, batch)]


class _Group:
    """Some utterances of a batch, without the frames that all of them lack and with zeros for other padding."""

    def __init__(
        self,
        rows: slice,
        frames: list[int],
        student: tuple[Tensor, ...],
        teacher: list[Tensor],
        gradients: list[Tensor | None],
    ) -> None:
        device = student[0].device
        self.rows, self.student, self.teacher, self.gradients = rows, student, teacher, gradients
        self.kind = torch.promote_types(student[0].dtype, torch.float32)
        self.longest = max(frames[rows])
        self.frames = torch.tensor(frames[rows], device=device, dtype=torch.float64)
        self.padding = None
        if min(frames[rows]) < self.longest:
            self.padding = (torch.arange(self.longest, device=device) >= self.frames[:, None])[..., None]

    def x(self, layer: int) -> Tensor:
        """The student's state (utterances, longest, width), in fp32 or better."""
        return self._valid(self.student[layer])

    def y(self, layer: int) -> Tensor:
        """The teacher's, in the student's type."""
        return self._valid(self.teacher[layer])

    def gradient(self, layer: int) -> Tensor | None:
        """Where the gradient of x(layer) adds up."""
        whole = self.gradients[layer]
        return None if whole is None else whole[self.rows, : self.longest]

    def _valid(self, state: Tensor) -> Tensor:
        part = state[self.rows, : self.longest].to(self.kind)
        return part if self.padding is None else part.masked_fill(self.padding, 0.0)


class _Step(NamedTuple):
    """One layer's relations: layers of student and teacher, weights of the two terms."""

    layer: int
    teacher_layer: int
    layer_wise: float
    intra_layer: float


def _group_loss(relations: Relations, group: _Group) -> Tensor:
    """The loss of each utterance, (utterances,) in fp64; its share of the batch's gradient is added up."""
    depth, teacher_depth = len(group.student) - 1, len(group.teacher) - 1
    steps = [
        _Step(
            layer,
            teacher_layer(layer, depth, teacher_depth),
            relations.layer_wise,
            relations.intra_layer if layer else 0.0,
        )
        for layer in range(relations.first, depth + 1)
    ]
    if (relations.form if relations.form != "auto" else _cheaper_form(group, relations)) == "gram":
        errors = _from_gram_matrices(group, steps)
    else:
        errors, doubt = _from_products(group, steps)
        if not bool((doubt <= DOUBT * errors).all()):
            errors = _exact_errors(group, steps, _cheaper_form(group, relations, exact=True))
    pairs = group.frames.square()
    for layer in range(depth + 1):
        gradient = group.gradient(layer)
        if gradient is not None:
            gradient.div_((pairs * len(group.student[0]))[:, None, None])
    return errors / pairs


def _exact_errors(group: _Group, steps: list[_Step], form: Form) -> Tensor:
    """The errors alone, in a way that does not lose them to rounding."""
    alone = copy(group)
    alone.gradients = [None] * len(group.gradients)
    if form == "gram":
        return _from_gram_matrices(alone, steps)
    alone.kind = torch.float64
    return _from_products(alone, steps)[0]


def _from_gram_matrices(group: _Group, steps: list[_Step]) -> Tensor:
    """Weighted squared errors (utterances,) from panels of the frames x frames differences."""
    errors = torch.zeros_like(group.frames)
    for layer, teacher, layer_wise, intra_layer in steps:
        x, y, gradient = group.x(layer), group.y(teacher), group.gradient(layer)
        below = (group.x(layer - 1), group.y(teacher - 1), group.gradient(layer - 1)) if intra_layer else None
        for start in range(0, group.longest, PANEL):
            rows = slice(start, start + PANEL)
            if layer_wise:  # symmetric: what lies left of the panel's own rows was seen in the panels above
                here = x[:, rows]
                gap = torch.baddbmm(y[:, rows] @ y[:, start:].mT, here, x[:, start:].mT, beta=-1)
                right = gap[..., PANEL:]
                errors += layer_wise * (_squares(gap) + _squares(right))
                if gradient is not None:
                    gradient[:, rows].baddbmm_(gap, x[:, start:], alpha=4 * layer_wise)
                    gradient[:, start + PANEL :].baddbmm_(right.mT, here, alpha=4 * layer_wise)
            if below:
                x_below, y_below, gradient_below = below
                gap = torch.baddbmm(y_below[:, rows] @ y.mT, x_below[:, rows], x.mT, beta=-1)
                errors += intra_layer * _squares(gap)
                if gradient is not None:
                    gradient.baddbmm_(gap.mT, x_below[:, rows], alpha=2 * intra_layer)
                if gradient_below is not None:
                    gradient_below[:, rows].baddbmm_(gap, x, alpha=2 * intra_layer)
    return errors


def _squares(gap: Tensor) -> Tensor:
    return gap.square().sum((1, 2)).double()


def _from_products(group: _Group, steps: list[_Step]) -> tuple[Tensor, Tensor]:
    """The same from width x width products, and the estimated standard error of that (utterances,).

    The error is that of rounded products, which shows as the student nears the teacher and their sum cancels.
    """
    errors, variance = torch.zeros_like(group.frames), torch.zeros_like(group.frames)
    held: dict[tuple[int, int], _Products] = {}
    for layer, teacher, layer_wise, intra_layer in steps:
        here, below = (layer, teacher), (layer - 1, teacher - 1)
        for key in (here, below) if intra_layer else (here,):
            if key not in held:
                held[key] = _Products(group, *key)
        this = held[here]
        if layer_wise:
            errors += layer_wise * this.inner(this)
            variance += (2 * layer_wise) ** 2 * this.variance
            this.attract(this, 4 * layer_wise)
        if intra_layer:
            errors += intra_layer * this.inner(held[below])
            variance += 2 * intra_layer**2 * (this.variance + held[below].variance)
            this.attract(held[below], 2 * intra_layer)
            held[below].attract(this, 2 * intra_layer)
        for key in [key for key in held if key != here]:
            held.pop(key).add_gradient()
    this.add_gradient()
    return errors, variance.sqrt()


class _Products:
    """S = X^T X, C = X^T Y and T = Y^T Y of one state of student and teacher."""

    def __init__(self, group: _Group, layer: int, teacher: int) -> None:
        self.x, self.y, self.gradient = group.x(layer), group.y(teacher), group.gradient(layer)
        self.s, self.c, self.t = _own_product(self.x), self.x.mT @ self.y, _own_product(self.y)
        self.exact = [part.double().flatten(1)[..., None] for part in (self.s, self.c, self.t)]
        self.drawn: tuple[Tensor, Tensor] | None = None

    def inner(self, other: "_Products") -> Tensor:
        """|| X X'^T - Y Y'^T ||^2 = <S, S'> - 2 <C, C'> + <T, T'>, (utterances,) in fp64."""
        s, c, t = (ours.mT @ theirs for ours, theirs in zip(self.exact, other.exact, strict=True))
        return (s - 2 * c + t)[:, 0, 0]

    @cached_property
    def variance(self) -> Tensor:
        """Variance (utterances,) of half the error of inner(self), if products are rounded independently.

        An entry's error is taken as eps times the norms of its two channels. On hidden states of speech (mini-hubert
        and its distilled student, 300 frames and more) the standard deviation that comes of it was 1.6e-7 of the loss
        at most, and errors of the loss up to three times as large.
        """
        x, y = (part.diagonal(dim1=1, dim2=2)[..., None] for part in (self.s, self.t))
        s, c, t = self.s.square(), self.c.square(), self.t.square()
        total = x.mT @ (s @ x) + 2 * (x.mT @ (c @ y)) + y.mT @ (t @ y)
        return total[:, 0, 0].double() * torch.finfo(s.dtype).eps ** 2

    def attract(self, other: "_Products", weight: float) -> None:
        """Note that the gradient here takes weight (X S' - Y C'^T)."""
        if self.gradient is None:
            return
        if self.drawn is None:
            self.drawn = weight * other.s, weight * other.c
        else:
            for total, part in zip(self.drawn, (other.s, other.c), strict=True):
                total.add_(part, alpha=weight)

    def add_gradient(self) -> None:
        """Add to the gradient what was noted."""
        if self.gradient is not None and self.drawn is not None:
            s, c = self.drawn
            self.gradient.baddbmm_(self.x, s).baddbmm_(self.y, c.mT, alpha=-1)


def _own_product(x: Tensor) -> Tensor:
    """x^T x (utterances, width, width), only the blocks over the diagonal multiplied."""
    width = x.shape[-1]
    product = x.new_empty(len(x), width, width)
    for start in range(0, width, BLOCK):
        block = x[..., start : start + BLOCK].mT @ x[..., start:]
        product[:, start : start + BLOCK, start:] = block
        product[:, start:, start : start + BLOCK] = block.mT
    return product


def _cheaper_form(group: _Group, relations: Relations, exact: bool = False) -> Form:
    """The form with the lower cost in multiply-adds of a large fp32 product, per frame and layer.

    exact: only errors are wanted, and products in fp64. The factors were fitted on a CPU at widths 432 and 768: the
    small products of panels take 1.25 times as long as large ones, fp64 1.8 times as long as fp32, and an entry of a
    width x width product as long as 250 multiply-adds besides. The STaR loss crosses at 470 frames.
    """
    width, teacher_width = group.student[0].shape[-1], group.teacher[0].shape[-1]
    both, outer, squares = width + teacher_width, width * teacher_width, width**2 + teacher_width**2
    layer_wise, intra_layer = 0.55 * both, both
    product = 0.55 * squares + outer + 250 * (squares + outer) / group.longest
    if exact:
        product *= 1.8
    else:
        layer_wise, intra_layer = layer_wise + width, intra_layer + 2 * width
        product += width**2 + outer
    panels = layer_wise * bool(relations.layer_wise) + intra_layer * bool(relations.intra_layer)
    return "gram" if 1.25 * group.longest * panels <= product else "product"


def _check(student: list[Tensor], teacher: list[Tensor], frames: Tensor) -> None:
    for name, states in (("student", student), ("teacher", teacher)):
        shapes = sorted({tuple(state.shape) for state in states})
        if len(states) < 2:
            raise ValueError(
                f"the {name} has {len(states)} states; expected the input of its first layer and one output per layer: "
                "pass every state that the encoder returns"
            )
        if len(shapes) > 1 or len(shapes[0]) != 3:
            raise ValueError(
                f"the {name}'s states have shapes {', '.join(map(str, shapes))}; expected one shape "
                "(batch, frames, width): pass the states of one encoder for one batch"
            )
    batch, longest, _ = student[0].shape
    if teacher[0].shape[:2] != (batch, longest):
        raise ValueError(
            f"(batch, frames) is {(batch, longest)} for the student and {tuple(teacher[0].shape[:2])} for the teacher; "
            "expected the same: give both the same padded waveforms, at the same stride"
        )
    teacher_layer(1, len(student) - 1, len(teacher) - 1)
    whole = frames.shape == (batch,) and not frames.is_floating_point()
    if not whole or not bool(((frames >= 1) & (frames <= longest)).all()):
        raise ValueError(
            f"frames are {frames.tolist()}; expected {batch} whole numbers from 1 to {longest}: "
            "pass the valid lengths in frames that the encoder returns"
        )
