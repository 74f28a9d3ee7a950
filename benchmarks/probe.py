"""How fast probes train here, beside the way they are ordinarily trained, on the same recordings, heads and batches.

Run by hand on an idle machine: `python benchmarks/probe.py`, or with --quick to see that it works. The two ways are
timed in turn and medians are compared. The ordinary way computes the upstream's states at every step, on a padded
batch, and keeps no statistics.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from harness.features import Extractor, read_item
from harness.probe import run_fold
from harness.provenance import device_name
from students.upstreams import Upstream, untrained
from tasks.audio import SAMPLE_RATE, write_audio
from tasks.base import Item, Task
from tasks.heads import BiLSTM, LinearGrid, RecurrentHead, centred
from tasks.registry import load_task

CLIPS = 64  # recordings; the examples of a probe take turns with them
BATCH = 32
RATES = tuple(10 ** -(1 + i / 2) for i in range(8))
KS_UTTERANCES = 51_094 + 6_804 + 3_081  # train, dev and test of Speech Commands v0.01
Row = tuple[str, str, str]  # what was measured, the value, the target


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    size: of the student. examples: of the probe. steps: of one timed probe. long: of the probe that is scaled up.
    rounds: timings of each way. width: of the BiLSTM head, officially 1024.
    """

    size: str
    examples: int
    steps: int
    long: int
    rounds: int
    width: int


FULL = Effort("paper", 4096, 1000, 5000, 7, 1024)
QUICK = Effort("mini", 256, 50, 100, 3, 64)


class FrameHead(nn.Module):
    """The head of an utterance task on frames: weighted sum, linear, mean over valid frames, linear."""

    def __init__(self, grid: LinearGrid) -> None:
        super().__init__()
        self.layer_weights, self.inner, self.inner_bias, self.outer, self.outer_bias = (
            nn.Parameter(parameter.detach()[0].clone()) for parameter in grid.stacked()
        )

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """States (batch, states, frames, dim) and valid frames (batch,) to logits (batch, outputs)."""
        summed = torch.einsum("l,bltd->btd", self.layer_weights.softmax(0), states)
        frames = F.linear(summed, self.inner, self.inner_bias)
        valid = (torch.arange(frames.shape[1]) < lengths[:, None])[..., None]
        means = (frames * valid).sum(1) / lengths[:, None]
        return F.linear(means, self.outer, self.outer_bias)


def clips(folder: Path, classes: tuple[str, ...], shortest: float) -> list[Item]:
    """Recordings of noise, `shortest` to 1 s long; the classes take turns."""
    rng, items = np.random.default_rng(0), []
    for i, seconds in enumerate(np.linspace(1.0, shortest, CLIPS)):
        path = folder / f"{shortest}-{i}.wav"
        write_audio(path, (0.1 * rng.standard_normal(int(seconds * SAMPLE_RATE))).astype(np.float32))
        items.append(Item(path.stem, path, classes[i % len(classes)]))
    return items


