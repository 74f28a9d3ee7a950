"""Attention objectives against a slow fp64 reference, row by row, and how terms combine."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from students import relations
from students.encoded import Encoded
from students.objective_names import HEADED, OBJECTIVE_NAMES, parse

LENGTHS = [7, 12, 1]
SIZE = 14
every_objective = pytest.mark.parametrize("name", [name for name in OBJECTIVE_NAMES if name not in HEADED])


def encoded(layers: int, width: int, heads: int, seed: int) -> Encoded:
    """Random states, and maps with rows that sum to one over the valid frames."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(len(LENGTHS), *shape, generator=generator, dtype=torch.float64)

    frames = torch.tensor(LENGTHS)
    hidden = torch.arange(SIZE) >= frames[:, None, None, None]
    maps = [(2 * normal(heads, SIZE, SIZE)).masked_fill(hidden, -torch.inf).softmax(-1) for _ in range(layers)]
    return Encoded(normal(SIZE, width), [normal(SIZE, width) for _ in range(layers + 1)], frames, maps)


def tensors(given: Encoded) -> list[Tensor]:
    return [given.projected, *given.states, *given.maps]


def rebuilt(given: Encoded, parts: list[Tensor]) -> Encoded:
    """An encoding with other tensors, in the order of `tensors`."""
    states = len(given.states) + 1
    return replace(given, projected=parts[0], states=parts[1:states], maps=parts[states:])


def leaves(given: Encoded) -> Encoded:
    return rebuilt(given, [part.detach().clone().requires_grad_() for part in tensors(given)])


def gradients(given: Encoded) -> list[Tensor]:
    return [torch.zeros_like(part) if part.grad is None else part.grad for part in tensors(given)]


def attention_reference(student: Encoded, teacher: Encoded, pairs: list[tuple[int, int]]) -> Tensor:
    """The definition, one entry of a map at a time; pairs: layers of student and teacher."""
    total = torch.zeros((), dtype=torch.float64)
    for utterance, n in enumerate(LENGTHS):
        for layer, teacher_layer in pairs:
            for row in range(n):
                for column in range(n):
                    p = sum(head[row, column] for head in teacher.maps[teacher_layer - 1][utterance])
                    q = sum(head[row, column] for head in student.maps[layer - 1][utterance])
                    p, q = p / teacher.maps[0].shape[1], q / student.maps[0].shape[1]
                    total = total + p.item() * (math.log(p) - torch.log(q))
    return total / len(LENGTHS)


@pytest.mark.parametrize(
    ("name", "depth", "teacher_depth", "pairs"),
    [
        ("avg-attn", 2, 2, [(1, 1), (2, 2)]),
        ("avg-attn", 2, 3, [(1, 2), (2, 3)]),  # round(1.5) = 2
        ("last-attn", 2, 2, [(2, 2)]),
        ("last-attn", 2, 3, [(2, 3)]),
    ],
)
def test_attention_terms_equal_the_definition(
    name: str, depth: int, teacher_depth: int, pairs: list[tuple[int, int]]
) -> None:
    student, teacher = encoded(depth, 5, heads=2, seed=1), encoded(teacher_depth, 8, heads=3, seed=2)
    ours, theirs = leaves(student), leaves(student)
    loss, expected = parse(name)(ours, teacher), attention_reference(theirs, teacher, pairs)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(ours), gradients(theirs))


def test_attention_worked_by_hand() -> None:
    # One head, two frames; teacher rows (1, 0), (1/2, 1/2), student rows (1/2, 1/2), (1/4, 3/4).
    # ln 2 + 1/2 ln 2 + 1/2 ln(2/3) = ln 2 + 1/2 ln(4/3).
    def one(rows: list[list[float]]) -> Encoded:
        return Encoded(torch.ones(1, 2, 1), [torch.ones(1, 2, 1)] * 2, torch.tensor([2]), [torch.tensor([[rows]])])

    loss = parse("avg-attn")(one([[0.5, 0.5], [0.25, 0.75]]), one([[1.0, 0.0], [0.5, 0.5]]))
    assert loss.item() == pytest.approx(math.log(2) + math.log(4 / 3) / 2, rel=1e-6)


def test_a_row_of_the_student_that_underflows_keeps_loss_and_gradient_finite() -> None:
    student, teacher = encoded(1, 5, heads=1, seed=1), encoded(1, 8, heads=1, seed=2)
    student.maps[0][0, :, 0] = torch.eye(SIZE)[0]
    ours = leaves(student)
    loss = parse("avg-attn")(ours, teacher)
    loss.backward()
    assert loss.isfinite()
    assert ours.maps[0].grad is not None
    assert ours.maps[0].grad.isfinite().all()


@every_objective
def test_padding_changes_no_loss_and_no_gradient(name: str) -> None:
    student, teacher = encoded(2, 5, heads=2, seed=1), encoded(2, 8, heads=3, seed=2)
    kept = leaves(student)
    expected = parse(name)(kept, teacher)
    expected.backward()

    def spoilt(part: Tensor, junk: float) -> Tensor:
        padding = torch.arange(SIZE) >= torch.tensor(LENGTHS)[:, None]
        if part.ndim == 3:
            return part.masked_fill(padding[..., None], junk)
        return part.masked_fill((padding[:, None, :, None] | padding[:, None, None, :]), junk)

    for junk in (float("nan"), float("inf"), 1e30):
        ours = leaves(rebuilt(student, [spoilt(part, junk) for part in tensors(student)]))
        loss = parse(name)(ours, rebuilt(teacher, [spoilt(part, junk) for part in tensors(teacher)]))
        loss.backward()
        assert loss.item() == expected.item()
        for slope, same in zip(gradients(ours), gradients(kept), strict=True):
            assert torch.equal(slope, same)
            assert not spoilt(torch.zeros_like(slope), 1.0).mul(slope).any()


