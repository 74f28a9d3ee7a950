"""The STaR objectives against a slow fp64 reference, one utterance, one layer and one matrix at a time."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from students.objectives import OBJECTIVES, Form, intra_layer_tgm, layer_wise_tgm, star

GAPS = {layer_wise_tgm: (0,), intra_layer_tgm: (1,), star: (0, 1)}
FORMS: tuple[Form, ...] = ("gram", "product", "auto")
every_objective = pytest.mark.parametrize("objective", GAPS, ids=lambda objective: objective.__name__)
every_form = pytest.mark.parametrize("form", FORMS)


def reference(
    student: list[Tensor], teacher: list[Tensor], lengths: list[int], gaps: tuple[int, ...], layers: list[int]
) -> Tensor:
    """The definition; layers[l - 1] is the teacher layer of student layer l."""
    own = []
    for utterance, n in enumerate(lengths):
        x = [state[utterance, :n].double() for state in student]
        y = [state[utterance, :n].double() for state in teacher]
        loss = torch.zeros((), dtype=torch.float64)
        for layer, teacher_layer in enumerate(layers, start=1):
            for gap in gaps:
                ours = torch.einsum("ik,jk->ij", x[layer - gap], x[layer])
                theirs = torch.einsum("ik,jk->ij", y[teacher_layer - gap], y[teacher_layer])
                loss = loss + ((ours - theirs) ** 2).mean()
        own.append(loss)
    return torch.stack(own).mean()


def random_states(layers: int, width: int, seed: int, batch: int = 3, frames: int = 14) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, frames, width, generator=generator, dtype=torch.float64) for _ in range(layers + 1)]


def leaves(states: list[Tensor]) -> list[Tensor]:
    return [state.clone().requires_grad_() for state in states]


def gradients(states: list[Tensor]) -> Tensor:
    return torch.stack([torch.zeros_like(state) if state.grad is None else state.grad for state in states])


def close_pair(frames: int, width: int, teacher_width: int, layers: int = 3) -> tuple[list[Tensor], list[Tensor]]:
    """fp32 states whose relations differ by about a thousandth: the teacher is the student rotated, plus noise."""
    student = [3 * state for state in random_states(layers, width, seed=1, batch=2, frames=frames)]
    noise = random_states(layers, teacher_width, seed=2, batch=2, frames=frames)
    rotation = torch.linalg.qr(random_states(0, width, seed=3, batch=1, frames=teacher_width)[0][0]).Q.T
    teacher = [state @ rotation + 3e-3 * disturbance for state, disturbance in zip(student, noise, strict=True)]
    return [state.float() for state in student], [state.float() for state in teacher]


@every_form
def test_case_worked_by_hand(form: Form) -> None:
    # Two frames, one channel, one layer. Student: input (1, 2), output (1, -1). Teacher: input (0, 1), output (2, 1).
    # Layer-wise: student [[1, -1], [-1, 1]], teacher [[4, 2], [2, 1]]; differences -3, -3, -3, 0: 27 / 4 = 6.75.
    # Intra-layer: student [[1, -1], [2, -2]], teacher [[0, 0], [2, 1]]; differences 1, -1, 0, -3: 11 / 4 = 2.75.
    student = [torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[1.0], [-1.0]]])]
    teacher = [torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[2.0], [1.0]]])]
    lengths = torch.tensor([2])
    assert layer_wise_tgm(student, teacher, lengths, form).item() == pytest.approx(6.75)
    assert intra_layer_tgm(student, teacher, lengths, form).item() == pytest.approx(2.75)
    assert star(student, teacher, lengths, form).item() == pytest.approx(9.5)


@every_objective
@every_form
@pytest.mark.parametrize("widths", [(5, 8), (8, 5), (6, 6)])
@pytest.mark.parametrize("lengths", [[7, 12, 1], [14, 14, 14]])
def test_value_and_gradient_equal_the_definition(
    objective: Callable[..., Tensor], form: Form, widths: tuple[int, int], lengths: list[int]
) -> None:
    student, teacher = random_states(3, widths[0], seed=1), random_states(3, widths[1], seed=2)
    ours, theirs = leaves(student), leaves(student)
    loss = objective(ours, teacher, torch.tensor(lengths), form)
    expected = reference(theirs, teacher, lengths, GAPS[objective], layers=[1, 2, 3])
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients(ours), gradients(theirs), rtol=1e-10, atol=1e-12)


@every_objective
@every_form
def test_padding_is_harmless_whatever_it_holds(objective: Callable[..., Tensor], form: Form) -> None:
    lengths = torch.tensor([7, 12, 1])
    padding = torch.arange(14) >= lengths[:, None]
    clean, teacher = random_states(2, 5, seed=1), random_states(2, 8, seed=2)
    kept = leaves(clean)
    expected = objective(kept, teacher, lengths, form)
    expected.backward()
    for junk in (float("nan"), float("inf"), 1e30):
        ours = leaves([state.masked_fill(padding[..., None], junk) for state in clean])
        loss = objective(ours, [state.masked_fill(padding[..., None], junk) for state in teacher], lengths, form)
        loss.backward()
        assert loss.item() == expected.item()
        assert torch.equal(gradients(ours), gradients(kept))
        assert not gradients(ours)[:, padding].any()


@every_objective
@every_form
@pytest.mark.parametrize(
    ("depth", "teacher_depth", "layers"),
    [(4, 6, [2, 3, 4, 6]), (2, 6, [3, 6]), (1, 3, [3]), (3, 4, [1, 3, 4])],  # 4 of 6: 1.5, 3, 4.5, 6, halves to even
)
def test_a_shallower_student_is_spread_over_the_teacher(
    objective: Callable[..., Tensor], form: Form, depth: int, teacher_depth: int, layers: list[int]
) -> None:
    student, teacher = random_states(depth, 5, seed=1), random_states(teacher_depth, 8, seed=2)
    expected = reference(student, teacher, [14, 9, 4], GAPS[objective], layers)
    torch.testing.assert_close(objective(student, teacher, torch.tensor([14, 9, 4]), form), expected)


@every_form
def test_the_layer_wise_term_does_not_see_the_input_of_the_first_layer(form: Form) -> None:
    student, teacher = random_states(2, 5, seed=1), random_states(2, 8, seed=2)
    lengths = torch.tensor([14, 9, 4])
    other = [random_states(0, 5, seed=3)[0], *student[1:]]
    assert torch.equal(layer_wise_tgm(other, teacher, lengths, form), layer_wise_tgm(student, teacher, lengths, form))


@every_form
def test_the_teacher_gets_no_gradient(form: Form) -> None:
    student, teacher = leaves(random_states(2, 5, seed=1)), leaves(random_states(2, 8, seed=2))
    star(student, teacher, torch.tensor([14, 9, 4]), form).backward()
    assert all(state.grad is None for state in teacher)
    assert all(state.grad is not None for state in student)


@every_objective
@pytest.mark.parametrize(("form", "value_error", "gradient_error"), [("gram", 1e-5, 1e-3), ("product", 1e-6, 1e-6)])
def test_a_student_close_to_its_teacher_in_fp32(
    objective: Callable[..., Tensor], form: Form, value_error: float, gradient_error: float
) -> None:
    student, teacher = close_pair(frames=60, width=24, teacher_width=40)
    ours, exact = leaves(student), leaves([state.double() for state in student])
    loss = objective(ours, teacher, torch.tensor([60, 45]), form)
    expected = reference(exact, teacher, [60, 45], GAPS[objective], layers=[1, 2, 3])
    loss.backward()
    expected.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=value_error)
    assert (gradients(ours) - gradients(exact)).norm() < gradient_error * gradients(exact).norm()


@pytest.mark.parametrize(("frames", "cheaper"), [(60, "gram"), (600, "product")])
def test_auto_takes_gram_matrices_for_few_frames_and_products_for_many(frames: int, cheaper: Form) -> None:
    student, teacher = close_pair(frames, width=108, teacher_width=192, layers=1)
    lengths = torch.tensor([frames, frames // 2])
    losses = {form: star(student, teacher, lengths, form).item() for form in FORMS}
    assert losses["gram"] != losses["product"]  # the close pair tells them apart in the last digits
    assert losses["auto"] == losses[cheaper]


@every_objective
@every_form
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_states_are_accumulated_in_fp32(
    objective: Callable[..., Tensor], form: Form, dtype: torch.dtype
) -> None:
    # Gram entries reach 1e3 here and their squares 1e6, past fp16's 65504.
    student = [(15 * state).to(dtype) for state in random_states(2, 5, seed=1)]
    teacher = [(15 * state).to(dtype) for state in random_states(2, 8, seed=2)]
    ours, exact = leaves(student), leaves([state.double() for state in student])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(ours, teacher, torch.tensor([14, 9, 4]), form)
    expected = reference(exact, teacher, [14, 9, 4], GAPS[objective], layers=[1, 2])
    scale = 1e-3  # keeps the gradients, which leave in the states' own type, inside fp16
    (scale * loss).backward()
    (scale * expected).backward()
    assert loss.dtype == torch.float32
    assert expected.item() > 65504
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    error = gradients(ours).double() - gradients(exact)
    assert error.norm() < 2 * torch.finfo(dtype).eps * gradients(exact).norm()


def test_the_registry_holds_the_three_objectives() -> None:
    assert set(OBJECTIVES) == {"layer-wise-tgm", "intra-layer-tgm", "star"}
    assert list(OBJECTIVES.values()) == [layer_wise_tgm, intra_layer_tgm, star]


STUDENT, TEACHER, LENGTHS = random_states(2, 5, seed=1), random_states(2, 8, seed=2), torch.tensor([14, 9, 4])


@pytest.mark.parametrize(
    ("student", "teacher", "lengths", "message"),
    [
        (STUDENT[:1], TEACHER, LENGTHS, "student has 1 states; expected the input"),
        (STUDENT, [], LENGTHS, "teacher has 0 states; expected the input"),
        ([*STUDENT[:2], STUDENT[2][:, :13]], TEACHER, LENGTHS, r"student's states have shapes \(3, 13, 5\), \(3, 14"),
        ([state[0] for state in STUDENT], TEACHER, LENGTHS, r"student's states have shapes \(14, 5\); expected"),
        (STUDENT, [state[:, :13] for state in TEACHER], LENGTHS, r"\(3, 14\) for the student and \(3, 13\)"),
        (STUDENT, [state[:2] for state in TEACHER], LENGTHS, r"\(3, 14\) for the student and \(2, 14\)"),
        (STUDENT, TEACHER[:2], LENGTHS, "student has 2 layers and the teacher 1"),
        (STUDENT, TEACHER, torch.tensor([15, 9, 4]), r"are \[15, 9, 4\]; expected 3 whole numbers from 1 to 14"),
        (STUDENT, TEACHER, torch.tensor([14, 0, 4]), r"lengths are \[14, 0, 4\]"),
        (STUDENT, TEACHER, torch.tensor([14, 9]), r"lengths are \[14, 9\]"),
        (STUDENT, TEACHER, torch.tensor([1.0, 1.0, 1.0]), r"lengths are \[1.0, 1.0, 1.0\]"),
    ],
)
def test_input_that_does_not_fit_is_refused(
    student: list[Tensor], teacher: list[Tensor], lengths: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        star(student, teacher, lengths)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown form 'fast'; expected one of auto, gram, product"):
        star(STUDENT, TEACHER, LENGTHS, "fast")
