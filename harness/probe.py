"""The probe: train a task's head on frozen states, choose on dev, predict test once."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from harness.features import TOGETHER, Advance, Extractor, TooManyBadFiles
from harness.outputs import OUTPUTS, Outputs
from harness.sampling import Sampler, macro_weights
from tasks.audio import SAMPLE_RATE, AudioError
from tasks.base import Item, Prediction, ProbeSettings, Splits, Task
from tasks.heads import Grid, centred
from tasks.optimizer import GridAdamW

EVALUATION_BATCH = 32
IN_VAIN = 100  # updates that all heads may skip at the start before a probe is given up
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
) -> FoldResult:
    """Extract, train the grid of learning rates, select on dev and predict test once.

    advance: progress, one unit an utterance extracted and one an update. Raises NotFiniteError if no head can be
    trained.
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
    best, skipped = _train(outputs, grid, examples, splits["dev"], seed, advance)
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
        skipped=sorted({name for part in examples.values() for name in part.skipped}),
        layer_weights=grid.layer_weights[winner].detach().softmax(-1).tolist(),
        learning_rate=settings.learning_rates[winner],
        skipped_updates={str(rate): n for rate, n in zip(settings.learning_rates, skipped, strict=True) if n},
    )


def _train(
    outputs: Outputs,
    grid: Grid,
    examples: dict[str, Examples],
    dev: list[Item],
    seed: int,
    advance: Advance,
) -> tuple[list[tuple[float, dict[str, Tensor]]], list[int]]:
    """Train all heads on the same batches; for each, the best dev score and the whole grid's weights at that time, and
    how many updates it skipped."""
    settings, metric = outputs.settings, outputs.task.selection
    optimizer = GridAdamW(grid, settings.learning_rates, settings.weight_decay)
    train = _long_enough(examples["train"], settings.shortest, outputs.upstream.stride)
    targets = {i: outputs.target(examples["train"].items[i], examples["train"].frames[i]) for i in train}
    sampler = Sampler(
        outputs.task.batching,
        [examples["train"].items[i] for i in train],
        [len(targets[i]) if isinstance(targets[i], list) else 1 for i in train],
        [examples["train"].frames[i] * outputs.upstream.stride for i in train],
        seed,
    )
    batches = sampler.batches(settings.batch)
    best: list[tuple[float, dict[str, Tensor]]] = []
    for step in range(1, settings.steps + 1):
        grid.train()
        grid.begin()
        for _ in range(settings.accumulate):
            indices = [train[i] for i in next(batches)]
            states, lengths = examples["train"].batch(indices)
            losses = outputs.losses(grid(states, lengths), lengths, [targets[i] for i in indices])
            (losses.sum() / settings.accumulate).backward()
        optimizer.step(settings.clip)
        if step == min(IN_VAIN, settings.steps) and not any(optimizer.updates):
            raise NotFiniteError(f"no gradient was finite in {step} updates, whatever the learning rate")
        advance(1)
        if step % settings.eval_every == 0 or step == settings.steps:
            scores = _dev_scores(outputs, grid, examples["dev"], dev)
            weights = copy.deepcopy(grid.state_dict())
            best = [
                (score, weights) if not best or _better(score, best[g][0], metric.higher_is_better) else best[g]
                for g, score in enumerate(scores)
            ]
    return best, [settings.steps - count for count in optimizer.updates]


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
