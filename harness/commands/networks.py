"""The commands about networks: count, list and pretrain."""

import json
from pathlib import Path

import click

from harness.config import TEACHER_NAMES, UsageError, unknown
from harness.terminal import keep_in, print_table
from students.objective_names import OBJECTIVE_NAMES
from students.presets import NETWORKS, STUDENTS, Size
from tasks.registry import TASKS


@click.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All networks, beside the printed counts.")
@click.option("--size", type=click.Choice(["paper", "mini"]), default="paper", show_default=True)
@click.option("--verify", is_flag=True, help="Trace the network with fvcore too and demand equality (minutes).")
@click.option("--measure", is_flag=True, help="Run it too: real-time factor and peak memory on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def count(names: tuple[str, ...], everything: bool, size: Size, verify: bool, measure: bool, as_json: bool) -> None:
    """Parameters and MACs over the 32 profiling utterances in four buckets.

    NAMES are networks, or upstreams such as a checkpoint. `parameters` leave out prediction heads and mask vector;
    `as_published` has what the printed number includes. `strict` counts convolutions, linear layers and attention
    products, `heads` among them those of prediction heads; `superb` is what the leaderboard's profiler makes of it.

    \b
    harness count starhubert hubert_base
    harness count starhubert --verify --measure
    harness count --all
    """
    from harness.complexity import PROFILING_SAMPLES
    from harness.counting import count_rows, upstream_row
    from harness.progress import Stages
    from reports.counts import counts_table
    from reports.tables import plain_table

    if bool(names) == everything:
        raise UsageError("expected names of networks, or --all: type harness count starhubert, or harness count --all")
    names = tuple(name for name in NETWORKS if NETWORKS[name]().dims_exist(size)) if everything else names
    problems = [_count_problem(name, size) for name in names]
    if any(problems):
        raise UsageError("\n".join(problem for problem in problems if problem))
    if verify and not all(name in NETWORKS for name in names):
        raise UsageError("--verify traces networks of `harness list networks` alone: leave out --verify or the others")
    stages, buckets = Stages(), tuple(PROFILING_SAMPLES) if verify else ()
    counted = {row["name"]: row for row in count_rows([(n, size, buckets) for n in names if n in NETWORKS], stages)}
    rows = [counted[name] if name in NETWORKS else upstream_row(name) for name in names]
    if measure:
        from harness.speed import measured

        rows = [row | measured(name, size, stages) for name, row in zip(names, rows, strict=True)]
    title = "Parameters and MACs over the 32 profiling utterances"
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif everything and size == "paper":
        print_table(counts_table(rows))
    else:
        print_table(plain_table(title, rows))


def _count_problem(name: str, size: Size) -> str | None:
    if name in NETWORKS:
        if NETWORKS[name]().dims_exist(size):
            return None
        return f"{name} has no {size} size: expected one that has, such as starhubert; leave out --size {size}"
    known = ":" in name or name == TEACHER_NAMES[0] or Path(name).exists()
    return None if known else unknown("network", name, tuple(NETWORKS))


@click.command("list")
@click.argument("what", type=click.Choice(["students", "teachers", "objectives", "tasks", "networks", "upstreams"]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def list_(what: str, as_json: bool) -> None:
    """What there is: students, teachers, objectives, tasks, networks to count or forms of upstreams, one a line."""
    from students.names import UPSTREAM_FORMS

    names = {
        "students": tuple(STUDENTS),
        "teachers": TEACHER_NAMES,
        "objectives": OBJECTIVE_NAMES,
        "tasks": TASKS,
        "networks": tuple(NETWORKS),
        "upstreams": UPSTREAM_FORMS,
    }
    click.echo(json.dumps(names[what]) if as_json else "\n".join(names[what]))


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/mini-hubert"), show_default=True)
def pretrain(out: Path) -> None:
    """Pretrain mini-hubert, the mini suite's teacher, from synthetic speech (over an hour on two cores).

    A killed run goes on from its last checkpoint when the command is given again.
    """
    from harness.pretrain import pretrain_to
    from harness.progress import Stages

    keep_in(out)
    click.echo(f"Checkpoint: {pretrain_to(out, Stages())}")
