"""Labels by hand, loss and median filter against slow or other versions, error rates against pyannote.metrics."""

import math
import re
from itertools import permutations

import numpy as np
import pytest
import torch
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate
from scipy.signal import medfilt

from tasks.diarization import (
    SETTINGS,
    diarization_errors,
    frame_labels,
    label_segments,
    permutation_free_loss,
    segments,
    sweep,
)

LABEL = "b 0.0 0.05\na 0.02 0.089\nb 0.11 0.13\n"


# Labels


def test_labels_have_sorted_speakers_and_rounded_half_open_segments():
    # a: 1 to 4.45 frames, so 1 to 4; b: 0 to 2.5, a half goes to the even 2, then 5.5 to 6.5, which is 6 to 6
    assert label_segments(LABEL) == [(1, 0.0, 0.05), (0, 0.02, 0.089), (1, 0.11, 0.13)]
    assert frame_labels(LABEL, 6).tolist() == [[0, 1], [1, 1], [1, 0], [1, 0], [0, 0], [0, 0]]
    assert frame_labels(LABEL, 2).tolist() == [[0, 1], [1, 1]]
    assert frame_labels("x 0 9", 2).tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize("line", ["a 1", "a 1 2 3", "", "a one 2", "a 2 1", "a -1 2", "a nan 2", "a 0 inf"])
def test_lines_that_are_no_segment_are_refused(line):
    with pytest.raises(ValueError, match=f'1 of 3 segments are not .* the first being "{line}"'):
        label_segments(f"a 0 1\n{line}\nb 0 1")


@pytest.mark.parametrize(("label", "speakers"), [("", 0), ("a 0 1\nb 0 1\nc 0 1", 3)])
def test_labels_of_other_numbers_of_speakers_are_refused(label, speakers):
    with pytest.raises(ValueError, match=f"names {speakers} speakers"):
        label_segments(label)


# Loss


def slow_loss(logits, labels, lengths) -> float:
    total = 0.0
    for x, y, frames in zip(logits.tolist(), labels.tolist(), lengths.tolist(), strict=True):
        sums = []
        for order in permutations(range(2)):
            losses = []
            for t in range(frames):
                p = [1 / (1 + math.exp(-x[t][s])) for s in range(2)]
                right = [p[s] if y[t][order[s]] else 1 - p[s] for s in range(2)]
                losses.append(-sum(map(math.log, right)) / 2)
            sums.append(sum(losses))
        total += min(sums)
    return total / sum(lengths.tolist())


def test_loss_equals_the_slow_one_for_every_head_and_ignores_padding():
    torch.manual_seed(0)
    logits = 3 * torch.randn(4, 6, 9, 2, dtype=torch.double)
    labels = (torch.rand(6, 9, 2) < 0.5).double()
    lengths = torch.tensor([9, 1, 4, 7, 3, 9])
    got = permutation_free_loss(logits, labels, lengths)
    expected = [slow_loss(head, labels, lengths) for head in logits]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.double), rtol=1e-12, atol=0)
    assert permutation_free_loss(logits[2], labels, lengths).item() == pytest.approx(expected[2])
    logits[:, 1, 1:] = 1e6
    labels[1, 1:] = 0
    torch.testing.assert_close(permutation_free_loss(logits, labels, lengths), got)


def test_loss_of_either_speaker_order_is_the_same():
    torch.manual_seed(1)
    labels, lengths = (torch.rand(3, 5, 2) < 0.5).double(), torch.tensor([5, 5, 5])
    logits = 20 * (2 * labels - 1)
    assert permutation_free_loss(logits, labels, lengths) < 1e-8
    assert permutation_free_loss(logits.flip(-1), labels, lengths) < 1e-8


def test_loss_gradient_is_the_numerical_one():
    torch.manual_seed(2)
    logits = torch.randn(3, 4, 2, dtype=torch.double, requires_grad=True)
    labels, lengths = (torch.rand(3, 4, 2) < 0.5).double(), torch.tensor([4, 2, 3])
    assert torch.autograd.gradcheck(lambda x: permutation_free_loss(x, labels, lengths), logits)


# Segments


def test_segments_by_hand():
    found = np.array([[0.6, 0.5], [0.5, 0.7], [0.9, 0.8], [0.7, 0.1]])
    assert segments(found, 0.5, 1) == [(0, 0.0, 0.02), (0, 0.04, 0.08), (1, 0.02, 0.06)]  # 0.5 is not above 0.5
    assert segments(found, 0.5, 3) == [(0, 0.02, 0.08), (1, 0.02, 0.06)]
    assert segments(found, 0.9, 1) == []


