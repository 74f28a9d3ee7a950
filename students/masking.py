"""Masking distillation: the student hears a masked utterance and is told what the mask hides (arXiv 2305.11685)."""

import numpy as np
import torch
from torch import Tensor

from students.encoded import Encoded

PROBABILITY = 0.8  # expected share of masked frames, before spans that find no room are dropped
SPAN = 10  # expected frames of one span; lengths are uniform from 0 to twice that
GAP = 1  # frames between two spans


def draw_mask(frames: list[int], rng: np.random.Generator) -> Tensor:
    """Frames to mask, (batch, longest) and true where masked: spans of uniform lengths that do not touch.

    Source: model-zoo.md 8.2, "teacher mask".
    """
    masked = np.zeros((len(frames), max(frames)), dtype=bool)
    for row, count in enumerate(frames):
        wanted = int(PROBABILITY * count / SPAN + rng.random())
        lengths = rng.integers(0, 2 * SPAN + 1, size=wanted)
        lengths = lengths[np.cumsum(lengths + GAP) <= count + GAP]
        room = count - lengths.sum() - GAP * max(len(lengths) - 1, 0)
        before = np.sort(rng.integers(0, room + 1, size=len(lengths)))  # of the free frames, those before each span
        starts = before + np.concatenate([[0], np.cumsum(lengths + GAP)[:-1]]) if len(lengths) else before
        for start, length in zip(starts.astype(int), lengths, strict=True):
            masked[row, start : start + length] = True
    return torch.from_numpy(masked)


def swapped(plain: Encoded, covered: Encoded, masked: Tensor) -> Encoded:
    """The targets of masking distillation: at masked frames the teacher that saw them, elsewhere the one that heard the
    masked utterance.

    plain, covered: the teacher without and with the mask. Source: model-zoo.md 8.3, MaskHuBERT.
    """
    pairs = zip(plain.states, covered.states, strict=True)
    states = [torch.where(masked[..., None], seen, hidden) for seen, hidden in pairs]
    return Encoded(plain.projected, states, plain.frames)
