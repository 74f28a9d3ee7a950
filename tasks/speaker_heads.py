"""Heads of speaker verification (superb-protocol 2.6) and diarization (superb-protocol 2.7), and the former's loss."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.diarization import SPEAKERS

SPLICES = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))  # of each layer: frames joined, and frames from one to the next
LOST = sum((joined - 1) * apart for joined, apart in SPLICES)  # frames, by layers without padding
SHORTEST = LOST + 2  # frames; an unbiased deviation needs two
SCALE = 30.0
MARGIN = 0.4  # of the cosine


class XVectorHead(nn.Module):
    """x-vector of frames (batch, frames, dim) with valid lengths (batch,) in frames (superb-protocol 2.6).

    In training: cosines (batch, speakers) between each utterance and each speaker's column, for am_softmax_loss. In
    evaluation: the embedding (batch, hidden) to score trials with, of unit length. The statistics are taken over
    exactly the valid frames, one less than the official recipe takes of padded utterances.

    forward raises ValueError if an utterance has under 16 frames.
    """

    def __init__(self, dim: int, speakers: int, hidden: int, pooled: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, hidden)
        widths = [hidden] * (len(SPLICES) - 1) + [pooled]
        self.frame_layers = nn.ModuleList(
            nn.Linear(joined * hidden, width) for (joined, _), width in zip(SPLICES, widths, strict=True)
        )
        self.first = nn.Linear(2 * pooled, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.speakers = nn.Parameter(nn.init.xavier_normal_(torch.empty(hidden, speakers)))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if (shortest := int(lengths.min())) < SHORTEST:
            raise ValueError(
                f"an utterance has {shortest} frames: an x-vector needs {SHORTEST} or more, leave shorter ones out"
            )
        x = self.project(x)
        for layer, (joined, apart) in zip(self.frame_layers, SPLICES, strict=True):
            x = layer(_spliced(x, joined, apart)).relu()
        x = self.first(_statistics(x, lengths - LOST)).relu()
        if not self.training:
            return F.normalize(x, dim=-1)
        return F.normalize(self.second(x).relu(), dim=-1) @ F.normalize(self.speakers, dim=0)


def _spliced(x: Tensor, joined: int, apart: int) -> Tensor:
    """Frames (batch, frames, dim) to `joined` of them side by side (batch, fewer frames, joined * dim).

    Followed by a linear layer it is a convolution, which a CPU would prepare anew for every length.
    """
    frames = x.shape[1] - (joined - 1) * apart
    return torch.cat([x[:, i * apart : i * apart + frames] for i in range(joined)], dim=-1)


def _statistics(x: Tensor, lengths: Tensor) -> Tensor:
    """Mean and unbiased standard deviation over the valid frames: (batch, frames, dim) to (batch, 2 * dim)."""
    padding = (torch.arange(x.shape[1], device=x.device) >= lengths[:, None])[..., None]
    count = lengths[:, None].to(x.dtype)
    mean = x.masked_fill(padding, 0).sum(1) / count
    centred = (x - mean[:, None]).masked_fill(padding, 0)
    # A norm has gradient 0 at 0; the root of a variance has none, and equal frames would spoil the whole update.
    return torch.cat([mean, torch.linalg.vector_norm(centred, dim=1) / (count - 1).sqrt()], dim=-1)


def am_softmax_loss(cosines: Tensor, targets: Tensor) -> Tensor:
    """Additive-margin softmax loss, mean over the batch (superb-protocol 2.6).

    cosines: (..., batch, speakers), any leading dimensions such as a grid of heads, which the result (...) keeps;
    targets: (batch,) speaker indices. The cross-entropy of 30 times the cosines, the true speaker's less 0.4.
    """
    own = F.one_hot(targets, cosines.shape[-1]).to(cosines.dtype)
    log_probabilities = (SCALE * (cosines - MARGIN * own)).log_softmax(-1)
    return -(own * log_probabilities).sum(-1).mean(-1)


class DiarizationHead(nn.Module):
    """One-direction LSTM layers and a linear output: (batch, frames, dim) to logits (batch, frames, 2).

    Padding follows the valid frames, so that it cannot reach them, and `lengths` goes unused (superb-protocol 2.7).
    """

    def __init__(self, dim: int, width: int, layers: int) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(dim, width, num_layers=layers, batch_first=True)
        self.output = nn.Linear(width, SPEAKERS)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.output(self.recurrent(x)[0])
