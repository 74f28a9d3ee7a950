"""How long one step of STaR distillation takes at paper size, part by part, here and in the public reproduction's way.

Run by hand on an idle machine: `python benchmarks/distill_step.py`, or with --quick to see that it works. The
reproduction's way, written here from its description: a padded batch, the teacher at every step in fp32, all layers
stacked, N x N Gram matrices by einsum, and everything left to autograd. Here: one lever after the other. The ways are
timed in turn and medians are compared.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from harness.provenance import device_name
from students.encoded import Encoded
from students.encoder import SpeechEncoder
from students.objective_names import parse
from students.presets import Size, hubert_base, starhubert
from tasks.audio import SAMPLE_RATE

PARTS = ("teacher", "student", "loss", "backward")
BATCHES = {"4 x 5 s": [5.0] * 4, "2 x 15 s": [15.0] * 2, "4 x 5 s, of 3 to 5 s": [5.0, 4.4, 3.7, 3.0]}
STAR = parse("star")


@dataclass(frozen=True)
class Way:
    """One way to take a step. loss: of what student and teacher say. cached: whether the teacher's states are at hand.
    bf16: whether teacher, and teacher and student, compute in it where they can."""

    name: str
    loss: Callable[[Encoded, Encoded], Tensor]
    cached: bool = False
    bf16: tuple[str, ...] = ()


def stacked_gram(student: Encoded, teacher: Encoded) -> Tensor:
    """The reproduction's loss: every layer's N x N matrix at once, padding included."""
    x, y = torch.stack(student.states), torch.stack([state.detach() for state in teacher.states])
    layer = torch.einsum("lbnd,lbmd->lbnm", x, x) - torch.einsum("lbnd,lbmd->lbnm", y, y)
    intra = torch.einsum("lbnd,lbmd->lbnm", x[:-1], x[1:]) - torch.einsum("lbnd,lbmd->lbnm", y[:-1], y[1:])
    return layer.square().mean() + intra.square().mean()


WAYS = (
    Way("reproduction", stacked_gram),
    Way("our loss", STAR),
    Way("+ bf16 teacher", STAR, bf16=("teacher",)),
    Way("+ bf16 student", STAR, bf16=("teacher", "student")),
    Way("our loss, teacher states kept", STAR, cached=True),
    Way("+ bf16 student, states kept", STAR, cached=True, bf16=("student",)),
)


class Bench:
    """The networks of one size on one device, and what the teacher says of a batch in fp32."""

    def __init__(self, size: Size, seconds: list[float], device: str) -> None:
        torch.manual_seed(0)
        self.device = device
        quiet = replace(hubert_base().dims(size), hidden_dropout=0.0, attention_dropout=0.0, input_dropout=0.0)
        self.teacher = SpeechEncoder(quiet).eval().requires_grad_(False).to(device)
        self.student = SpeechEncoder(starhubert().dims(size)).train().to(device)
        self.lengths = torch.tensor([int(value * SAMPLE_RATE) for value in seconds])
        waves = 0.1 * torch.randn(len(seconds), int(self.lengths.max()))
        valid = torch.arange(waves.shape[1]) < self.lengths[:, None]
        self.waves = (waves * valid).to(device)
        self.kept = self.teacher(self.waves, self.lengths)

    def step(self, way: Way) -> dict[str, float]:
        """Seconds of each part of one step."""
        times = {}
        started = self._now()
        teacher = self.kept
        if not way.cached:
            with torch.no_grad(), self._precision("teacher" in way.bf16):
                teacher = self.teacher(self.waves, self.lengths)
        times["teacher"], started = self._now() - started, self._now()
        with self._precision("student" in way.bf16):
            student = self.student(self.waves, self.lengths)
        times["student"], started = self._now() - started, self._now()
        loss = way.loss(student, teacher)
        times["loss"], started = self._now() - started, self._now()
        loss.backward()
        times["backward"] = self._now() - started
        self.student.zero_grad(set_to_none=True)
        return times

    def loss_error(self) -> float:
        """How far the loss is off when teacher and student compute in bf16, relative to fp32 (no dropout)."""
        self.student.eval()
        exact = STAR(self.student(self.waves, self.lengths), self.kept).item()
        with torch.no_grad(), self._precision(True):
            rough = STAR(self.student(self.waves, self.lengths), self.teacher(self.waves, self.lengths)).item()
        self.student.train()
        return abs(rough - exact) / exact

    def _precision(self, bf16: bool) -> AbstractContextManager[object]:
        return torch.autocast(self.device, torch.bfloat16) if bf16 else nullcontext()

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def measured(bench: Bench, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of each part by way; the ways take turns."""
    found: dict[str, list[dict[str, float]]] = {way.name: [] for way in WAYS}
    for turn in range(rounds + 1):
        for way in WAYS:
            times = bench.step(way)
            if turn:  # the first warms up
                found[way.name].append(times)
    return {name: {part: median(row[part] for row in rows) for part in PARTS} for name, rows in found.items()}


def main() -> None:
    """Print one table a batch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="mini sizes, few rounds: only to see that it works")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    size: Size = "mini" if options.quick else "paper"
    console = Console(width=110)
    console.print(f"{device_name(options.device)}, {torch.get_num_threads()} threads; {size} size; ms a step (median)")
    for title, seconds in BATCHES.items():
        bench = Bench(size, seconds, options.device)
        rows = measured(bench, 2 if options.quick else 5)
        before = sum(rows["reproduction"].values())
        table = Table("way", *PARTS, "whole step", "times as fast", title=title)
        for name, parts in rows.items():
            whole = sum(parts.values())
            cells = [f"{1000 * parts[part]:.0f}" for part in PARTS]
            table.add_row(name, *cells, f"{1000 * whole:.0f}", f"{before / whole:.2f}")
        console.print(table)
        console.print(f"loss with both networks in bf16: {bench.loss_error():.1e} off\n")


if __name__ == "__main__":
    main()
