"""A distillation objective together with the heads that it has of its own."""

import torch
from torch import Tensor, nn

from students.dims import Dims
from students.encoded import Encoded
from students.fitting import student_problems, teacher_problems
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
        check(objective, student, teacher)
        self.plain = Objective(tuple(term for term in objective.terms if term[0] not in _HEADED))
        self.weights = dict(objective.terms)
        self.heads = nn.ModuleDict(
            {name: _HEADED[name](student, teacher) for name, _ in objective.terms if name in _HEADED}
        )
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


def check(objective: Objective, student: Dims, teacher: Dims) -> None:
    """Raise CriterionError, with all reasons, where the objective does not suit the student or the teacher."""
    problems = student_problems(objective, student) + teacher_problems(objective, student, teacher)
    if problems:
        raise CriterionError("\n".join(problems))