@pytest.mark.filterwarnings("ignore:kernel_size exceeds volume extent")
@pytest.mark.parametrize("median", [1, 3, 11])
@pytest.mark.parametrize("frames", [1, 4, 90])
def test_median_filter_is_scipys(median, frames):
    found = np.random.default_rng(frames).random((frames, 2))
    expected = medfilt((found > 0.4).astype(float), (median, 1))
    lines = [f"{'ab'[speaker]} {start} {end}" for speaker, start, end in segments(found, 0.4, median)]
    # Two silent speakers keep the columns apart where one of them is never found.
    label = "\n".join([*lines, "a 0 0", "b 0 0"])
    np.testing.assert_array_equal(frame_labels(label, frames), expected)


def test_probabilities_of_another_shape_and_even_filters_are_refused():
    for shape in ((4, 3), (0, 2), (2,)):
        with pytest.raises(ValueError, match=f"shape {re.escape(str(shape))}: expected"):
            segments(np.zeros(shape), 0.5, 1)
    for median in (0, 10):
        with pytest.raises(ValueError, match=f"cannot be {median} frames wide"):
            segments(np.zeros((4, 2)), 0.5, median)


# Error rate


def random_segments(rng, most: int) -> list[tuple[int, float, float]]:
    """Segments that may overlap between speakers, and touch but not overlap within one."""
    found = []
    for speaker in range(2):
        borders = np.sort(rng.choice(np.arange(0, 60), size=2 * rng.integers(0, most + 1), replace=False)) / 7
        found += [(speaker, float(a), float(b)) for a, b in zip(borders[::2], borders[1::2], strict=True)]
    return found


def annotation(spans) -> Annotation:
    made = Annotation()
    for track, (speaker, start, end) in enumerate(spans):
        made[Segment(start, end), track] = str(speaker)
    return made


@pytest.mark.parametrize("seed", range(120))
def test_errors_equal_pyannote(seed):
    rng = np.random.default_rng(seed)
    reference, hypothesis = random_segments(rng, 1 + seed % 8), random_segments(rng, 8)
    spans = [*reference, *hypothesis, (0, 0.0, 0.1)]
    extent = Timeline([Segment(min(start for _, start, _ in spans), max(end for *_, end in spans))])
    metric = DiarizationErrorRate(collar=0.0, skip_overlap=False)
    detail = metric.compute_components(annotation(reference), annotation(hypothesis), uem=extent)
    errors, scored = diarization_errors(reference, hypothesis)
    wrong = detail["missed detection"] + detail["false alarm"] + detail["confusion"]
    assert errors == pytest.approx(wrong, abs=1e-9)
    assert scored == pytest.approx(detail["total"], abs=1e-9)


def test_errors_by_hand():
    reference = [(0, 0.0, 4.0), (1, 3.0, 6.0)]
    assert diarization_errors(reference, reference) == (0.0, 7.0)
    assert diarization_errors(reference, [(1 - s, a, b) for s, a, b in reference]) == (0.0, 7.0)
    # All as one speaker: paired with the first, the overlap (1 s) is missed once and 2 s are confused; then 1 s alarm.
    assert diarization_errors(reference, [(1, 0.0, 7.0)]) == (4.0, 7.0)
    assert diarization_errors(reference, []) == (7.0, 7.0)
    assert diarization_errors([], reference) == (7.0, 0.0)
    assert diarization_errors([], []) == (0.0, 0.0)
    # A stretch that a label names twice for one speaker is spoken once.
    assert diarization_errors([(0, 0.0, 2.0), (0, 1.0, 3.0)], [(0, 0.0, 3.0)]) == (0.0, 3.0)


def test_unknown_speakers_are_refused():
    with pytest.raises(ValueError, match="segments of speaker 2"):
        diarization_errors([(0, 0.0, 1.0)], [(2, 0.0, 1.0)])


# The ten settings


def test_settings_are_five_thresholds_with_two_filters():
    assert len(set(SETTINGS)) == 10
    assert {threshold for threshold, _ in SETTINGS} == {0.3, 0.4, 0.5, 0.6, 0.7}
    assert {median for _, median in SETTINGS} == {1, 11}


def test_sweep_by_hand():
    # 20 frames; a talks throughout and is found at 0.65, b never but at 0.55 in one frame, which the filter takes away.
    found = np.zeros((20, 2))
    found[:, 0], found[10, 1] = 0.65, 0.55
    errors, scored = sweep(["a 0 0.4", "a 0 0.2\nb 0.2 0.4"], [found, np.zeros((20, 2))])
    np.testing.assert_allclose(scored, 0.4)
    np.testing.assert_allclose(errors[:, 1], 0.4)
    for (threshold, median), error in zip(SETTINGS, errors[:, 0], strict=True):
        # A window of 11 at either end holds 6 frames of the recording, still more than half.
        expected = 0.4 if threshold == 0.7 else 0.02 if threshold < 0.55 and median == 1 else 0.0
        assert error == pytest.approx(expected)


def test_sweep_needs_as_many_labels_as_recordings():
    with pytest.raises(ValueError, match="1 recordings against 2 labels"):
        sweep(["a 0 1", "b 0 1"], [np.zeros((5, 2))])