@every_objective
def test_a_padded_batch_is_the_mean_of_its_utterances(name: str) -> None:
    student, teacher = encoded(2, 5, heads=2, seed=1), encoded(2, 8, heads=3, seed=2)

    def alone(given: Encoded, row: int) -> Encoded:
        n = LENGTHS[row]
        parts = [
            part[row : row + 1, ..., :n, :n] if part.ndim == 4 else part[row : row + 1, :n] for part in tensors(given)
        ]
        return replace(rebuilt(given, parts), frames=given.frames[row : row + 1])

    own = [parse(name)(alone(student, row), alone(teacher, row)).item() for row in range(len(LENGTHS))]
    assert parse(name)(student, teacher).item() == pytest.approx(sum(own) / len(own), rel=1e-12)


@every_objective
def test_the_teacher_gets_no_gradient(name: str) -> None:
    student, teacher = leaves(encoded(2, 5, heads=2, seed=1)), leaves(encoded(2, 8, heads=3, seed=2))
    parse(name)(student, teacher).backward()
    assert all(part.grad is None for part in tensors(teacher))
    assert any(part.grad is not None for part in tensors(student))


@every_objective
def test_autocast_changes_nothing(name: str) -> None:
    student, teacher = (
        rebuilt(given, [part.float() for part in tensors(given)])
        for given in (encoded(2, 5, 2, 1), encoded(2, 8, 3, 2))
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = parse(name)(student, teacher)
    assert loss.dtype == torch.float32
    assert loss.item() == parse(name)(student, teacher).item()


@pytest.mark.parametrize(
    "name", ["layer-wise+intra-layer+0.1*avg-attn", "2*star+0.5*intra-layer", "layer-wise+3*last-attn+star-post-cnn"]
)
def test_a_composite_is_the_weighted_sum_of_its_terms(name: str) -> None:
    student, teacher = encoded(2, 5, heads=2, seed=1), encoded(2, 8, heads=3, seed=2)
    ours, theirs = leaves(student), leaves(student)
    loss = parse(name)(ours, teacher)
    expected = sum((weight * parse(term)(theirs, teacher) for term, weight in parse(name).terms), torch.zeros(()))
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(ours), gradients(theirs))


def test_terms_on_relations_share_their_products(monkeypatch: pytest.MonkeyPatch) -> None:
    formed: list[tuple[int, int]] = []
    products = relations._Products
    monkeypatch.setattr(relations, "_cheaper_form", lambda *_: "product")
    monkeypatch.setattr(
        relations,
        "_Products",
        lambda group, *key: formed.append(key) or products(group, *key),  # type: ignore[func-returns-value]
    )
    student, teacher = encoded(2, 5, heads=2, seed=1), encoded(2, 8, heads=3, seed=2)
    parse("layer-wise+0.3*intra-layer+2*star")(student, teacher)
    assert sorted(formed) == sorted([(0, 0), (1, 1), (2, 2)] * len(LENGTHS))


def test_star_post_cnn_takes_projected_features_as_state_0_in_both_terms() -> None:
    student, teacher = encoded(2, 5, heads=2, seed=1), encoded(2, 8, heads=3, seed=2)
    expected = []
    for row, n in enumerate(LENGTHS):
        x = [state[row, :n] for state in (student.projected, *student.states[1:])]
        y = [state[row, :n] for state in (teacher.projected, *teacher.states[1:])]
        pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2)]
        expected.append(sum(((x[a] @ x[b].T - y[a] @ y[b].T) ** 2).mean().item() for a, b in pairs))
    loss = parse("star-post-cnn")(student, teacher)
    assert loss.item() == pytest.approx(sum(expected) / len(expected), rel=1e-12)


def test_encodings_that_do_not_fit_are_refused() -> None:
    student, teacher = encoded(2, 5, heads=2, seed=1), encoded(2, 8, heads=3, seed=2)
    with pytest.raises(ValueError, match="the student has no attention maps; expected one a layer"):
        parse("avg-attn")(replace(student, maps=[]), teacher)
    with pytest.raises(ValueError, match="the teacher has no attention maps"):
        parse("last-attn")(student, replace(teacher, maps=[]))
    cut = [maps[..., :13, :13] for maps in teacher.maps]
    with pytest.raises(ValueError, match=r"the teacher's maps have shapes \(3, 3, 13, 13\), .*expected \(3, heads, 14"):
        parse("avg-attn")(student, replace(teacher, maps=cut))
    with pytest.raises(ValueError, match="the student has 2 layers and the teacher 1"):
        parse("avg-attn")(student, replace(teacher, maps=teacher.maps[:1]))
    with pytest.raises(ValueError, match=r"the student's states have shapes \(3, 14, 0\), \(3, 14, 5\)"):
        parse("star-post-cnn")(replace(student, projected=student.projected[..., :0]), teacher)
