"""A distillation objective together with the heads that it has of its own."""

import torch
from torch import Tensor, nn

from students.dims import Dims
from students.encoded import Encoded
from students.objective_names import Objective
from students.predictions import DistilHubert, Hints

_HEADED: dict[str, type[Hints] | type[DistilHubert]] = {
    "hint": Hints,
    "masking": Hints,
    "distilhubert": DistilHubert,
}


class CriterionError(ValueError):
    """An objective that does not suit the student or the teacher; the message says why and what to type instead."""


class Criterion(nn.Module):
    """An objective for one student and one teacher; call it with what both say of a batch to get the loss.

    needs_maps: whether both are to return attention maps. masks: whether the student is to hear masked utterances.
    live: whether the teacher's states alone do not do. Raises CriterionError where the objective does not suit them.
    """

    def __init__(self, objective: Objective, student: Dims, teacher: Dims) -> None:
        super().__init__()
        _check(objective, student, teacher)
        headed = [name for name, _ in objective.terms if name in _HEADED]
        self.plain = Objective(tuple(term for term in objective.terms if term[0] not in headed))
        self.weights = dict(objective.terms)
        self.heads = nn.ModuleDict({name: _HEADED[name](student, teacher) for name in headed})
        self.needs_maps, self.masks = objective.needs_maps, objective.masks
        self.live = self.needs_maps or self.masks or objective.needs_projected

    @property
    def parameter_count(self) -> int:
        """Number of trainable values beside the student's own; none for the objectives of STaR."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, student: Encoded, teacher: Encoded) -> Tensor:
        losses = [self.weights[name] * head(student, teacher) for name, head in self.heads.items()]
        if self.plain.terms:
            losses.append(self.plain(student, teacher))
        return torch.stack(losses).sum()


def _check(objective: Objective, student: Dims, teacher: Dims) -> None:
    problems = []
    if student.layers > teacher.layers:
        problems.append(
            f"the student has {student.layers} layers and the teacher {teacher.layers}: expected no more than the "
            "teacher's; choose a shallower student or a deeper teacher"
        )
    framewise = [name for name, _ in objective.terms if name not in _HEADED]
    if student.reduction > 1 and framewise:
        problems.append(
            f"objective {framewise[0]} compares frame by frame and the student joins {student.reduction} frames into "
            "one: expected an objective with heads; type --objective hint"
        )
    if objective.masks and not (student.mask_vector and teacher.mask_vector):
        lacking = "teacher" if student.mask_vector else "student"
        problems.append(
            f"objective masking needs a mask vector and the {lacking} has none: expected a student such as maskhubert "
            "and a teacher such as mini-hubert or a pretrained HuBERT; type --objective hint for others"
        )
    if student.predicted and student.prediction_width != teacher.width:
        problems.append(
            f"the student's heads predict {student.prediction_width} values and the teacher's states have "
            f"{teacher.width}: expected the same"
        )
    if problems:
        raise CriterionError("\n".join(problems))
