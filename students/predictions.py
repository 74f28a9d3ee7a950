"""Objectives with heads: a student predicts what its teacher's layers say (model-zoo.md 8.3).

A student that has heads of its own is trained through them; heads that it lacks belong to the objective and are dropped
with it. Errors are averaged over the valid frames of an utterance and then over the batch; what lies behind an
utterance's length changes neither a loss nor a gradient.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from students.dims import Dims
from students.encoded import Encoded
from students.encoder import Head
from students.layers import teacher_layer

LOWER_WEIGHT = 0.1  # of every layer but the last
TARGETS = 3  # teacher layers that DistilHuBERT predicts: a third, two thirds and all of the way up


class Hints(nn.Module):
    """Squared error between every layer's prediction and its teacher layer, 1 for the last and 0.1 for the others.

    Student layer l predicts the teacher layer that students.layers names; a frame that the student's reduction leaves
    over counts nothing. Call with what student and teacher say of a batch to get a scalar.
    Source: arXiv 2207.00555 (FitHuBERT); with masked passes arXiv 2305.11685 (MaskHuBERT, ARMHuBERT).
    """

    def __init__(self, student: Dims, teacher: Dims) -> None:
        super().__init__()
        own = set(range(1, student.layers + 1)) - set(student.predicted)
        self.heads = nn.ModuleDict({str(layer): Head(student, teacher.width) for layer in sorted(own)})
        depth, self.reduction = student.layers, student.reduction
        self.layers = {layer: teacher_layer(layer, depth, teacher.layers) for layer in range(1, depth + 1)}

    def forward(self, student: Encoded, teacher: Encoded) -> Tensor:
        last, frames = max(self.layers), student.frames * self.reduction
        total = torch.zeros((), device=student.states[0].device)
        for layer, target in self.layers.items():
            own = student.predictions.get(layer)
            said = self.heads[str(layer)](student.states[layer]) if own is None else own
            said, heard = _valid(said, teacher.states[target], frames)
            weight = 1.0 if layer == last else LOWER_WEIGHT
            total = total + weight * _average((said - heard).square().mean(-1), frames)
        return total


class DistilHubert(nn.Module):
    """DistilHuBERT's objective: one head per target on the last layer, L1 plus log-sigmoid of the cosine, weights 1.

    Call with what student and teacher say of a batch to get a scalar, averaged over targets. Source: arXiv 2110.01900.
    """

    def __init__(self, student: Dims, teacher: Dims) -> None:
        super().__init__()
        self.targets = [round(teacher.layers * part / TARGETS) for part in range(1, TARGETS + 1)]
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(student.width, teacher.width), nn.GELU(), nn.Linear(teacher.width, teacher.width))
            for _ in self.targets
        )

    def forward(self, student: Encoded, teacher: Encoded) -> Tensor:
        losses = []
        for head, target in zip(self.heads, self.targets, strict=True):
            said, heard = _valid(head(student.states[-1]), teacher.states[target], student.frames)
            distance = (said - heard).abs().mean(-1) - F.logsigmoid(F.cosine_similarity(said, heard, dim=-1))
            losses.append(_average(distance, student.frames))
        return torch.stack(losses).mean()


def _valid(said: Tensor, heard: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Prediction and target (batch, frames, width) in fp32, both zero behind an utterance's length."""
    time = int(frames.max())
    valid = (torch.arange(time, device=said.device) < frames.to(said.device)[:, None])[..., None]
    return torch.where(valid, said[:, :time].float(), 0.0), torch.where(valid, heard[:, :time].detach().float(), 0.0)


def _average(error: Tensor, frames: Tensor) -> Tensor:
    """Mean of (batch, frames) over the valid frames of each utterance, then over the batch; 0 means no error."""
    frames = frames.to(error.device)
    valid = torch.arange(error.shape[1], device=error.device) < frames[:, None]
    return (torch.where(valid, error, 0.0).sum(1) / frames).mean()
