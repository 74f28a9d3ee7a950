"""The probe: train a task's head on frozen states, choose on dev, predict test once."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from harness.features import TOGETHER, Advance, Extractor, TooManyBadFiles
from harness.outputs import OUTPUTS, Outputs
from harness.sampling import Sampler, macro_weights
from harness.states import StateFile
from tasks.audio import SAMPLE_RATE, AudioError
from tasks.base import Item, Prediction, ProbeSettings, Splits, Task
from tasks.heads import Grid, centred
from tasks.optimizer import GridAdamW

EVALUATION_BATCH = 32
IN_VAIN = 100  # updates that all heads may skip at the start before a probe is given up
SAVE_EVERY = 60.0  # seconds between two saved states of one training: shorter ones never pay for it
Hypotheses = dict[str, Any]  # by id of the utterance


class NotFiniteError(RuntimeError):
    """A probe none of whose heads can be trained, since no gradient is finite."""


@dataclass(frozen=True)
class FoldResult:
    """One trained probe: its test predictions and how they came about.

    dev_score, dev_scores: percent, of the winner and of each candidate (learning rates, or the states of a search).
    layer_weights: share of each state in the sum that the head sees. skipped_updates: how many, of each candidate that
    skipped some because a gradient was not finite (superb-protocol 1.4).
    """

    predictions: list[Prediction]
    dev_score: float
    dev_scores: dict[str, float]
    seconds: dict[str, float]
    skipped: list[str]
    layer_weights: list[float]
    learning_rate: float | None = None
    skipped_updates: dict[str, int] = field(default_factory=dict)


class Examples:
    """The utterances of one split with their states: means in memory, frames as the extractor keeps them."""

    def __init__(self, items: Sequence[Item], outputs: Outputs, extractor: Extractor, advance: Advance) -> None:
        self.pooled, self.chain, self.extractor = outputs.task.head == "pooled", outputs.task.audio, extractor
        self.items: list[Item] = []
        self.skipped: list[str] = []  # what cannot be used, and why
        self.frames: list[int] = []  # of each utterance; 1 for means
        means = []
        # Few at a time: frames that find no room are gone again when the next ones come.
        for start in range(0, len(items), step := 1024 if self.pooled else TOGETHER):
            some = items[start : start + step]
            extract = extractor.means if self.pooled else extractor.frames
            for item, state in zip(some, extract(some, self.chain, advance), strict=True):
                if state is None:
                    self.skipped.append(f"{item.id}: {extractor.skipped[item.id]}")
                    continue
                frames = 1 if self.pooled else state.shape[1]
                if frames < outputs.shortest:
                    self.skipped.append(f"{item.id}: {frames} frames, fewer than the {outputs.shortest} of the head")
                    continue
                self.items.append(item)
                self.frames.append(frames)
                means += [state] if self.pooled else []
        if items and not self.items:
            raise TooManyBadFiles(f"none of {len(items)} utterances can be used; the last: {self.skipped[-1]}")
        self._means = centred(means) if means else torch.empty(0)

    def batch(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """States padded to (batch, states, frames, dim), or centred means (batch, states + 1, dim), and lengths in
        frames (1 for means)."""
        lengths = torch.tensor([self.frames[i] for i in indices])
        if self.pooled:
            return self._means.index_select(1, torch.tensor(indices)).transpose(0, 1), lengths
        items = [self.items[i] for i in indices]
        frames = []
        for item, state in zip(items, self.extractor.frames(items, self.chain), strict=True):
            if state is None:
                raise AudioError(f"{self.extractor.skipped[item.id]}: it could be read before")
            frames.append(state.transpose(0, 1))
        return pad_sequence(frames, batch_first=True).transpose(1, 2), lengths


def run_fold(
    task: Task,
    splits: Splits,
    extractor: Extractor,
    settings: ProbeSettings,
    seed: int,
    advance: Advance,
    kept: StateFile | None = None,
) -> FoldResult:
    """Extract, train the grid of learning rates, select on dev and predict test once.

    advance: progress, one unit an utterance extracted and one an update. kept: from where a stopped training goes on.
    Raises NotFiniteError if no head can be trained.
    """
    started = time.perf_counter()
    outputs = OUTPUTS[task.head](task, splits["train"], extractor.upstream, settings)
    files = {name: outputs.utterances(splits[name]) for name in ("dev", "train", "test")}
    if task.head != "pooled":
        extractor.keep([item for part in files.values() for item in part], task.audio)
    examples = {name: Examples(items, outputs, extractor, advance) for name, items in files.items()}
    for name in ("dev", "test"):
        outputs.check_left(splits[name], {item.id for item in examples[name].items})
    extracted = time.perf_counter()
    torch.manual_seed(seed)
    grid = outputs.grid()
    training = _Training(outputs, grid, examples, splits["dev"], seed)
    skipped = sorted({name for part in examples.values() for name in part.skipped})
    best = training.run(advance, replace(kept, config=kept.config | {"skipped": skipped}) if kept else None)
    trained = time.perf_counter()
    sign = 1 if task.selection.higher_is_better else -1
    winner = max(range(len(best)), key=lambda g: sign * best[g][0])
    grid.load_state_dict(best[winner][1])
    dev = outputs.rows(splits["dev"], _predict(outputs, grid, examples["dev"])[winner])
    test = outputs.rows(splits["test"], _predict(outputs, grid, examples["test"])[winner])
    outputs.settle(dev, test)
    return FoldResult(
        predictions=test,
        dev_score=best[winner][0],
        dev_scores={str(rate): score for rate, (score, _) in zip(settings.learning_rates, best, strict=True)},
        seconds={
            "extract": extracted - started,
            "train": trained - extracted,
            "test": time.perf_counter() - trained,
        },
        skipped=skipped,
        layer_weights=grid.layer_weights[winner].detach().softmax(-1).tolist(),
        learning_rate=settings.learning_rates[winner],
        skipped_updates={
            str(rate): settings.steps - updates
            for rate, updates in zip(settings.learning_rates, training.optimizer.updates, strict=True)
            if updates < settings.steps
        },
    )


class _Training:
    """All heads on the same batches; for each, the best dev score and the whole grid's weights at that time."""

    def __init__(self, outputs: Outputs, grid: Grid, examples: dict[str, Examples], dev: list[Item], seed: int) -> None:
        settings, train = outputs.settings, examples["train"]
        self.outputs, self.grid, self.examples, self.dev = outputs, grid, examples, dev
        self.optimizer = GridAdamW(grid, settings.learning_rates, settings.weight_decay)
        self.usable = _long_enough(train, settings.shortest, outputs.upstream.stride)
        self.targets = {i: outputs.target(train.items[i], train.frames[i]) for i in self.usable}
        self.sampler = Sampler(
            outputs.task.batching,
            [train.items[i] for i in self.usable],
            [len(self.targets[i]) if isinstance(self.targets[i], list) else 1 for i in self.usable],
            [train.frames[i] * outputs.upstream.stride for i in self.usable],
            seed,
        )
        self.step = 0
        self.best: list[tuple[float, dict[str, Tensor]]] = []

    def run(self, advance: Advance, kept: StateFile | None) -> list[tuple[float, dict[str, Tensor]]]:
        """Train to the end, from the state kept if there is one that fits. Raises NotFiniteError if no head can be."""
        settings = self.outputs.settings
        if kept and (state := kept.read()):
            self._restore(state)
            advance(self.step)
        batches = islice(self.sampler.batches(settings.batch), self.step * settings.accumulate, None)
        saved = time.monotonic()
        while self.step < settings.steps:
            self._update(list(islice(batches, settings.accumulate)))
            if self.step == min(IN_VAIN, settings.steps) and not any(self.optimizer.updates):
                raise NotFiniteError(f"no gradient was finite in {self.step} updates, whatever the learning rate")
            advance(1)
            if self.step % settings.eval_every == 0 or self.step == settings.steps:
                self._look()
                if kept and time.monotonic() - saved >= SAVE_EVERY:
                    kept.write(self._state())
                    saved = time.monotonic()
        return self.best

    def _update(self, batches: list[list[int]]) -> None:
        self.grid.train()
        self.grid.begin()
        for batch in batches:
            indices = [self.usable[i] for i in batch]
            states, lengths = self.examples["train"].batch(indices)
            losses = self.outputs.losses(self.grid(states, lengths), lengths, [self.targets[i] for i in indices])
            (losses.sum() / len(batches)).backward()
        self.optimizer.step(self.outputs.settings.clip)
        self.step += 1

    def _look(self) -> None:
        """Score all heads on dev, and keep the weights of those that are better than before."""
        higher_is_better = self.outputs.task.selection.higher_is_better
        scores = _dev_scores(self.outputs, self.grid, self.examples["dev"], self.dev)
        weights = copy.deepcopy(self.grid.state_dict())
        self.best = [
            (score, weights) if not self.best or _better(score, self.best[g][0], higher_is_better) else self.best[g]
            for g, score in enumerate(scores)
        ]

    def _state(self) -> dict[str, Any]:
        return {
            "grid": self.grid.state_dict(),
            "optimizer": self.optimizer.state(),
            "step": self.step,
            "best": self.best,
            "random": torch.get_rng_state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.grid.load_state_dict(state["grid"])
        self.optimizer.restore(state["optimizer"])
        self.step, self.best = state["step"], state["best"]
        torch.set_rng_state(state["random"])


def _long_enough(train: Examples, shortest: float, stride: int) -> list[int]:
    """Indices of the training utterances of more than `shortest` seconds. Raises TooManyBadFiles if there is none."""
    found = [i for i, frames in enumerate(train.frames) if train.pooled or frames * stride >= shortest * SAMPLE_RATE]
    if not found:
        raise TooManyBadFiles(f"none of {len(train.items)} training utterances lasts {shortest} s or more")
    return found


def _better(score: float, best: float, higher_is_better: bool) -> bool:
    """Strictly: a tie keeps the earlier checkpoint (superb-protocol 1.7)."""
    return score > best if higher_is_better else score < best


@torch.inference_mode()
def _predict(outputs: Outputs, grid: Grid, examples: Examples) -> list[Hypotheses]:
    """Every head's hypotheses for all utterances."""
    grid.eval()
    order = sorted(range(len(examples.items)), key=lambda i: examples.frames[i])
    hypotheses: list[Hypotheses] = [{} for _ in range(grid.size)]
    for start in range(0, len(order), EVALUATION_BATCH):
        indices = order[start : start + EVALUATION_BATCH]
        states, lengths = examples.batch(indices)
        for g, logits in enumerate(grid(states, lengths)):
            for row, index in enumerate(indices):
                hypotheses[g][examples.items[index].id] = outputs.hypothesis(logits[row], int(lengths[row]))
    return hypotheses


def _dev_scores(outputs: Outputs, grid: Grid, examples: Examples, dev: list[Item]) -> list[float]:
    """Every head's score on dev; for a class-balanced task the expectation of the protocol's random draw."""
    tables = [outputs.rows(dev, hypotheses) for hypotheses in _predict(outputs, grid, examples)]
    if outputs.task.batching != "balanced":
        return [outputs.task.selection.score(rows) for rows in tables]
    weights = dict(zip((item.id for item in examples.items), macro_weights(examples.items), strict=True))
    total = sum(weights.values())
    return [
        100 * sum(weights[row["id"]] for row in rows if row["reference"] == row["hypothesis"]) / total
        for rows in tables
    ]
