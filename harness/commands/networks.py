"""The commands about networks: count, list and pretrain."""

import json
from pathlib import Path

import click

from harness.config import OBJECTIVE_NAMES, TEACHER_NAMES, UsageError, unknown
from harness.terminal import print_table
from tasks.registry import TASKS


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--size", type=click.Choice(["paper", "mini"]), default="paper", show_default=True)
@click.option("--verify", is_flag=True, help="Trace the network with fvcore too and demand equality (minutes).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def count(names: tuple[str, ...], size: str, verify: bool, as_json: bool) -> None:
    """Parameters and MACs over the 32 profiling utterances in four buckets.

    \b
    harness count starhubert hubert
    harness count starhubert --verify
    """
    from harness.complexity import PROFILING_SAMPLES
    from harness.counting import count_rows
    from harness.progress import Stages
    from reports.tables import plain_table
    from students.presets import NETWORKS

    problems = [unknown("network", name, tuple(NETWORKS)) for name in names]
    if any(problems):
        raise UsageError("\n".join(problem for problem in problems if problem))
    buckets = tuple(PROFILING_SAMPLES) if verify else ()
    rows = count_rows([(name, size, buckets) for name in names], Stages())
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        print_table(plain_table("Parameters and MACs over the 32 profiling utterances", rows))


@click.command("list")
@click.argument("what", type=click.Choice(["students", "teachers", "objectives", "tasks", "networks", "upstreams"]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def list_(what: str, as_json: bool) -> None:
    """What there is: students, teachers, objectives, tasks, networks to count or forms of upstreams, one a line."""
    from students.names import UPSTREAM_FORMS
    from students.presets import NETWORKS, STUDENTS

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

    click.echo(f"Checkpoint: {pretrain_to(out, Stages())}")
