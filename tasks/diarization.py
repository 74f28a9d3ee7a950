"""Diarization of two speakers: frame labels, permutation-free loss, segments and error rate (superb-protocol 2.7).

A label is text with one line "speaker start end" per segment, times in seconds.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from torch import Tensor

SPEAKERS = 2
FRAME = 320  # samples
# Thresholds and median filters, in frames, of the ten settings of which the lowest error is reported.
SETTINGS = tuple((threshold, median) for threshold in (0.3, 0.4, 0.5, 0.6, 0.7) for median in (1, 11))

Segment = tuple[int, float, float]  # speaker (0 or 1), start and end in seconds


def label_segments(label: str) -> list[Segment]:
    """Segments of a label; speakers are numbered in the order of their sorted names (superb-protocol 2.7).

    Raises ValueError if a line is not "speaker start end" with 0 <= start <= end, or if there are not 1 or 2 speakers.
    """
    lines = label.splitlines()
    wrong = [line for line in lines if not _is_segment(line)]
    if wrong:
        raise ValueError(
            f'{len(wrong)} of {len(lines)} segments are not "speaker start end" with 0 <= start <= end in seconds, '
            f'the first being "{wrong[0]}": correct the label'
        )
    fields = [line.split() for line in lines]
    speakers = sorted({speaker for speaker, _, _ in fields})
    if not 1 <= len(speakers) <= SPEAKERS:
        raise ValueError(f"a label names {len(speakers)} speakers: expected 1 or {SPEAKERS}")
    return [(speakers.index(speaker), float(start), float(end)) for speaker, start, end in fields]


def frame_labels(label: str, frames: int, stride: int = FRAME) -> np.ndarray:
    """Who speaks in each frame of `stride` samples, (frames, 2) of 0 and 1, one column per speaker (superb-protocol
    2.7).

    The borders of a segment are rounded to the nearest frame, halves to the even one; the frame at its end is no part
    of it. What lies beyond `frames` is cut off. Raises ValueError as label_segments does.
    """
    speech = np.zeros((frames, SPEAKERS), dtype=np.float32)
    for speaker, start, end in label_segments(label):
        speech[round(start * SAMPLE_RATE / stride) : round(end * SAMPLE_RATE / stride), speaker] = 1.0
    return speech


def permutation_free_loss(logits: "Tensor", labels: "Tensor", lengths: "Tensor") -> "Tensor":
    """Permutation-invariant binary cross-entropy per frame (superb-protocol 2.7).

    Of the two orders of the speakers, every recording takes the one with the smaller sum over its frames of the
    speakers' mean loss; these sums are added up and divided by all frames. logits (..., batch, frames, 2), such as
    those of a grid of heads, labels (batch, frames, 2), lengths (batch,) in frames; the result has the leading shape.
    """
    import torch
    from torch.nn.functional import softplus

    padding = torch.arange(logits.shape[-2], device=logits.device) >= lengths[:, None]
    # softplus(x) - x y is the cross-entropy of sigmoid(x) with y.
    orders = torch.stack([softplus(logits) - logits * speech for speech in (labels, labels.flip(-1))])
    sums = orders.mean(-1).masked_fill(padding, 0.0).sum(-1)
    return sums.amin(0).sum(-1) / lengths.sum()


def segments(probabilities: np.ndarray, threshold: float, median: int, stride: int = FRAME) -> list[Segment]:
    """Stretches where a speaker's probability (frames, 2) is above the threshold, strictly (superb-protocol 2.7).

    A frame lasts `stride` samples. The decisions pass through a median filter along time, `median` frames wide; both
    ends are followed by silence.
    Raises ValueError if there is no frame, if there are not two columns, or if the width is even.
    """
    if probabilities.ndim != 2 or not len(probabilities) or probabilities.shape[1] != SPEAKERS:
        raise ValueError(
            f"probabilities have shape {probabilities.shape}: expected (frames, {SPEAKERS}), 1 frame or more"
        )
    if median < 1 or median % 2 == 0:
        raise ValueError(f"a median filter cannot be {median} frames wide: expected an odd number")
    half = median // 2
    decisions = np.pad(probabilities > threshold, ((half, half), (0, 0)))
    active = np.lib.stride_tricks.sliding_window_view(decisions, median, axis=0).sum(axis=-1) > half
    changes = np.diff(np.pad(active, ((1, 1), (0, 0))).astype(np.int8), axis=0)
    return [
        (speaker, float(start * stride / SAMPLE_RATE), float(end * stride / SAMPLE_RATE))
        for speaker, column in enumerate(changes.T)
        for start, end in zip(np.flatnonzero(column == 1), np.flatnonzero(column == -1), strict=True)
    ]


def diarization_errors(reference: Sequence[Segment], hypothesis: Sequence[Segment]) -> tuple[float, float]:
    """Error and scored speech of one recording in seconds; their ratio is its diarization error rate.

    Missed speech, false alarms and confused speakers under the best pairing of the speakers, without collar, overlap
    included, from the first onset to the last offset of both (superb-protocol 2.7). A moment at which r speakers talk
    and the hypothesis has h counts max(r, h) less the speakers found. Raises ValueError for a speaker other than 0, 1.
    """
    borders = np.unique([time for _, *times in [*reference, *hypothesis] for time in times])
    durations = np.diff(borders)
    spoken, found = _activity(reference, borders), _activity(hypothesis, borders)
    pairings = [(spoken & found).sum(axis=0), (spoken & found[::-1]).sum(axis=0)]
    correct = max(pairings, key=lambda right: float(right @ durations))
    errors = np.maximum(spoken.sum(axis=0), found.sum(axis=0)) - correct
    return float(errors @ durations), float(spoken.sum(axis=0) @ durations)


def sweep(
    references: Sequence[str], probabilities: Sequence[np.ndarray], stride: int = FRAME
) -> tuple[np.ndarray, np.ndarray]:
    """Error and scored seconds of every recording in each of SETTINGS, both (10, recordings) (superb-protocol 2.7).

    The diarization error rate of a setting is the sum of its errors over the sum of its scored seconds. references:
    labels; probabilities: (frames, 2) each, of `stride` samples a frame. Raises ValueError if there are not as many,
    and as label_segments and segments do.
    """
    if len(references) != len(probabilities):
        raise ValueError(
            f"cannot score the probabilities of {len(probabilities)} recordings against {len(references)} labels: "
            f"expected as many"
        )
    labels = [label_segments(label) for label in references]
    pairs = [
        [
            diarization_errors(label, segments(found, *setting, stride))
            for label, found in zip(labels, probabilities, strict=True)
        ]
        for setting in SETTINGS
    ]
    table = np.array(pairs).reshape(len(SETTINGS), len(labels), 2)
    return table[..., 0], table[..., 1]


def _is_segment(line: str) -> bool:
    try:
        _, start, end = line.split()
        return 0 <= float(start) <= float(end) < math.inf
    except ValueError:
        return False


def _activity(spans: Sequence[Segment], borders: np.ndarray) -> np.ndarray:
    """Whether each speaker talks between two neighbouring borders (2, borders - 1)."""
    unknown = sorted({speaker for speaker, _, _ in spans} - set(range(SPEAKERS)))
    if unknown:
        raise ValueError(f"segments of speaker {unknown[0]}: expected speakers 0 to {SPEAKERS - 1}")
    active = np.zeros((SPEAKERS, max(len(borders) - 1, 0)), dtype=bool)
    for speaker, start, end in spans:
        first, last = np.searchsorted(borders, [start, end])
        active[speaker, first:last] = True
    return active
