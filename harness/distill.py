"""Distillation: a student learns a frozen teacher's temporal relations (arXiv 2312.09040)."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from harness.features import PLAIN, Advance, Extractor, read_item
from harness.schedule import warmup_cosine
from students.encoded import Encoded
from students.encoder import SpeechEncoder
from students.objective_names import parse
from tasks.audio import SAMPLE_RATE
from tasks.base import Item


class DistillationError(RuntimeError):
    """A distillation that cannot go on; the message says at which step and what was seen."""


@dataclass(frozen=True)
class DistillSettings:
    """How a student is distilled (star-objective.md, "Training settings known").

    batch_seconds: audio per update; buckets: number of length classes that batches are drawn from; warmup: share of
    the steps with a rising rate, a cosine falls to zero after it; validate_every: updates between two validations.
    """

    objective: str
    steps: int
    batch_seconds: float
    learning_rate: float
    warmup: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.01
    clip: float = 1.0
    buckets: int = 8
    validate_every: int = 50


@dataclass(frozen=True)
class Batch:
    """Waveforms (batch, samples), lengths (batch,) in samples, and the teacher's states (batch, frames, dim)."""

    waves: Tensor
    lengths: Tensor
    teacher: list[Tensor]


class DistillationData:
    """Utterances in memory with the teacher's states for them, which are computed once and reused at every epoch."""

    def __init__(self, items: list[Item], teacher: Extractor, advance: Advance) -> None:
        states = teacher.frames(items, PLAIN, advance)
        kept = [(item, state) for item, state in zip(items, states, strict=True) if state is not None]
        self.states = {item.id: state for item, state in kept}
        self.waves = {item.id: torch.from_numpy(read_item(item)) for item, _ in kept}

    def batches(self, batch_seconds: float, buckets: int, seed: int, shuffle: bool) -> Iterator[Batch]:
        """Length-bucketed batches for one epoch; lhotse's sampler shards them over processes and shuffles."""
        from lhotse import CutSet, MonoCut, Recording
        from lhotse.dataset.sampling import BucketingSampler

        cuts = []
        for name, wave in self.waves.items():
            seconds = len(wave) / SAMPLE_RATE
            recording = Recording(name, [], SAMPLE_RATE, len(wave), seconds)
            cuts.append(MonoCut(name, 0.0, seconds, 0, recording=recording))
        sampler = BucketingSampler(
            CutSet.from_cuts(cuts), num_buckets=buckets, seed=seed, max_duration=batch_seconds, shuffle=shuffle
        )
        for chosen in sampler:
            yield self._collate([cut.id for cut in chosen])

    def _collate(self, names: list[str]) -> Batch:
        waves = [self.waves[name] for name in names]
        states = [self.states[name].transpose(0, 1) for name in names]
        teacher = list(pad_sequence(states, batch_first=True).unbind(2))
        return Batch(pad_sequence(waves, batch_first=True), torch.tensor([len(wave) for wave in waves]), teacher)


def distill(
    student: SpeechEncoder,
    train: DistillationData,
    valid: DistillationData,
    settings: DistillSettings,
    seed: int,
    device: str,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Train the student in place; `report` gets one dict per update: step, loss, valid_loss, learning_rate, seconds.

    The teacher is not here, only what it said of each utterance: nothing the trainer does can reach it.
    Raises DistillationError if the loss is not finite.
    """
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="bf16" if device == "cuda" else "no")
    optimizer = torch.optim.AdamW(
        parameter_groups(student, settings.weight_decay), settings.learning_rate, settings.betas, settings.eps
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, settings.steps, settings.warmup)
    )
    model, optimizer, schedule = accelerator.prepare(student, optimizer, schedule)
    started = time.perf_counter()
    torch.manual_seed(seed)
    batches = _endless(train, settings, seed)
    for step in range(1, settings.steps + 1):
        model.train()
        with accelerator.autocast():
            loss = batch_loss(model, next(batches), settings.objective, accelerator.device)
        if not math.isfinite(loss.item()):
            raise DistillationError(f"the loss is {loss.item()} at step {step}: lower the learning rate")
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), settings.clip)
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        due = step % settings.validate_every == 0 or step == settings.steps
        report(
            {
                "step": step,
                "loss": loss.item(),
                "valid_loss": validation_loss(model, valid, settings, accelerator.device) if due else None,
                "learning_rate": rate,
                "seconds": round(time.perf_counter() - started, 2),
            }
        )
    student.eval()


def batch_loss(model: nn.Module, batch: Batch, objective: str, device: torch.device) -> Tensor:
    """The objective on one batch: all states of the student, state 0 included, against the teacher's."""
    states, frames = model(batch.waves.to(device), batch.lengths)
    theirs = [state.to(device) for state in batch.teacher]
    ours, target = (Encoded(inside[0][..., :0], inside, frames) for inside in (states, theirs))
    return parse(objective)(ours, target)


@torch.no_grad()
def validation_loss(
    model: nn.Module, valid: DistillationData, settings: DistillSettings, device: torch.device
) -> float:
    """The mean loss per utterance on held-out speakers, in eval mode."""
    model.eval()
    total = count = 0.0
    for batch in valid.batches(settings.batch_seconds, 1, 0, shuffle=False):
        total += batch_loss(model, batch, settings.objective, device).item() * len(batch.lengths)
        count += len(batch.lengths)
    return total / count


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """All parameters, weight decay on everything but biases, as the field's recipes do (model-zoo.md 8.1)."""
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    others = [p for name, p in model.named_parameters() if not name.endswith("bias")]
    return [{"params": others, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]


def _endless(data: DistillationData, settings: DistillSettings, seed: int) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from data.batches(settings.batch_seconds, settings.buckets, seed * 100_003 + epoch, shuffle=True)
        epoch += 1
