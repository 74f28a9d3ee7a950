"""Objectives with heads against loops in fp64, on padded batches with garbage behind the padding."""

from dataclasses import replace

import pytest
import torch

from students.criterion import Criterion, CriterionError
from students.dims import Dims
from students.encoded import Encoded
from students.encoder import SpeechEncoder
from students.objective_names import parse
from students.predictions import DistilHubert, Hints
from students.presets import STUDENTS, hubert_base, thin_stem

TEACHER = Dims(thin_stem(8), 8, 6, 2, 16, pos_kernel=4, pos_groups=2, mask_vector=True)
STUDENT = Dims(thin_stem(6), 6, 3, 2, 12, pos_kernel=4, pos_groups=2)
FRAMES = [5, 3, 1]


def encoded(dims, seed, predictions=()):
    """Random states of a batch of FRAMES in fp64; what lies behind the frames is large."""
    generator = torch.Generator().manual_seed(seed)

    def states(width):
        values = torch.randn(len(FRAMES), max(FRAMES), width, dtype=torch.float64, generator=generator)
        for row, frames in enumerate(FRAMES):
            values[row, frames:] = 1e3
        return values.requires_grad_(True)

    found = [states(dims.width) for _ in range(dims.layers + 1)]
    said = {layer: states(TEACHER.width) for layer in predictions}
    return Encoded(found[0], found, torch.tensor(FRAMES), [], said)


def average(error):
    """error(row, frame) averaged over the frames of an utterance, then over the batch."""
    rows = [sum(error(row, t) for t in range(frames)) / frames for row, frames in enumerate(FRAMES)]
    return sum(rows) / len(rows)


