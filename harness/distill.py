"""Distillation: a student learns from a frozen teacher by an objective (arXiv 2312.09040)."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from harness.distill_data import Batch, DistillationData
from harness.schedule import warmup_cosine
from students.criterion import Criterion
from students.encoded import Encoded
from students.encoder import SpeechEncoder
from students.masking import draw_mask, swapped
from students.upstreams import Upstream


class DistillationError(RuntimeError):
    """A distillation that cannot go on; the message says at which step and what was seen."""


@dataclass(frozen=True)
class DistillSettings:
    """How a student is distilled (star-objective.md, "Training settings known").

    batch_seconds: audio per batch; accumulate: batches per update; buckets: number of length classes that batches are
    drawn from; warmup: share of the steps with a rising rate, a cosine falls to zero after it; validate_every: updates
    between two validations, at which the state of training is saved too.
    """

    objective: str
    steps: int
    batch_seconds: float
    learning_rate: float
    accumulate: int = 1
    warmup: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.01
    clip: float = 1.0
    buckets: int = 8
    validate_every: int = 50


class Distillation(nn.Module):
    """What is trained together: the student, and the heads that the objective has of its own."""

    def __init__(self, student: SpeechEncoder, criterion: Criterion) -> None:
        super().__init__()
        self.student, self.criterion = student, criterion

    def forward(self, waves: Tensor, lengths: Tensor, teacher: Encoded, masked: Tensor | None) -> Tensor:
        said = self.student(waves, lengths, self.criterion.needs_maps, masked)
        loss: Tensor = self.criterion(said, teacher)
        return loss


class Trainer:
    """One distillation in progress: optimiser, schedule, the step it has come to and the batches drawn so far."""

    def __init__(
        self,
        student: SpeechEncoder,
        criterion: Criterion,
        teacher: Upstream,
        settings: DistillSettings,
        seed: int,
        device: str,
    ) -> None:
        self.settings, self.teacher, self.seed = settings, teacher, seed
        self.step = self.drawn = 0
        self.accelerator = Accelerator(cpu=device == "cpu", mixed_precision="bf16" if device == "cuda" else "no")
        model = Distillation(student, criterion)
        optimizer = torch.optim.AdamW(
            parameter_groups(model, settings.weight_decay), settings.learning_rate, settings.betas, settings.eps
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, settings.steps, settings.warmup)
        )
        self.criterion = criterion
        self.model, self.optimizer, self.schedule = self.accelerator.prepare(model, optimizer, schedule)
        if teacher.network is not None:
            teacher.network.to(self.accelerator.device)
        torch.manual_seed(seed)

    def update(self, batches: list[Batch]) -> tuple[float, float]:
        """One step of the optimiser on the mean loss of some batches; returns loss and learning rate.

        Raises DistillationError if the loss is not finite.
        """
        self.model.train()
        self.step += 1
        total = 0.0
        for place, batch in enumerate(batches):
            mask = self._mask(batch, place) if self.criterion.masks else None
            loss = self._loss(batch, mask) / len(batches)
            total += loss.item()
            if not math.isfinite(total):
                raise DistillationError(f"the loss is {total} at step {self.step}: lower the learning rate")
            self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return total, rate

    @torch.no_grad()
    def validate(self, valid: DistillationData) -> float:
        """The mean loss per utterance, in eval mode and without masking.

        Raises DistillationError if no utterance can be read.
        """
        self.model.eval()
        total = count = 0.0
        for names in valid.drawn(self.settings.batch_seconds, 1, 0, shuffle=False):
            if (batch := valid.batch(names)) is None:
                continue
            total += self._loss(batch, None).item() * len(batch.lengths)
            count += len(batch.lengths)
        if not count:
            raise DistillationError("none of the utterances to validate on can be read: see `harness doctor --corpora`")
        return total / count

    def _loss(self, batch: Batch, masked: Tensor | None) -> Tensor:
        waves = batch.waves.to(self.accelerator.device)
        with self.accelerator.autocast():
            loss: Tensor = self.model(waves, batch.lengths, self._targets(batch, waves, masked), masked)
        return loss

    def _targets(self, batch: Batch, waves: Tensor, masked: Tensor | None) -> Encoded:
        """What the teacher says of the batch; it takes no gradient and stays in eval mode, whatever is trained."""
        if batch.teacher is None:
            said = self.teacher.encode(waves, batch.lengths, self.criterion.needs_maps)
        else:
            device = self.accelerator.device
            states = [state.to(device) for state in batch.teacher.states]
            said = Encoded(batch.teacher.projected, states, batch.teacher.frames.to(device))
        if masked is None:
            return said
        return swapped(said, self.teacher.encode(waves, batch.lengths, masked=masked), masked)

    def _mask(self, batch: Batch, place: int) -> Tensor:
        dims = self.teacher.dims
        assert dims is not None
        frames = [dims.frames(length) for length in batch.lengths.tolist()]
        rng = np.random.default_rng([self.seed, self.step, place])
        return draw_mask(frames, rng).to(self.accelerator.device)

    def save(self, path: Path) -> None:
        """Write all that an interrupted distillation needs to go on, atomically."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "drawn": self.drawn,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all(),  # nothing without a GPU
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.drawn = state["step"], state["drawn"]
        torch.set_rng_state(state["random"])
        torch.cuda.set_rng_state_all(state["random_cuda"])


def distill(
    trainer: Trainer,
    train: DistillationData,
    valid: DistillationData,
    checkpoint: Path,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Train to the end from where the trainer is, and save its state at every validation.

    report: gets one dict per update: step, loss, valid_loss, learning_rate, seconds. Raises DistillationError if the
    loss is not finite or there is nothing to learn from.
    """
    if not (train.items and valid.items):
        raise DistillationError(
            f"{len(train.items)} utterances to learn from and {len(valid.items)} to validate on: expected some of each"
        )
    settings, started = trainer.settings, time.perf_counter()
    batches = _batches(train, trainer)
    while trainer.step < settings.steps:
        loss, rate = trainer.update(list(islice(batches, settings.accumulate)))
        due = trainer.step % settings.validate_every == 0 or trainer.step == settings.steps
        row = {"step": trainer.step, "loss": loss, "valid_loss": trainer.validate(valid) if due else None}
        report({**row, "learning_rate": rate, "seconds": round(time.perf_counter() - started, 2)})
        if due:
            trainer.save(checkpoint)
    trainer.model.eval()


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """All parameters, weight decay on everything but biases, as the field's recipes do (model-zoo.md 8.1)."""
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    others = [p for name, p in model.named_parameters() if not name.endswith("bias")]
    return [{"params": others, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]


def _batches(data: DistillationData, trainer: Trainer) -> Iterator[Batch]:
    """Batches without end, from the first that the trainer has not drawn yet."""
    for names in islice(_endless(data, trainer.settings, trainer.seed), trainer.drawn, None):
        trainer.drawn += 1
        if (batch := data.batch(names)) is not None:
            yield batch


def _endless(data: DistillationData, settings: DistillSettings, seed: int) -> Iterator[list[str]]:
    epoch = 0
    while True:
        yield from data.drawn(settings.batch_seconds, settings.buckets, seed * 100_003 + epoch, shuffle=True)
        epoch += 1
