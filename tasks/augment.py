"""SpecAugment on the features that a BiLSTM head is trained on (superb-protocol 2.2)."""

import torch
from torch import Tensor
from torch.nn import functional as F

WARP_WINDOW = 5  # frames
FEATURE_MASKS, FEATURE_WIDTH = 4, 50  # masks per utterance; dimensions, of which a mask has fewer
TIME_MASKS, TIME_WIDTH = 2, 40  # masks per utterance; frames, of which a mask has fewer


def spec_augment(x: Tensor, lengths: Tensor) -> Tensor:
    """Warp in time, then mask features and frames, of every utterance on its own (superb-protocol 1.4, 2.2).

    x: weighted-sum features (batch, frames, dim), left as they are; lengths: (batch,) valid frames, which the result
    of the same shape keeps, with zeros as padding. Masked values are zeros too. Draws from torch's global generator of
    the CPU, whatever the device, in the official order.
    """
    counts = lengths.tolist()
    rows = [_warped(row[:count]) for row, count in zip(x, counts, strict=True)]
    warped = torch.stack([F.pad(row, (0, 0, 0, x.shape[1] - len(row))) for row in rows])
    features = _masks(len(x), x.shape[2], FEATURE_MASKS, FEATURE_WIDTH)
    times = _masks(len(x), max(counts), TIME_MASKS, TIME_WIDTH)
    times = F.pad(times, (0, x.shape[1] - times.shape[1]))
    return warped.masked_fill((features[:, None] | times[..., None]).to(x.device), 0)


def _warped(x: Tensor) -> Tensor:
    """One utterance (frames, dim), its frames before a drawn point stretched or squeezed, those after it conversely.

    Utterances of at most two windows are left alone.
    """
    frames = len(x)
    if frames <= 2 * WARP_WINDOW:
        return x
    point = int(torch.randint(WARP_WINDOW, frames - WARP_WINDOW, (1,)))
    moved = int(torch.randint(point - WARP_WINDOW, point + WARP_WINDOW, (1,))) + 1
    return torch.cat([_resized(x[:point], moved), _resized(x[point:], frames - moved)])


def _resized(x: Tensor, frames: int) -> Tensor:
    """(before, dim) to (frames, dim) by bicubic interpolation along time."""
    return F.interpolate(x[None, None], (frames, x.shape[1]), mode="bicubic", align_corners=False)[0, 0]


def _masks(batch: int, size: int, count: int, width: int) -> Tensor:
    """Union (batch, size) of `count` masks per utterance on an axis, each of 0 to `width` - 1 places.

    The widest mask of the batch bounds where all of them start.
    """
    widths = torch.randint(0, width, (batch, count))
    starts = torch.randint(0, max(1, size - int(widths.max())), (batch, count))
    places = torch.arange(size)
    return ((starts[..., None] <= places) & (places < (starts + widths)[..., None])).any(1)
