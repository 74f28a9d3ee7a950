"""What the STaR loss costs, forward and backward, beside the way of the public reproduction, at the paper's sizes.

Run by hand on an idle Linux machine: `python benchmarks/objectives.py`, or with --quick to see that it works. The
reproduction stacks all layers, keeps the N x N Gram matrices of both sides for all of them, made by einsum, and leaves
the gradient to autograd (model-zoo.md 7); written here from that description. Ways are timed in turn in one process and
medians are compared. Peak memory is what a fresh process takes on top of its inputs. Errors ("off") are
relative to fp64, ratio is how many times as fast as the reproduction.

A far pair is independent noise, as unlike as a student at its start. In the other pairs the teacher is the student
rotated plus noise: a fifth, which leaves the sum of fp32 products in as much doubt as the states of mini-hubert and its
distilled student do (1.1e-7 of the loss), or a hundredth, closer than distillation comes: there the sum cancels and
"product" forms the loss once more.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import mse_loss, pad

from harness.provenance import device_name
from students.relations import Form, Relations

LAYERS, WIDTH, TEACHER_WIDTH = 12, 432, 768  # starhubert from HuBERT Base
BATCHES = ((250,), (750,), (1500,), (750, 650, 500, 300))
QUICK = ((60,), (60, 40))
WAYS = ("reproduction", "gram", "product", "auto")
PAIRS = {"far": None, "distilled": 0.2, "close": 0.01}  # noise in the teacher
States = list[Tensor]
Loss = Callable[[States, States], Tensor]


def inputs(pair: str, frames: tuple[int, ...]) -> tuple[States, States]:
    """States of student and teacher, layers + 1 each of (batch, longest, width); padding holds zeros."""
    torch.manual_seed(0)
    share = PAIRS[pair]
    rotation = torch.linalg.qr(torch.randn(TEACHER_WIDTH, WIDTH)).Q.T
    student, teacher = [], []
    for _ in range(LAYERS + 1):
        ours = [torch.randn(count, WIDTH) for count in frames]
        theirs = [torch.randn(count, TEACHER_WIDTH) for count in frames]
        if share is not None:
            theirs = [x @ rotation + share * noise for x, noise in zip(ours, theirs, strict=True)]
        for states, rows in ((student, ours), (teacher, theirs)):
            states.append(torch.stack([pad(row, (0, 0, 0, max(frames) - len(row))) for row in rows]))
    return [state.requires_grad_() for state in student], teacher


def reproduction(student: States, teacher: States) -> Tensor:
    """The public reproduction's loss, but for the sum over layers and for the projected features as state 0."""
    x, y = torch.stack(student, 1), torch.stack(teacher, 1)

    def relation(one: Tensor, other: Tensor) -> Tensor:
        return torch.einsum("blik,bljk->blij", one, other)

    layer_wise = mse_loss(relation(x[:, 1:], x[:, 1:]), relation(y[:, 1:], y[:, 1:]))
    intra_layer = mse_loss(relation(x[:, :-1], x[:, 1:]), relation(y[:, :-1], y[:, 1:]))
    return LAYERS * (layer_wise + intra_layer)


def way(name: str, frames: tuple[int, ...]) -> Loss:
    """The loss as a function of states, computed in the named way."""
    if name == "reproduction":
        return reproduction
    form: Form = "gram" if name == "gram" else "product" if name == "product" else "auto"
    return lambda student, teacher: Relations(1.0, 1.0, form=form).loss(student, teacher, torch.tensor(frames))


def step(loss: Loss, student: States, teacher: States) -> tuple[float, Tensor]:
    """One forward and backward: the loss, and the student's gradients as one tensor."""
    for state in student:
        state.grad = None
    value = loss(student, teacher)
    value.backward()
    return value.item(), torch.stack([state.grad for state in student if state.grad is not None])


def exact(student: States, teacher: States, frames: tuple[int, ...]) -> tuple[float, Tensor]:
    """The same in fp64, one utterance, layer and relation at a time."""
    doubled = [state.detach().double().requires_grad_() for state in student]
    total = 0.0
    for row, count in enumerate(frames):
        x, y = ([state[row, :count] for state in states] for states in (doubled, [state.double() for state in teacher]))
        for layer in range(1, LAYERS + 1):
            for gap in (0, 1):
                ours, theirs = x[layer - gap] @ x[layer].T, y[layer - gap] @ y[layer].T
                error = (ours - theirs).square().mean() / len(frames)
                error.backward()
                total += error.item()
    return total, torch.stack([state.grad for state in doubled if state.grad is not None])


def resident(field: str) -> int:
    """Bytes of this process's memory: VmRSS for now, VmHWM for the most so far."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def show_peak(name: str, pair: str, frames: tuple[int, ...]) -> None:
    """Print the bytes that one step takes on top of its inputs; call it in a fresh process."""
    step(way(name, (8,)), *inputs("far", (8,)))  # what libraries set up once
    student, teacher = inputs(pair, frames)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the most so far is what there is now
    before = resident("VmRSS")
    loss = way(name, frames)(student, teacher)
    loss.backward()
    print(resident("VmHWM") - before)  # noqa: T201


def peak(name: str, pair: str, frames: tuple[int, ...]) -> int:
    """What `show_peak` prints in a fresh process."""
    arguments = [sys.executable, __file__, "--peak", name, pair, *map(str, frames)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back to the system
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


def rows(pair: str, frames: tuple[int, ...], rounds: int) -> list[tuple[str, ...]]:
    """The table's rows for one batch, one a way."""
    student, teacher = inputs(pair, frames)
    losses = {name: way(name, frames) for name in WAYS}
    results = {name: step(loss, student, teacher) for name, loss in losses.items()}
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, loss in losses.items():
            started = time.perf_counter()
            step(loss, student, teacher)
            seconds[name].append(time.perf_counter() - started)
    value, slope = exact(student, teacher, frames)
    found = []
    for name, (loss_value, gradient) in results.items():
        ratio = median(slow / fast for slow, fast in zip(seconds[WAYS[0]], seconds[name], strict=True))
        found.append(
            (
                f"{len(frames)} x {max(frames)} {pair}",
                name,
                f"{1e3 * median(seconds[name]):.0f}",
                f"{peak(name, pair, frames) / 2**20:.0f}",
                f"{abs(loss_value - value) / value:.0e}",
                f"{float((gradient - slope).norm() / slope.norm()):.0e}",
                f"{ratio:.2f}",
            )
        )
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that the script works")
    parser.add_argument("--peak", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        name, pair, *frames = options.peak
        show_peak(name, pair, tuple(map(int, frames)))
        return
    where = f"{device_name('cpu')}, torch {torch.__version__}"
    title = f"STaR loss, {LAYERS} layers, widths {WIDTH} and {TEACHER_WIDTH}; the reproduction counts padding"
    table = Table(title=title, caption=where)
    for column in ("frames, pair", "way", "ms", "MB", "loss off", "grad off", "ratio"):
        table.add_column(column)
    for frames in QUICK if options.quick else BATCHES:
        for pair in PAIRS:
            for row in rows(pair, frames, 1 if options.quick else 5):
                table.add_row(*row)
            table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