def test_hints_weigh_the_last_layer_ten_times_as_much():
    hints = Hints(STUDENT, TEACHER).double()
    student, teacher = encoded(STUDENT, 0), encoded(TEACHER, 1)
    expected = 0.0
    for layer, target, weight in ((1, 2, 0.1), (2, 4, 0.1), (3, 6, 1.0)):
        linear = hints.heads[str(layer)].projection

        def error(row, t, linear=linear, layer=layer, target=target):
            said = linear.weight @ student.states[layer][row, t] + linear.bias
            return ((said - teacher.states[target][row, t]) ** 2).sum().item() / 8

        expected += weight * average(error)
    assert hints(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_hints_use_the_heads_that_the_student_has():
    dims = replace(STUDENT, predicted=(3,), prediction_width=8)
    hints = Hints(dims, TEACHER)
    assert sorted(hints.heads) == ["1", "2"]
    student, teacher = encoded(STUDENT, 0, predictions=(3,)), encoded(TEACHER, 1)
    hints = hints.double()
    for head in hints.heads.values():
        torch.nn.init.zeros_(head.projection.weight)
        torch.nn.init.zeros_(head.projection.bias)
    with torch.no_grad():
        for layer in (1, 2):
            teacher.states[2 * layer].zero_()
    expected = average(lambda row, t: ((student.predictions[3] - teacher.states[6])[row, t] ** 2).mean().item())
    assert hints(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_distilhubert_is_the_distance_less_the_log_sigmoid_of_the_cosine():
    objective = DistilHubert(STUDENT, TEACHER).double()
    student, teacher = encoded(STUDENT, 0), encoded(TEACHER, 1)
    assert objective.targets == [2, 4, 6]

    def error(row, t, head, target):
        said, heard = head(student.states[3][row, t]), teacher.states[target][row, t]
        cosine = (said @ heard / (said.norm() * heard.norm())).item()
        return (said - heard).abs().mean().item() + torch.tensor(1 + torch.e**-cosine).log().item()

    expected = sum(
        average(lambda row, t, h=head, g=target: error(row, t, h, g))
        for head, target in zip(objective.heads, (2, 4, 6), strict=True)
    )
    assert objective(student, teacher).item() == pytest.approx(expected / 3, rel=1e-5)


def test_published_heads_have_the_published_sizes():
    """model-zoo.md 3.3: three heads of DistilHuBERT, twelve of MaskHuBERT, one of FitHuBERT with its upsampler."""
    teacher = hubert_base().paper

    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(DistilHubert(STUDENTS["distilhubert"]().paper, teacher)) == 27_034_752 - 23_491_200
    bare = STUDENTS["maskhubert"]().paper.bare()
    assert count(Hints(bare, teacher)) == 4_432_896
    fithubert = Hints(STUDENTS["fithubert"]().paper, teacher)
    assert sorted(map(int, fithubert.heads)) == list(range(1, 12)) and count(fithubert.heads["1"]) == 830_688


@pytest.mark.parametrize("kind", [Hints, DistilHubert])
def test_padding_changes_no_loss_and_no_gradient(kind):
    objective = kind(STUDENT, TEACHER).double()
    student, teacher = encoded(STUDENT, 0), encoded(TEACHER, 1)
    loss = objective(student, teacher)
    wide = torch.autograd.grad(loss, student.states[1:], allow_unused=True)
    losses, narrow = [], []
    for row, frames in enumerate(FRAMES):
        alone = [
            Encoded(states[0], [s[row : row + 1, :frames] for s in states], torch.tensor([frames]))
            for states in (student.states, teacher.states)
        ]
        one = objective(*alone)
        losses.append(one.item())
        narrow.append(torch.autograd.grad(one / len(FRAMES), student.states[1:], allow_unused=True))
    assert loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-6)
    for layer, gradient in enumerate(wide):
        alone = [one[layer] for one in narrow]
        if gradient is None:
            assert all(one is None for one in alone)
        else:
            torch.testing.assert_close(gradient, sum(alone), rtol=1e-5, atol=1e-7)
    objective(student, teacher).backward()
    assert all(state.grad is None for state in teacher.states) and student.states[-1].grad is not None


def test_a_reduced_student_is_the_same_in_a_padded_batch():
    """Odd numbers of frames: the last is not half of any pair, and the batch's longest leaves room for it."""
    torch.manual_seed(0)
    dims = replace(STUDENT, reduction=2, predicted=(3,), prediction_width=8)
    student, teacher = SpeechEncoder(dims).double().eval(), SpeechEncoder(TEACHER).double().eval()
    hints = Hints(dims, TEACHER).double()
    lengths = torch.tensor([400 + 320 * (frames - 1) for frames in (31, 5, 30)])
    waves = torch.randn(3, int(lengths.max()), dtype=torch.float64)
    waves *= torch.arange(waves.shape[1]) < lengths[:, None]
    whole = hints(student(waves, lengths), teacher(waves, lengths))
    alone = [
        hints(student(wave[None, :size], size[None]), teacher(wave[None, :size], size[None]))
        for wave, size in zip(waves, lengths, strict=True)
    ]
    assert whole.item() == pytest.approx(sum(loss.item() for loss in alone) / 3, rel=1e-6)


def test_a_composite_adds_its_weighted_terms():
    torch.manual_seed(0)
    criterion = Criterion(parse("hint+0.5*layer-wise"), replace(STUDENT, layers=3), TEACHER).double()
    student, teacher = encoded(STUDENT, 0), encoded(TEACHER, 1)
    hint = criterion.heads["hint"](student, teacher)
    relation = Criterion(parse("layer-wise"), STUDENT, TEACHER)(student, teacher)
    assert criterion(student, teacher).item() == pytest.approx((hint + 0.5 * relation).item(), rel=1e-5)


@pytest.mark.parametrize("objective", ["star", "layer-wise", "intra-layer", "avg-attn", "last-attn"])
def test_the_star_family_trains_no_extra_parameters(objective):
    assert Criterion(parse(objective), STUDENT, TEACHER).parameter_count == 0


@pytest.mark.parametrize(
    ("objective", "student", "teacher", "line"),
    [
        ("star", replace(STUDENT, layers=7), TEACHER, "the student has 7 layers and the teacher 6"),
        ("star", replace(STUDENT, reduction=2), TEACHER, "star compares frame by frame and the student joins 2 frames"),
        ("hint+distilhubert", replace(STUDENT, reduction=2), TEACHER, "distilhubert compares frame by frame"),
        ("masking", STUDENT, TEACHER, "masking needs a mask vector and the student has none"),
        ("masking", replace(STUDENT, mask_vector=True), STUDENT, "this teacher's file has none"),
        ("hint", replace(STUDENT, predicted=(3,), prediction_width=5), TEACHER, "the student's heads predict 5 values"),
        ("star", replace(STUDENT, predicted=(3,), prediction_width=8), TEACHER, "which objective star does not train"),
        ("star", STUDENT, replace(TEACHER, reduction=2), "the teacher joins 2 frames into one"),
    ],
)
def test_an_objective_that_does_not_suit_is_refused(objective, student, teacher, line):
    with pytest.raises(CriterionError, match=line):
        Criterion(parse(objective), student, teacher)


def test_a_reduced_student_is_compared_at_the_teachers_frame_rate():
    dims = replace(STUDENT, reduction=2, predicted=(3,), prediction_width=8)
    student = SpeechEncoder(dims)(torch.randn(1, 320 * 7 + 400), torch.tensor([320 * 7 + 400]))
    assert student.frames.tolist() == [4] and student.predictions[3].shape == (1, 8, 8)
    teacher = SpeechEncoder(TEACHER)(torch.randn(1, 320 * 8 + 400), torch.tensor([320 * 8 + 400]))
    assert teacher.frames.tolist() == [9]
    assert Hints(dims, TEACHER)(student, teacher).isfinite()
