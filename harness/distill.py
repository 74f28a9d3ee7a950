"""Distillation: a student learns from a frozen teacher by an objective (arXiv 2312.09040)."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
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

LIMIT = 5  # batches that may be set aside because a loss or gradient is not finite
SHOWN = 8  # ids of each of them in an error


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
    """One distillation in progress: optimiser, schedule, the step it has come to and the batches drawn so far.

    set_aside: one dict for each batch, or for the batches of one update, whose loss or gradient was not finite: the
    step, what was not finite, its value as text, and the ids of the utterances, which are not used again.
    """

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
        self.set_aside: list[dict[str, Any]] = []
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

    def update(self, batches: list[Batch]) -> float | None:
        """One step of the optimiser on the mean loss of some batches, which is returned.

        None if a loss or the gradient is not finite: the batches at fault are set aside, and weights, optimiser,
        schedule and step stay as they are.
        """
        self.model.train()
        total = 0.0
        for place, batch in enumerate(batches):
            mask = self._mask(batch, place) if self.criterion.masks else None
            loss = self._loss(batch, mask) / len(batches)
            total += loss.item()
            if not math.isfinite(total):
                self._leave("loss", loss.item(), [batch], self.step + 1)
                return None
            self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip).item()
        if not math.isfinite(norm):
            self._leave("gradient norm", norm, batches, self.step + 1)
            return None
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1
        return total

    @property
    def rate(self) -> float:
        """The learning rate of the next update."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    @property
    def left_out(self) -> dict[str, str]:
        """Why utterances were set aside, by their ids."""
        return {id: _spelt(entry) for entry in self.set_aside for id in entry["ids"]}

    def batch(self, data: DistillationData, names: list[str]) -> Batch | None:
        """The utterances of those names but for what was set aside; None if none of them can be used."""
        left_out = self.left_out
        return data.batch([name for name in names if name not in left_out])

    def _leave(self, what: str, value: float, batches: Sequence[Batch], step: int) -> None:
        self.optimizer.zero_grad()
        ids = [id for batch in batches for id in batch.ids]
        self.set_aside.append({"step": step, "what": what, "value": str(value), "ids": ids})

    @torch.no_grad()
    def validate(self, valid: DistillationData) -> float | None:
        """The mean loss per utterance, in eval mode and without masking.

        Batches whose loss is not finite are set aside; None if there is no other, or if there are too many of them.
        Raises DistillationError if no utterance can be read.
        """
        self.model.eval()
        total = count = 0.0
        before = len(self.set_aside)
        for names in valid.drawn(self.settings.batch_seconds, 1, 0, shuffle=False):
            if (batch := self.batch(valid, names)) is None:
                continue
            loss = self._loss(batch, None).item()
            if math.isfinite(loss):
                total += loss * len(batch.lengths)
                count += len(batch.lengths)
            else:
                self._leave("validation loss", loss, [batch], self.step)
            if len(self.set_aside) > LIMIT:
                return None
        if not count and len(self.set_aside) == before:
            raise DistillationError("none of the utterances to validate on can be read: see `harness doctor --corpora`")
        return total / count if count else None

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
        rng = np.random.default_rng([self.seed, self.step + 1, place])
        return draw_mask(frames, rng).to(self.accelerator.device)

    def state(self) -> dict[str, Any]:
        """All that an interrupted distillation needs to go on."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "drawn": self.drawn,
            "set_aside": self.set_aside,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.accelerator.device.type == "cuda" else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.drawn, self.set_aside = state["step"], state["drawn"], state["set_aside"]
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and self.accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"])


def distill(
    trainer: Trainer,
    train: DistillationData,
    valid: DistillationData,
    save: Callable[[], None],
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Train to the end from where the trainer is.

    save: called after every validation. report: gets one dict per update: step, loss, valid_loss, learning_rate,
    seconds. Where something was not finite it has set_aside too, as Trainer does, and no loss if the update was
    skipped; such an update is tried again with the next batches. Raises DistillationError if there is nothing to learn
    from, or if more than LIMIT batches were set aside or all of those to validate on; the last state saved stays.
    """
    if not (train.items and valid.items):
        raise DistillationError(
            f"{len(train.items)} utterances to learn from and {len(valid.items)} to validate on: expected some of each"
        )
    settings, started = trainer.settings, time.perf_counter()
    batches = _batches(train, trainer)
    while trainer.step < settings.steps:
        step, rate, before = trainer.step + 1, trainer.rate, len(trainer.set_aside)
        loss = trainer.update(list(islice(batches, settings.accumulate)))
        due = loss is not None and (step % settings.validate_every == 0 or step == settings.steps)
        valid_loss = trainer.validate(valid) if due else None
        row = {"step": step, "loss": loss, "valid_loss": valid_loss, "learning_rate": rate}
        row["seconds"] = round(time.perf_counter() - started, 2)
        report(row | ({"set_aside": news} if (news := trainer.set_aside[before:]) else {}))
        if len(trainer.set_aside) > LIMIT:
            raise _given_up(trainer, f"{len(trainer.set_aside)} batches are not finite, more than the limit of {LIMIT}")
        if due and valid_loss is None:
            raise _given_up(trainer, "none of the utterances to validate on is left")
        if due:
            save()
    trainer.model.eval()


def told(row: Mapping[str, Any]) -> list[str]:
    """One line for each entry of a row of the curve that says what was set aside."""
    return [f"set aside: {', '.join(entry['ids'])}: {_spelt(entry)}" for entry in row.get("set_aside", ())]


def _spelt(entry: Mapping[str, Any]) -> str:
    return f"{entry['what']} {entry['value']} at step {entry['step']}"


def _given_up(trainer: Trainer, why: str) -> DistillationError:
    """The error with its evidence, of which the curve holds all."""
    seen = []
    for entry in trainer.set_aside:
        shown, more = entry["ids"][:SHOWN], len(entry["ids"]) - SHOWN
        seen.append(f"{_spelt(entry)} with {', '.join(shown)}{f' and {more} more' if more > 0 else ''}")
    cure = "try another --seed or --objective, or take these utterances out of the corpus"
    return DistillationError(f"{why}: {'; '.join(seen)}: {cure}")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """All parameters, weight decay on everything but biases, as the field's recipes do (model-zoo.md 8.1)."""
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    others = [p for name, p in model.named_parameters() if not name.endswith("bias")]
    return [{"params": others, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]


def _batches(data: DistillationData, trainer: Trainer) -> Iterator[Batch]:
    """Batches without end, from the first that the trainer has not drawn yet.

    Raises DistillationError if a whole epoch has none that can be used.
    """
    in_vain = 0
    for names in islice(_endless(data, trainer.settings, trainer.seed), trainer.drawn, None):
        trainer.drawn += 1
        in_vain += 1
        if (batch := trainer.batch(data, names)) is not None:
            in_vain = 0
            yield batch
        elif in_vain >= len(data.items):
            raise _given_up(trainer, "none of the utterances to learn from is left")


def _endless(data: DistillationData, settings: DistillSettings, seed: int) -> Iterator[list[str]]:
    epoch = 0
    while True:
        yield from data.drawn(settings.batch_seconds, settings.buckets, seed * 100_003 + epoch, shuffle=True)
        epoch += 1
