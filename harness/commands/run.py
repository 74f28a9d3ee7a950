"""The commands that distil and measure: run, distill and evaluate."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from harness.config import EvaluationSettings, Overwrite, RunSettings
from harness.terminal import exit_if_failed, keep_in, print_records, print_table
from tasks.registry import PROTOCOLS, TASKS

if TYPE_CHECKING:
    from reports.layout import Table

SUITE_HELP = "Synthetic corpora at once, or the official ones with the official settings."
PROTOCOL_HELP = "Choose (SD, ASV) and score (QbE) soundly, or as the published numbers were."
OVERWRITE: tuple[str, ...] = get_args(Overwrite)
OVERWRITE_HELP = (
    "Results in the folder that are made again: none, those made with other settings, or all of this command."
)

_CORPORA = click.option(
    "--corpora", type=click.Path(path_type=Path), help="Folder of the corpora; superb: or $SUPERB_ROOT."
)
_CACHE = click.option(
    "--cache", type=click.Path(path_type=Path), help="Folder for hidden states; default: memory for mini."
)
_CACHE_GB = click.option(
    "--cache-gb", type=float, default=20.0, show_default=True, help="Disk space for hidden states, in GiB."
)
_SUITE = click.option(
    "--suite", type=click.Choice(["mini", "superb"]), default="mini", show_default=True, help=SUITE_HELP
)
_TASKS = click.option("--tasks", default=",".join(TASKS), show_default=True, help="Comma-separated task names.")
_PROTOCOL = click.option(
    "--protocol", type=click.Choice(PROTOCOLS), default=PROTOCOLS[0], show_default=True, help=PROTOCOL_HELP
)
_OVERWRITE = click.option(
    "--overwrite", type=click.Choice(OVERWRITE), default=OVERWRITE[0], show_default=True, help=OVERWRITE_HELP
)
_DISTILLATION = (
    click.option("--student", required=True, help="Network to distil, or several: `harness list students`."),
    click.option("--teacher", default="", help="Frozen model to learn from; default: mini-hubert, or its own."),
    click.option("--objective", default="", help="What it matches, or several: `harness list objectives`."),
    _SUITE,
    _CORPORA,
    _CACHE,
    _CACHE_GB,
    click.option(
        "--out", type=click.Path(path_type=Path), help="Folder of the run; default: runs/STUDENT-SUITE-seedN."
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of all training."),
    click.option(
        "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="For distillation."
    ),
    _OVERWRITE,
)


def _distillation_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_DISTILLATION):
        command = option(command)
    return command


def _run_settings(tasks: str, options: dict[str, Any]) -> RunSettings:
    students, objectives = names(options.pop("student")), names(options.pop("objective"))
    several = "-objectives" if len(objectives) > 1 else ""
    folder = f"{'-'.join(students)}{several}-{options['suite']}-seed{options['seed']}"
    out = options.pop("out") or Path("runs") / folder
    return RunSettings(students, out, names(tasks), objectives, **options)


@click.command()
@_distillation_options
@_TASKS
@_PROTOCOL
@click.option("--dry-run", is_flag=True, help="Print the plan with an estimate and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON on stdout.")
def run(dry_run: bool, as_json: bool, overwrite: Overwrite, tasks: str, **options: Any) -> None:
    """Distil a student, evaluate it beside its controls, count it, and show the table.

    The same command on the same folder goes on where it stopped: finished results are kept, and those that were made
    with other settings are named.

    \b
    harness run --student starhubert
    harness run --student starhubert --seed 1 --out runs/second
    harness run --student starhubert --tasks ks,sid --objective layer-wise+0.1*avg-attn
    harness run --student starhubert --objective star,layer-wise,intra-layer,avg-attn
    harness run --student starhubert,distilhubert,fithubert
    """
    settings = _run_settings(tasks, options)
    from harness.plan import plan

    if dry_run:
        print_table(_plan_table(plan(settings)))
        return
    from harness.progress import Stages
    from harness.run import execute

    keep_in(settings.out)
    records = execute(settings, Stages(), overwrite)
    if as_json:
        print_records(records)
        exit_if_failed(records)
        return
    from reports.selection import selection_table, several_students
    from reports.tables import measured_table, plain_table, published_table

    counts = json.loads((settings.out / "counts.json").read_text(encoding="utf-8"))
    print_table(published_table(tasks=False))  # `harness published` has the tasks
    print_table(plain_table("Parameters and MACs over the 32 profiling utterances", counts))
    print_table(measured_table(records))
    if several_students(records):
        print_table(selection_table(records))
    click.echo(f"Report: {settings.out / 'report.html'} (also .md, .json, figures/)")
    exit_if_failed(records)


@click.command()
@_distillation_options
def distill(overwrite: Overwrite, **options: Any) -> None:
    """Distil a student and stop: the first half of `harness run`, which goes on from its folder.

    \b
    harness distill --student starhubert
    harness distill --student starhubert --suite superb --corpora /data/superb --teacher hubert_base --device cuda
    """
    settings = _run_settings(",".join(TASKS), options)
    from harness.progress import Stages
    from harness.run import execute_distillation

    keep_in(settings.out)
    for folder in execute_distillation(settings, Stages(), overwrite):
        click.echo(f"Checkpoint: {folder}")


@click.command()
@click.option("--upstream", required=True, help="Model to evaluate: `harness list upstreams`.")
@_SUITE
@_TASKS
@_PROTOCOL
@_CORPORA
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results; default: runs/UPSTREAM-SUITE-...")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the probes and of random weights.")
@_CACHE
@_CACHE_GB
@_OVERWRITE
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON on stdout.")
def evaluate(as_json: bool, overwrite: Overwrite, **options: Any) -> None:
    """Evaluate one upstream on the tasks: a checkpoint, a baseline, or any model of s3prl, Hugging Face, torchaudio.

    The same command on the same folder goes on where it stopped: finished results are kept, and those that were made
    with other settings are named.

    \b
    harness evaluate --upstream runs/starhubert-mini-seed0/students/starhubert
    harness evaluate --upstream torchaudio:HUBERT_BASE --suite superb --corpora /data/superb --tasks ks,sid
    """
    upstream, suite, seed = options["upstream"], options["suite"], options["seed"]
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in upstream).strip("-.")
    variant = "-official" if options["protocol"] == "official" else ""
    out = options.pop("out") or Path("runs") / f"{name}-{suite}{variant}-seed{seed}"
    settings = EvaluationSettings(out=out, tasks=names(options.pop("tasks")), **options)
    from harness.progress import Stages
    from harness.run import execute_evaluation
    from reports.tables import measured_table

    keep_in(settings.out)
    records = execute_evaluation(settings, Stages(), overwrite)
    if as_json:
        print_records(records)
        exit_if_failed(records)
        return
    print_table(measured_table(records))
    click.echo(f"Report: {settings.out / 'report.html'} (also .md, .json, figures/)")
    exit_if_failed(records)


def names(listed: str) -> tuple[str, ...]:
    """The names in a comma-separated list, each once."""
    return tuple(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))


def _plan_table(stages: list[Any]) -> "Table":
    from reports.tables import plain_table

    known = [stage.seconds for stage in stages if stage.seconds is not None]
    rows = [
        {"stage": stage.stage, "what": stage.what, "about": "–" if stage.seconds is None else f"{stage.seconds} s"}
        for stage in stages
    ]
    if known:
        minutes, seconds = divmod(sum(known), 60)
        rows.append({"stage": "in all", "what": "on two CPU cores", "about": f"{minutes} min {seconds} s"})
    return plain_table("Plan (nothing is done yet)", rows)
