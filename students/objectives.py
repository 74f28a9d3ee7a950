"""The STaR objectives: a student learns how the frames of an utterance relate to each other (arXiv 2312.09040).

Both terms compare relation matrices of N x N frames. With X_l and Y_l the states l of student and teacher for one
utterance (N x channels, valid frames only), the error of a relation with gap g is

    || X_(l-g) X_l^T - Y_(m-g) Y_m^T ||_F^2 / N^2,

g = 0 for the layer-wise temporal Gram matrix (TGM), g = 1 for the intra-layer one. m is the teacher layer of student
layer l: l itself at equal depth, else round(l L_T / L_S), halves to even. The intra-layer term takes that teacher
layer's own input, state m - 1, which need not be the teacher layer of l - 1. Errors are summed over l = 1..L_S and
averaged over the batch. State 0 is the input of the first layer, so only the intra-layer term sees it.

There is nothing to train here. Teacher states get no gradient; frames past an utterance's length, whatever they hold,
change neither the value nor a gradient, and their own gradient is zero.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

Form = Literal["auto", "gram", "product"]
Objective = Callable[[list[Tensor], list[Tensor], Tensor], Tensor]
Relation = tuple[int, int, int, int]  # student states l - g and l, teacher states m - g and m


def layer_wise_tgm(student: list[Tensor], teacher: list[Tensor], lengths: Tensor, form: Form = "auto") -> Tensor:
    """Layer-wise TGM loss: frames of a layer's output against each other.

    student, teacher: L + 1 states (batch, frames, width), of any two widths and any float type; lengths (batch,) in
    frames, whole numbers. Returns a scalar, computed in fp32 or better whether or not autocast is on. The two forms
    are the same loss: "gram" subtracts frames x frames matrices, "product" needs only width x width ones (in fp64)
    and wins on long utterances, "auto" takes the cheaper. Raises ValueError for states or lengths that do not fit
    together, and for a student deeper than its teacher. Source: arXiv 2312.09040, layer-wise TGM.
    """
    return _relation_loss(student, teacher, lengths, form, gaps=(0,))


def intra_layer_tgm(student: list[Tensor], teacher: list[Tensor], lengths: Tensor, form: Form = "auto") -> Tensor:
    """Intra-layer TGM loss: frames of a layer's input against frames of its output.

    Arguments, result and errors as for `layer_wise_tgm`. Source: arXiv 2312.09040, intra-layer TGM.
    """
    return _relation_loss(student, teacher, lengths, form, gaps=(1,))


def star(student: list[Tensor], teacher: list[Tensor], lengths: Tensor, form: Form = "auto") -> Tensor:
    """STaR loss: layer-wise plus intra-layer TGM, equally weighted, sharing their products.

    Arguments, result and errors as for `layer_wise_tgm`. Source: arXiv 2312.09040, the paper's choice of loss.
    """
    return _relation_loss(student, teacher, lengths, form, gaps=(0, 1))


OBJECTIVES: dict[str, Objective] = {
    "layer-wise-tgm": layer_wise_tgm,
    "intra-layer-tgm": intra_layer_tgm,
    "star": star,
}


def _relation_loss(
    student: list[Tensor], teacher: list[Tensor], lengths: Tensor, form: Form, gaps: tuple[int, ...]
) -> Tensor:
    _check(student, teacher, lengths, form)
    device, frames, depth = student[0].device, int(lengths.max()), len(student) - 1
    layers = [(low, round(low * (len(teacher) - 1) / depth)) for low in range(1, depth + 1)]
    relations = [(low - gap, low, high - gap, high) for low, high in layers for gap in gaps]
    if form == "auto":
        form = _cheaper_form(frames, student[0].shape[-1], teacher[0].shape[-1], len(gaps))
    squared_errors = _from_gram_matrices if form == "gram" else _from_products
    lengths = lengths.to(device, torch.long)
    valid = (torch.arange(frames, device=device) < lengths[:, None])[..., None]

    def valid_frames(state: Tensor) -> Tensor:
        state = state[:, :frames].to(torch.promote_types(state.dtype, torch.float32))
        return torch.where(valid, state, 0.0)  # a product with zero would keep NaN

    with torch.autocast(device.type, enabled=False):
        x = [valid_frames(state) for state in student]
        y = [valid_frames(state.detach()) for state in teacher]
        errors = torch.stack(list(squared_errors(x, y, relations)))
        return (errors / lengths.square()).sum(0).mean().to(x[0].dtype)


def _from_gram_matrices(x: list[Tensor], y: list[Tensor], relations: list[Relation]) -> Iterator[Tensor]:
    """Squared error (batch,) of each relation from its frames x frames matrices."""
    for a, b, c, d in relations:
        yield torch.baddbmm(y[c] @ y[d].mT, x[a], x[b].mT, beta=-1).square().sum((1, 2))


def _from_products(x: list[Tensor], y: list[Tensor], relations: list[Relation]) -> Iterator[Tensor]:
    """The same from ||A B^T - C D^T||^2 = <A^T A, B^T B> - 2 <A^T C, B^T D> + <C^T C, D^T D>.

    In fp64, because the three terms cancel as the student nears the teacher.
    """
    states = [state.double() for state in (*x, *y)]

    @cache
    def product(first: int, second: int) -> Tensor:
        return states[first].mT @ states[second]

    def inner(a: int, b: int, c: int, d: int) -> Tensor:
        return (product(a, b) * product(c, d)).sum((1, 2))

    for a, b, c, d in relations:
        c, d = c + len(x), d + len(x)
        yield inner(a, a, b, b) - 2 * inner(a, c, b, d) + inner(c, c, d, d)


def _cheaper_form(frames: int, width: int, teacher_width: int, terms: int) -> Form:
    """The form with the smaller multiply-add count, forward and backward, per frame and layer.

    One in fp64 costs 2.5 in fp32, measured on a CPU. The STaR loss crosses at 275 frames for widths 108 and 192.
    """
    gram = terms * frames * (3 * width + teacher_width)
    product = 2.5 * (3 * width**2 + 2 * width * teacher_width + teacher_width**2)
    return "gram" if gram <= product else "product"


def _check(student: list[Tensor], teacher: list[Tensor], lengths: Tensor, form: Form) -> None:
    if form not in get_args(Form):
        raise ValueError(f"unknown form {form!r}; expected one of {', '.join(get_args(Form))}")
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
    batch, frames, _ = student[0].shape
    if teacher[0].shape[:2] != (batch, frames):
        raise ValueError(
            f"(batch, frames) is {(batch, frames)} for the student and {tuple(teacher[0].shape[:2])} for the teacher; "
            "expected the same: give both the same padded waveforms, at the same stride"
        )
    if len(student) > len(teacher):
        raise ValueError(
            f"the student has {len(student) - 1} layers and the teacher {len(teacher) - 1}; expected no more than the "
            "teacher's: choose a shallower student or a deeper teacher"
        )
    whole = lengths.shape == (batch,) and not lengths.is_floating_point()
    if not whole or not bool(((lengths >= 1) & (lengths <= frames)).all()):
        raise ValueError(
            f"lengths are {lengths.tolist()}; expected {batch} whole numbers from 1 to {frames}: "
            "pass the valid lengths in frames that the encoder returns"
        )
