"""The probe: train a task's head on frozen states, choose on dev, predict test once."""

import copy
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from harness.features import Advance, Extractor
from harness.sampling import Sampler, macro_weights
from tasks.base import Item, ProbeSettings, Splits, Task
from tasks.heads import Grid, LinearGrid, RecurrentGrid

EVALUATION_BATCH = 32


@dataclass(frozen=True)
class FoldResult:
    """One trained probe: its test score and predictions, and how its learning rate was chosen on dev."""

    score: float
    predictions: list[dict[str, Any]]
    learning_rate: float
    dev_score: float
    dev_scores: dict[float, float]
    layer_weights: list[float]
    skipped: list[str]
    seconds: dict[str, float]


@dataclass
class Examples:
    """One split in memory: items with their states, (states, dim) means or (states, frames, dim) frames."""

    items: list[Item]
    states: list[Tensor]
    targets: list[list[int]]

    def batch(self, indices: list[int]) -> tuple[Tensor, Tensor, list[list[int]]]:
        """States padded to (batch, states, [frames,] dim), lengths in frames (1 for means), and targets."""
        states = [self.states[i] for i in indices]
        targets = [self.targets[i] for i in indices]
        if states[0].ndim == 2:
            return torch.stack(states), torch.ones(len(states), dtype=torch.long), targets
        lengths = torch.tensor([state.shape[1] for state in states])
        padded = pad_sequence([state.transpose(0, 1) for state in states], batch_first=True)
        return padded.transpose(1, 2), lengths, targets


class Vocabulary:
    """A task's outputs: class names of a classifier, or the symbols of a CTC task."""

    def __init__(self, task: Task, train: list[Item]) -> None:
        self.task = task
        self.classes = task.classes or tuple(sorted({item.label for item in train}))
        self.size = task.units if task.encode else len(self.classes)
        self._index = {label: i for i, label in enumerate(self.classes)}

    def encode(self, label: str) -> list[int]:
        """Output indices of a label: one for a classifier, one per symbol for a CTC task."""
        return self.task.encode(label) if self.task.encode else [self._index[label]]

    def decode(self, logits: Tensor, length: int) -> str:
        """The hypothesis in an item's logits: (outputs,) of a classifier, (frames, outputs) of a CTC task."""
        if self.task.decode:
            return self.task.decode(logits[:length].argmax(-1).tolist())
        return self.classes[int(logits.argmax(-1))]


def run_fold(
    task: Task,
    splits: Splits,
    extractor: Extractor,
    settings: ProbeSettings,
    seed: int,
    advance: Advance,
) -> FoldResult:
    """Extract, train the grid of learning rates, select on dev and score test once.

    advance: progress, one unit an item extracted and one an update.
    """
    started = time.perf_counter()
    vocabulary = Vocabulary(task, splits["train"])
    examples = {name: _examples(task, items, extractor, vocabulary, advance) for name, items in splits.items()}
    extracted = time.perf_counter()
    torch.manual_seed(seed)
    grid = make_grid(task, examples["train"], vocabulary.size, settings)
    best = _train(task, grid, examples, vocabulary, settings, seed, advance)
    trained = time.perf_counter()
    winner = max(range(len(best)), key=lambda g: best[g][0] if task.higher_is_better else -best[g][0])
    grid.load_state_dict(best[winner][1])
    hypotheses = _predict(grid, examples["test"], vocabulary)[winner]
    test = examples["test"].items
    return FoldResult(
        score=task.score([item.label for item in test], hypotheses),
        predictions=[
            {"id": item.id, "reference": item.label, "hypothesis": hypothesis}
            for item, hypothesis in zip(test, hypotheses, strict=True)
        ],
        learning_rate=settings.learning_rates[winner],
        dev_score=best[winner][0],
        dev_scores={rate: score for rate, (score, _) in zip(settings.learning_rates, best, strict=True)},
        layer_weights=grid.layer_weights[winner].detach().softmax(-1).tolist(),
        skipped=sorted(id for id in extractor.skipped if id in {item.id for part in splits.values() for item in part}),
        seconds={
            "extract": extracted - started,
            "train": trained - extracted,
            "test": time.perf_counter() - trained,
        },
    )


def _examples(
    task: Task, items: list[Item], extractor: Extractor, vocabulary: Vocabulary, advance: Advance
) -> Examples:
    extract = extractor.means if task.head == "pooled" else extractor.frames
    states = extract(items, task.gain_db, advance)
    usable = [(item, state) for item, state in zip(items, states, strict=True) if state is not None]
    kept = [item for item, _ in usable]
    return Examples(kept, [state for _, state in usable], [vocabulary.encode(item.label) for item in kept])


