"""Relations of frames against a slow fp64 reference, one utterance, one layer and one matrix at a time."""

from itertools import product

import pytest
import torch
from torch import Tensor

from students import relations
from students.relations import Form, Relations

TERMS = {"layer-wise": (1.0, 0.0), "intra-layer": (0.0, 1.0), "both": (1.0, 1.0), "weighted": (0.5, 3.0)}
FORMS: tuple[Form, ...] = ("gram", "product")
every_term = pytest.mark.parametrize("term", TERMS)
every_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(params=["one by one", "together"])
def grouped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of going through a batch: a CPU's, and an accelerator's."""
    if request.param == "together":
        monkeypatch.setattr(relations, "_together", lambda batch, device: [slice(0, batch)])


def loss_of(
    term: str, form: Form, student: list[Tensor], teacher: list[Tensor], lengths: list[int], first: int = 1
) -> Tensor:
    return Relations(*TERMS[term], first, form).loss(student, teacher, torch.tensor(lengths))


def reference(
    term: str, student: list[Tensor], teacher: list[Tensor], lengths: list[int], layers: list[int], first: int = 1
) -> Tensor:
    """The definition; layers[l] is the teacher layer of student layer l."""
    own = []
    for utterance, n in enumerate(lengths):
        x = [state[utterance, :n].double() for state in student]
        y = [state[utterance, :n].double() for state in teacher]
        loss = torch.zeros((), dtype=torch.float64)
        for gap, weight in enumerate(TERMS[term]):
            for layer in range(max(first, gap), len(student)):
                ours = torch.einsum("ik,jk->ij", x[layer - gap], x[layer])
                theirs = torch.einsum("ik,jk->ij", y[layers[layer] - gap], y[layers[layer]])
                loss = loss + weight * ((ours - theirs) ** 2).mean()
        own.append(loss)
    return torch.stack(own).mean()


def random_states(layers: int, width: int, seed: int, batch: int = 3, frames: int = 14) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, frames, width, generator=generator, dtype=torch.float64) for _ in range(layers + 1)]


def leaves(states: list[Tensor]) -> list[Tensor]:
    return [state.detach().clone().requires_grad_() for state in states]


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
    # Layer-wise of the inputs: student [[1, 2], [2, 4]], teacher [[0, 0], [0, 1]]: (1 + 4 + 4 + 9) / 4 = 4.5.
    student = [torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[1.0], [-1.0]]])]
    teacher = [torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[2.0], [1.0]]])]
    assert loss_of("layer-wise", form, student, teacher, [2]).item() == pytest.approx(6.75)
    assert loss_of("intra-layer", form, student, teacher, [2]).item() == pytest.approx(2.75)
    assert loss_of("both", form, student, teacher, [2]).item() == pytest.approx(9.5)
    assert loss_of("both", form, student, teacher, [2], first=0).item() == pytest.approx(14)


@every_term
@every_form
@pytest.mark.usefixtures("grouped")
@pytest.mark.parametrize("panels", [3, 100])
@pytest.mark.parametrize(("widths", "first"), [((5, 8), 1), ((8, 5), 0), ((6, 6), 1)])
@pytest.mark.parametrize("lengths", [[7, 12, 1], [14, 14, 14]])
def test_value_and_gradient_equal_the_definition(
    term: str,
    form: Form,
    panels: int,
    widths: tuple[int, int],
    first: int,
    lengths: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relations, "PANEL", panels)
    monkeypatch.setattr(relations, "BLOCK", panels)
    student, teacher = random_states(3, widths[0], seed=1), random_states(3, widths[1], seed=2)
    ours, theirs = leaves(student), leaves(student)
    loss = loss_of(term, form, ours, teacher, lengths, first)
    expected = reference(term, theirs, teacher, lengths, [0, 1, 2, 3], first)
    (2 * loss).backward()
    (2 * expected).backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients(ours), gradients(theirs), rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        assert loss_of(term, form, ours, teacher, lengths, first).item() == loss.item()


@every_term
@every_form
@pytest.mark.usefixtures("grouped")
def test_padding_is_harmless_whatever_it_holds(term: str, form: Form) -> None:
    lengths = [7, 12, 1]
    padding = torch.arange(14) >= torch.tensor(lengths)[:, None]
    clean, teacher = random_states(2, 5, seed=1), random_states(2, 8, seed=2)
    kept = leaves(clean)
    expected = loss_of(term, form, kept, teacher, lengths)
    expected.backward()
    for junk in (float("nan"), float("inf"), 1e30):
        ours = leaves([state.masked_fill(padding[..., None], junk) for state in clean])
        theirs = [state.masked_fill(padding[..., None], junk) for state in teacher]
        loss = loss_of(term, form, ours, theirs, lengths)
        loss.backward()
        assert loss.item() == expected.item()
        assert torch.equal(gradients(ours), gradients(kept))
        assert not gradients(ours)[:, padding].any()


@every_term
@every_form
@pytest.mark.parametrize(
    ("depth", "teacher_depth", "layers"),
    [(4, 6, [0, 2, 3, 4, 6]), (2, 6, [0, 3, 6]), (1, 3, [0, 3]), (3, 4, [0, 1, 3, 4])],  # 4 of 6: 1.5, 3, 4.5, 6
)
def test_a_shallower_student_is_spread_over_the_teacher(
    term: str, form: Form, depth: int, teacher_depth: int, layers: list[int]
) -> None:
    student, teacher = random_states(depth, 5, seed=1), random_states(teacher_depth, 8, seed=2)
    ours, theirs = leaves(student), leaves(student)
    loss = loss_of(term, form, ours, teacher, [14, 9, 4])
    expected = reference(term, theirs, teacher, [14, 9, 4], layers)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(ours), gradients(theirs))


@every_form
def test_the_layer_wise_term_does_not_see_the_input_of_the_first_layer(form: Form) -> None:
    student, teacher = leaves(random_states(2, 5, seed=1)), random_states(2, 8, seed=2)
    loss = loss_of("layer-wise", form, student, teacher, [14, 9, 4])
    loss.backward()
    assert student[0].grad is None
    other = [random_states(0, 5, seed=3)[0], *student[1:]]
    assert torch.equal(loss_of("layer-wise", form, other, teacher, [14, 9, 4]), loss)


@every_form
def test_only_states_that_ask_for_a_gradient_get_one(form: Form) -> None:
    student, teacher = leaves(random_states(2, 5, seed=1)), leaves(random_states(2, 8, seed=2))
    loss_of("both", form, [student[0], student[1].detach(), student[2]], teacher, [14, 9, 4]).backward()
    whole = leaves(student)
    loss_of("both", form, whole, teacher, [14, 9, 4]).backward()
    assert all(state.grad is None for state in (*teacher, student[1]))
    for layer in (0, 2):
        torch.testing.assert_close(student[layer].grad, whole[layer].grad)


def test_the_loss_cannot_be_differentiated_twice() -> None:
    student, teacher = leaves(random_states(1, 5, seed=1)), random_states(1, 8, seed=2)
    loss = loss_of("both", "gram", student, teacher, [14, 9, 4])
    (slope,) = torch.autograd.grad(loss.square(), student[1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@every_term
@every_form
@pytest.mark.parametrize("frames", [60, 400])  # few and many for the loss in place of the products' own
def test_a_student_close_to_its_teacher_in_fp32(term: str, form: Form, frames: int) -> None:
    student, teacher = close_pair(frames, width=24, teacher_width=40)
    ours, exact = leaves(student), leaves([state.double() for state in student])
    loss = loss_of(term, form, ours, teacher, [frames, 45])
    expected = reference(term, exact, teacher, [frames, 45], [0, 1, 2, 3])
    loss.backward()
    expected.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert (gradients(ours) - gradients(exact)).norm() < 1e-3 * gradients(exact).norm()


@pytest.mark.parametrize("frames", [60, 600])
@every_form
def test_a_loss_in_fp32_is_right_to_a_millionth(form: Form, frames: int) -> None:
    for spread, offset in product((1.0, 20.0), (0.0, 3.0)):
        student = [spread * state.float() + offset for state in random_states(2, 36, 1, 1, frames)]
        teacher = [spread * state.float() + offset for state in random_states(2, 48, 2, 1, frames)]
        expected = reference("both", student, teacher, [frames], [0, 1, 2]).item()
        assert loss_of("both", form, student, teacher, [frames]).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("frames", "cheaper"), [(60, "gram"), (600, "product")])
def test_auto_takes_gram_matrices_for_few_frames_and_products_for_many(frames: int, cheaper: Form) -> None:
    student = [state.float() for state in random_states(1, 108, 1, 1, frames)]
    teacher = [state.float() for state in random_states(1, 192, 2, 1, frames)]
    slopes: dict[Form, Tensor] = {}
    for form in (*FORMS, "auto"):
        ours = leaves(student)
        loss_of("both", form, ours, teacher, [frames]).backward()
        slopes[form] = gradients(ours)
    assert not torch.equal(slopes["gram"], slopes["product"])  # the last digits tell them apart
    assert torch.equal(slopes["auto"], slopes[cheaper])


@every_term
@every_form
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_states_are_accumulated_in_fp32(term: str, form: Form, dtype: torch.dtype) -> None:
    # Gram entries reach 1e3 here and their squares 1e6, past fp16's 65504.
    student = [(15 * state).to(dtype) for state in random_states(2, 5, seed=1)]
    teacher = [(15 * state).to(dtype) for state in random_states(2, 8, seed=2)]
    ours, exact = leaves(student), leaves([state.double() for state in student])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(term, form, ours, teacher, [14, 9, 4])
    expected = reference(term, exact, teacher, [14, 9, 4], [0, 1, 2])
    scale = 1e-4  # keeps the gradients, which leave in the states' own type, inside fp16
    (scale * loss).backward()
    (scale * expected).backward()
    assert loss.dtype == torch.float32
    assert expected.item() > 65504
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    error = gradients(ours).double() - gradients(exact)
    assert error.norm() < 2 * torch.finfo(dtype).eps * gradients(exact).norm()


STUDENT, TEACHER, FRAMES = random_states(2, 5, seed=1), random_states(2, 8, seed=2), torch.tensor([14, 9, 4])


@pytest.mark.parametrize(
    ("student", "teacher", "frames", "message"),
    [
        (STUDENT[:1], TEACHER, FRAMES, "student has 1 states; expected the input"),
        (STUDENT, [], FRAMES, "teacher has 0 states; expected the input"),
        ([*STUDENT[:2], STUDENT[2][:, :13]], TEACHER, FRAMES, r"student's states have shapes \(3, 13, 5\), \(3, 14"),
        ([state[0] for state in STUDENT], TEACHER, FRAMES, r"student's states have shapes \(14, 5\); expected"),
        (STUDENT, [state[:, :13] for state in TEACHER], FRAMES, r"\(3, 14\) for the student and \(3, 13\)"),
        (STUDENT, [state[:2] for state in TEACHER], FRAMES, r"\(3, 14\) for the student and \(2, 14\)"),
        (STUDENT, TEACHER[:2], FRAMES, "student has 2 layers and the teacher 1"),
        (STUDENT, TEACHER, torch.tensor([15, 9, 4]), r"are \[15, 9, 4\]; expected 3 whole numbers from 1 to 14"),
        (STUDENT, TEACHER, torch.tensor([14, 0, 4]), r"frames are \[14, 0, 4\]"),
        (STUDENT, TEACHER, torch.tensor([14, 9]), r"frames are \[14, 9\]"),
        (STUDENT, TEACHER, torch.tensor([1.0, 1.0, 1.0]), r"frames are \[1.0, 1.0, 1.0\]"),
    ],
)
def test_input_that_does_not_fit_is_refused(
    student: list[Tensor], teacher: list[Tensor], frames: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Relations(1.0, 1.0).loss(student, teacher, frames)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown form 'fast'; expected one of auto, gram, product"):
        Relations(1.0, 1.0, form="fast")  # type: ignore[arg-type]