def seconds(function: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference over the largest value."""
    return float((ours - theirs).detach().abs().max() / theirs.detach().abs().max())


def exactness(task: Task, upstream: Upstream, items: list[Item]) -> list[Row]:
    """Logits and gradients of one batch from the kept means, and from frames of the same utterances.

    Each way is compared with double precision on the frames: in single precision both round the gradient of the layer
    weights, a small difference of large numbers, so that their difference says little of either.
    """
    extractor = Extractor(upstream)
    frames = [states for states in extractor.frames(items, task.audio) if states is not None]
    means = [states for states in extractor.means(items, task.audio, lambda count: None) if states is not None]
    lengths = torch.tensor([states.shape[1] for states in frames])
    padded = pad_sequence([states.transpose(0, 1) for states in frames], batch_first=True).transpose(1, 2)
    targets = torch.arange(len(items)) % 12

    def both(kept: bool, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        """Logits and gradients, from the kept means or from frames."""
        torch.manual_seed(0)
        grid = LinearGrid(1, len(upstream.states), upstream.dim, 12, task.official).to(dtype)
        head = FrameHead(grid)
        grid.begin()
        if kept:
            logits = grid(centred([each.to(dtype) for each in means]).transpose(0, 1))[0]
        else:
            logits = head(padded.to(dtype), lengths)
        F.cross_entropy(logits, targets).backward()
        if not kept:
            return logits, [parameter.grad for parameter in head.parameters() if parameter.grad is not None]
        gradients = next(grid.clipped(float("inf")))
        assert gradients is not None
        return logits, gradients

    exact, rough = both(False, torch.float64), both(False, torch.float32)
    rows: list[Row] = []
    for name, ours, theirs, target in (
        ("float64, means from frames", both(True, torch.float64), exact, "<= 1e-5"),
        ("means in float32 from frames in float64", both(True, torch.float32), exact, "<= 1e-5"),
        ("frames in float32 from frames in float64", rough, exact, ""),
        ("float32, means from frames", both(True, torch.float32), rough, ""),
    ):
        worst = max(relative(a, b) for a, b in zip(ours[1], theirs[1], strict=True))
        rows += [(f"logits, {name}", f"{relative(ours[0], theirs[0]):.1e}", target)]
        rows += [(f"gradients, {name}", f"{worst:.1e}", target)]
    return rows


class Probe:
    """KS probes on the means of many examples, trained by the engine."""

    def __init__(self, task: Task, upstream: Upstream, items: list[Item], examples: int) -> None:
        self.task, self.extractor = task, Extractor(upstream)
        train = [replace(items[i % CLIPS], id=str(i)) for i in range(examples)]
        self.splits = {"train": train, "dev": items[:BATCH], "test": items[:BATCH]}
        self.train(1, RATES[:1])

    def train(self, steps: int, rates: tuple[float, ...]) -> float:
        """Seconds of so many updates and one look at dev."""
        settings = replace(self.task.official, steps=steps, eval_every=steps, learning_rates=rates)
        return run_fold(self.task, self.splits, self.extractor, settings, 0, lambda count: None).seconds["train"]

    def extraction(self) -> float:
        """Seconds per utterance to compute the states and keep their means."""
        extractor, clips = Extractor(self.extractor.upstream), self.splits["train"][:CLIPS]
        return seconds(lambda: extractor.means(clips, self.task.audio, lambda count: None)) / CLIPS

    def kept(self) -> int:
        """Bytes of one utterance's means."""
        means = self.extractor.means(self.splits["dev"][:1], self.task.audio, lambda count: None)[0]
        assert means is not None
        return means.numel() * means.element_size()


class Ordinary:
    """The same probe as S3PRL trains it, on the same recordings."""

    def __init__(self, task: Task, upstream: Upstream, items: list[Item]) -> None:
        self.upstream, self.rng = upstream, np.random.default_rng(0)
        self.waves = [torch.from_numpy(read_item(item, task.audio)) for item in items]
        self.head = FrameHead(LinearGrid(1, len(upstream.states), upstream.dim, 12, task.official))
        self.optimizer = torch.optim.Adam(self.head.parameters(), 1e-3)

    def step(self) -> None:
        """One update."""
        drawn = self.rng.integers(CLIPS, size=BATCH)
        waves = [self.waves[i] for i in drawn]
        states, lengths = self.upstream(
            pad_sequence(waves, batch_first=True), torch.tensor([len(wave) for wave in waves])
        )
        self.optimizer.zero_grad()
        F.cross_entropy(self.head(torch.stack(states, 1), lengths), torch.from_numpy(drawn % 12)).backward()
        nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        self.optimizer.step()


def keyword_rows(task: Task, upstream: Upstream, items: list[Item], effort: Effort) -> list[Row]:
    """Speed of KS probes, what a grid of rates costs, and what is kept."""
    probe, ordinary = Probe(task, upstream, items, effort.examples), Ordinary(task, upstream, items)
    ordinary.step()
    one, eight, slow = [], [], []
    for _ in range(effort.rounds):
        one.append(probe.train(effort.steps, RATES[:1]) / effort.steps)
        slow.append(seconds(ordinary.step))
        eight.append(probe.train(effort.steps, RATES) / effort.steps)
    per_step = [probe.train(effort.long, RATES[:rates]) / effort.long for rates in (1, 2)]
    projected = [f"{200_000 * each / 60:.1f} min" for each in per_step]
    kept, extracted = probe.kept(), KS_UTTERANCES * median(probe.extraction() for _ in range(effort.rounds))
    whole = [extracted + 200_000 * median(each) for each in (one, eight)]
    return [
        ("KS step, states computed each time", f"{1e3 * median(slow):.0f} ms, {1 / median(slow):.2f} a second", ""),
        ("KS step, means kept", f"{1e3 * median(one):.2f} ms, {1 / median(one):.0f} a second", ""),
        ("ratio", f"{median(slow) / median(one):.0f}", ">= 100"),
        ("KS step, 8 learning rates at once", f"{1e3 * median(eight):.2f} ms", ""),
        (
            "cost of 8 rates over one, updates alone",
            f"{median(e / o for e, o in zip(eight, one, strict=True)):.2f}",
            "< 2",
        ),
        (f"200 000 steps, one rate, scaled from {effort.long}", projected[0], ""),
        (f"200 000 steps, two rates, scaled from {effort.long}", projected[1], ""),
        (
            "whole official KS probe, scaled, one rate",
            f"{whole[0] / 60:.0f} min, {extracted / 60:.0f} of them states",
            "",
        ),
        ("cost of 8 rates over one, whole probe", f"{whole[1] / whole[0]:.2f}", "< 2"),
        ("kept per utterance", f"{kept} bytes", ""),
        (f"kept for the {KS_UTTERANCES} utterances of KS", f"{kept * KS_UTTERANCES / 1e9:.2f} GB", ""),
    ]


class Packed(nn.Module):
    """A BiLSTM head over packed sequences, with the weights of another one."""

    def __init__(self, head: RecurrentHead) -> None:
        super().__init__()
        self.head, self.layers = head, nn.ModuleList()
        for layer in head.recurrent:
            assert isinstance(layer, BiLSTM)
            ahead, back = layer.forwards, layer.backwards
            packed = nn.LSTM(ahead.input_size, ahead.hidden_size, batch_first=True, bidirectional=True)
            reverse = {f"{name}_reverse": value for name, value in back.state_dict().items()}
            packed.load_state_dict(ahead.state_dict() | reverse)
            self.layers.append(packed)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Features (batch, frames, dim) to logits (batch, frames, outputs)."""
        x = self.head.project(x)
        for layer in self.layers:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            x = self.head.dropout(pad_packed_sequence(layer(packed)[0], batch_first=True)[0])
        return self.head.output(x)


def recurrent_rows(dim: int, effort: Effort) -> list[Row]:
    """Forward, CTC and backward of the BiLSTM head of ASR on 16 utterances of 3.5 to 4 s, against packed sequences."""
    task = load_task("asr")
    settings = replace(task.official, hidden=effort.width, recurrent=effort.width)
    torch.manual_seed(0)
    ours = RecurrentHead(dim, 32, settings)
    theirs = Packed(ours)
    lengths = torch.linspace(199, 174, 16).long()
    x, targets = torch.randn(16, 199, dim), torch.randint(1, 32, (16, 50))

    def step(head: nn.Module) -> None:
        head.zero_grad()
        log_probabilities = head(x, lengths).log_softmax(-1).transpose(0, 1)
        F.ctc_loss(log_probabilities, targets, lengths, torch.full((16,), 50), zero_infinity=True).backward()

    fast, slow = [], []
    for _ in range(max(effort.rounds // 2, 1)):
        fast.append(seconds(lambda: step(ours)))
        slow.append(seconds(lambda: step(theirs)))
    with torch.no_grad():
        valid = torch.arange(199) < lengths[:, None]
        difference = relative(ours.eval()(x, lengths)[valid], theirs.eval()(x, lengths)[valid])
    return [
        (f"BiLSTM-CTC step, width {effort.width}, packed", f"{median(slow):.2f} s", ""),
        (f"BiLSTM-CTC step, width {effort.width}, padded", f"{median(fast):.2f} s", ""),
        ("ratio", f"{median(slow) / median(fast):.1f}", ">= 3"),
        ("logits, largest relative difference", f"{difference:.1e}", ""),
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that the script works")
    arguments = parser.parse_args()
    effort = QUICK if arguments.quick else FULL
    task, upstream = load_task("ks"), untrained("starhubert", effort.size, 0)
    assert task.classes is not None
    classes = task.classes([])[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = exactness(task, upstream, clips(Path(folder), classes, 0.5)[::2])
        rows += keyword_rows(task, upstream, clips(Path(folder), classes, 1.0), effort)
    rows += recurrent_rows(upstream.dim, effort)
    where = f"{device_name('cpu')}, torch {torch.__version__}"
    table = Table(title=f"Probes on starhubert ({effort.size} size, {upstream.parameters / 1e6:.1f} M)", caption=where)
    for column in ("", "measured", "target"):
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