def make_grid(task: Task, train: Examples, outputs: int, settings: ProbeSettings) -> Grid:
    """The task's head, one copy per learning rate."""
    num_states, dim = train.states[0].shape[0], train.states[0].shape[-1]
    kind = RecurrentGrid if task.head == "ctc-bilstm" else LinearGrid
    return kind(len(settings.learning_rates), num_states, dim, outputs, settings)


def _train(
    task: Task,
    grid: Grid,
    examples: dict[str, Examples],
    vocabulary: Vocabulary,
    settings: ProbeSettings,
    seed: int,
    advance: Advance,
) -> list[tuple[float, dict[str, Tensor]]]:
    """Train all heads on the same batches; for each, the best dev score and the whole grid's weights at that time."""
    optimizer = torch.optim.Adam(grid.groups(settings.learning_rates))
    train, dev = examples["train"], examples["dev"]
    sampler = Sampler(task.batching, train.items, [len(target) for target in train.targets], _sizes(train), seed)
    batches = sampler.batches(settings.batch)
    best: list[tuple[float, dict[str, Tensor]]] = []
    for step in range(1, settings.steps + 1):
        grid.train()
        states, lengths, targets = train.batch(next(batches))
        loss = head_losses(grid(states, lengths), lengths, targets, task.head).sum()
        optimizer.zero_grad()
        loss.backward()
        for index in range(len(settings.learning_rates)):
            nn.utils.clip_grad_norm_(grid.of(index), settings.clip)
        optimizer.step()
        advance(1)
        if step % settings.eval_every == 0 or step == settings.steps:
            scores = _dev_scores(task, grid, dev, vocabulary)
            weights = copy.deepcopy(grid.state_dict())
            best = [
                (score, weights) if not best or _better(score, best[g][0], task.higher_is_better) else best[g]
                for g, score in enumerate(scores)
            ]
    return best


def _sizes(examples: Examples) -> list[int]:
    return [state.shape[1] for state in examples.states]


def _better(score: float, best: float, higher_is_better: bool) -> bool:
    """Strictly: a tie keeps the earlier checkpoint (superb-protocol 1.7)."""
    return score > best if higher_is_better else score < best


def head_losses(logits: Tensor, lengths: Tensor, targets: list[list[int]], head: str) -> Tensor:
    """The loss of each head of a grid (G,): cross-entropy, or CTC with blank 0 (superb-protocol 2.1 to 2.10).

    logits: (G, batch, outputs), or (G, batch, frames, outputs) for CTC.
    """
    flat = torch.tensor([index for target in targets for index in target])
    if head == "pooled":
        return torch.stack([F.cross_entropy(one, flat) for one in logits])
    sizes = torch.tensor([len(target) for target in targets])
    log_probabilities = logits.log_softmax(-1).transpose(1, 2)
    return torch.stack([F.ctc_loss(one, flat, lengths, sizes, zero_infinity=True) for one in log_probabilities])


@torch.inference_mode()
def _predict(grid: Grid, examples: Examples, vocabulary: Vocabulary) -> list[list[str]]:
    """Every head's hypotheses for all items, in the items' order."""
    grid.eval()
    order = sorted(range(len(examples.items)), key=lambda i: examples.states[i].shape[1])
    hypotheses: list[list[str]] = [[""] * len(order) for _ in grid.heads]
    for start in range(0, len(order), EVALUATION_BATCH):
        indices = order[start : start + EVALUATION_BATCH]
        states, lengths, _ = examples.batch(indices)
        for g, logits in enumerate(grid(states, lengths)):
            for row, index in enumerate(indices):
                hypotheses[g][index] = vocabulary.decode(logits[row], int(lengths[row]))
    return hypotheses


def _dev_scores(task: Task, grid: Grid, dev: Examples, vocabulary: Vocabulary) -> list[float]:
    """Every head's score on dev; for a class-balanced task the expectation of the protocol's random draw."""
    references = [item.label for item in dev.items]
    all_hypotheses = _predict(grid, dev, vocabulary)
    if task.batching != "balanced":
        return [task.score(references, hypotheses) for hypotheses in all_hypotheses]
    weights = macro_weights(dev.items)
    return [
        100 * sum(w for w, r, h in zip(weights, references, hypotheses, strict=True) if r == h) / sum(weights)
        for hypotheses in all_hypotheses
    ]
