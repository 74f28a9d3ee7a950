"""The command line: parses, calls, prints. Nothing heavy is imported before a command needs it.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 done but for results that
failed, 2 wrong usage or unusable input.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.config import TEACHER_NAMES, EvaluationSettings, RunSettings, UsageError, unknown
from students.objective_names import OBJECTIVE_NAMES
from tasks.registry import PROTOCOLS, TASKS

if TYPE_CHECKING:
    from reports.tables import Table

# Errors whose message is written for the user: a module that was not loaded cannot have raised its own.
EXPECTED = (
    ("tasks.base", "CorpusError"),
    ("tasks.audio", "AudioError"),
    ("students.checkpoints", "CheckpointError"),
    ("students.upstreams", "UpstreamError"),
    ("reports.records", "RecordError"),
    ("harness.features", "TooManyBadFiles"),
    ("harness.distill", "DistillationError"),
    ("harness.complexity", "ComplexityError"),
)
SUITE_HELP = "Synthetic corpora at once, or the official ones with the official settings."
PROTOCOL_HELP = "Choose (SD, ASV) and score (QbE) soundly, or as the published numbers were."


class Cli(click.Group):
    """A group whose expected failures are one clear line each and exit code 2, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; print the errors that name their own cure."""
        try:
            return super().invoke(ctx)
        except (UsageError, OSError) as error:
            problem: Exception = error
        except Exception as error:
            if not isinstance(error, _expected()):
                raise
            problem = error
        for line in str(problem).splitlines():
            click.echo(f"Error: {line}", err=True)
        ctx.exit(2)


def _expected() -> tuple[type[Exception], ...]:
    return tuple(getattr(sys.modules[module], name) for module, name in EXPECTED if module in sys.modules)


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="star-harness", prog_name="harness")
def main() -> None:
    """Distil small speech models with STaR, measure them on SUPERB tasks, and show the table.

    \b
    harness run --student starhubert             the whole job on the mini suite, about seven minutes
    harness run --student starhubert --dry-run   what it would do, and for how long
    harness list students                        what there is
    """


@main.command()
@click.option("--student", required=True, help="Network to distil: `harness list students`.")
@click.option("--teacher", default=TEACHER_NAMES[0], show_default=True, help="Frozen model to learn from.")
@click.option("--objective", default="star", show_default=True, help="What it matches, a sum of weighted terms.")
@click.option("--suite", type=click.Choice(["mini"]), default="mini", show_default=True, help="Corpora to use.")
@click.option("--tasks", default=",".join(TASKS), show_default=True, help="Comma-separated task names.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), default=PROTOCOLS[0], show_default=True, help=PROTOCOL_HELP)
@click.option("--corpora", type=click.Path(path_type=Path), help="Folder of the suite; default: the user's cache.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; default: runs/STUDENT-SUITE-seedN.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all training.")
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="For distillation."
)
@click.option("--dry-run", is_flag=True, help="Print the plan with an estimate and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON on stdout.")
def run(dry_run: bool, as_json: bool, **options: Any) -> None:
    """Distil a student, evaluate it beside its controls, count it, and show the table.

    The same command on the same folder goes on where it stopped: finished results are kept.

    \b
    harness run --student starhubert
    harness run --student starhubert --seed 1 --out runs/second
    harness run --student starhubert --tasks ks,sid --objective layer-wise+0.1*intra-layer
    """
    out = options.pop("out") or Path("runs") / f"{options['student']}-{options['suite']}-seed{options['seed']}"
    settings = RunSettings(out=out, tasks=_names(options.pop("tasks")), **options)
    from harness.plan import plan

    if dry_run:
        _print_table(_plan_table(plan(settings)))
        return
    from harness.progress import Stages
    from harness.run import execute

    records = execute(settings, Stages())
    if as_json:
        _print_records(records)
        _exit_if_failed(records)
        return
    from reports.tables import measured_table, plain_table, published_table

    counts = json.loads((settings.out / "counts.json").read_text(encoding="utf-8"))
    _print_table(published_table())
    _print_table(plain_table("Parameters and MACs over the 32 profiling utterances", counts))
    _print_table(measured_table(records))
    click.echo(f"Report: {settings.out / 'report.html'} (also .md, .json, .png)")
    _exit_if_failed(records)


@main.command()
@click.option("--upstream", required=True, help="Model to evaluate: `harness list upstreams`.")
@click.option("--suite", type=click.Choice(["mini", "superb"]), default="mini", show_default=True, help=SUITE_HELP)
@click.option("--tasks", default=",".join(TASKS), show_default=True, help="Comma-separated task names.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), default=PROTOCOLS[0], show_default=True, help=PROTOCOL_HELP)
@click.option("--corpora", type=click.Path(path_type=Path), help="Folder of the corpora; superb: or $SUPERB_ROOT.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results; default: runs/UPSTREAM-SUITE-...")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the probes and of random weights.")
@click.option("--cache", type=click.Path(path_type=Path), help="Folder for hidden states; default: memory for mini.")
@click.option("--cache-gb", type=float, default=20.0, show_default=True, help="Disk space for hidden states, in GiB.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON on stdout.")
def evaluate(as_json: bool, **options: Any) -> None:
    """Evaluate one upstream on the tasks: a checkpoint, a baseline, or any model of s3prl, Hugging Face, torchaudio.

    The same command on the same folder goes on where it stopped: finished results are kept.

    \b
    harness evaluate --upstream runs/starhubert-mini-seed0/student
    harness evaluate --upstream torchaudio:HUBERT_BASE --suite superb --corpora /data/superb --tasks ks,sid
    """
    upstream, suite, seed = options["upstream"], options["suite"], options["seed"]
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in upstream).strip("-.")
    variant = "-official" if options["protocol"] == "official" else ""
    out = options.pop("out") or Path("runs") / f"{name}-{suite}{variant}-seed{seed}"
    settings = EvaluationSettings(out=out, tasks=_names(options.pop("tasks")), **options)
    from harness.progress import Stages
    from harness.run import execute_evaluation
    from reports.tables import measured_table

    records = execute_evaluation(settings, Stages())
    if as_json:
        _print_records(records)
        _exit_if_failed(records)
        return
    _print_table(measured_table(records))
    click.echo(f"Report: {settings.out / 'report.html'} (also .md, .json)")
    _exit_if_failed(records)


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["terminal", "markdown", "json"]), default="terminal", show_default=True
)
def report(runs: tuple[Path, ...], form: str) -> None:
    """Show the records of one or more runs; several seeds of one upstream become mean and spread.

    \b
    harness report runs/starhubert-mini-seed0
    harness report runs/starhubert-mini-seed* --format markdown
    harness report runs/starhubert-mini-seed0 --format json
    """
    from reports.records import read_records
    from reports.render import markdown
    from reports.tables import measured_table

    missing = [str(folder) for folder in runs if not (folder / "records").is_dir()]
    if missing:
        raise UsageError(f"no run in {', '.join(missing)}: expected a folder that `harness run --out` has written")
    records = [record for folder in runs for record in read_records(folder / "records")]
    if form == "json":
        _print_records(records)
    elif form == "markdown":
        click.echo(markdown([measured_table(records)]))
    else:
        _print_table(measured_table(records))


@main.command()
@click.option(
    "--corpora", type=click.Path(path_type=Path), help="Folder of the official corpora, or of the mini suite."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def doctor(corpora: Path | None, as_json: bool) -> None:
    """Check the environment, and the corpora of all ten tasks: every problem at once, each with its cure.

    Exit code 0 if a run can work, 2 if something is missing; warnings do not count.

    \b
    harness doctor
    harness doctor --corpora /data/superb
    """
    from harness.doctor import check_corpora, check_environment, lines
    from harness.progress import Stages

    if corpora is not None and not corpora.is_dir():
        raise UsageError(f"no folder {corpora}: expected the one that holds LibriSpeech, VoxCeleb1 and the others")
    checks = check_environment()
    if corpora is not None:
        checks += check_corpora(corpora, Stages())
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        click.echo("\n".join(lines(checks)))
    if any(check.status == "problem" for check in checks):
        sys.exit(2)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--upstream", required=True, help="Whose predictions to hand in, as the run's table spells it.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("predict.zip"), show_default=True)
@click.option("--allow-synthetic", is_flag=True, help="Pack records of the mini suite, which no leaderboard can score.")
def leaderboard(run: Path, upstream: str, out: Path, allow_synthetic: bool) -> None:
    """Pack a run's predictions into the archive that the SUPERB leaderboard takes, for the tasks that the run has.

    \b
    harness leaderboard runs/hubert-superb-seed0 --upstream torchaudio:HUBERT_BASE --out predict.zip
    """
    from harness.leaderboard import write_predictions

    click.echo(f"Predictions: {write_predictions(run, upstream, out, allow_synthetic)}")


@main.command()
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
    from harness.counting import NETWORKS, count_rows
    from harness.progress import Stages
    from reports.tables import plain_table

    problems = [unknown("network", name, tuple(NETWORKS)) for name in names]
    if any(problems):
        raise UsageError("\n".join(problem for problem in problems if problem))
    buckets = tuple(PROFILING_SAMPLES) if verify else ()
    rows = count_rows([(name, size, buckets) for name in names], Stages())
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        _print_table(plain_table("Parameters and MACs over the 32 profiling utterances", rows))


@main.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "markdown", "html", "csv", "latex"]),
    default="terminal",
    show_default=True,
)
def published(form: str) -> None:
    """The published results with Overall and Generalizability recomputed.

    \b
    harness published
    harness published --format csv
    """
    from reports import render
    from reports.tables import published_table

    table = published_table()
    if form == "terminal":
        _print_table(table)
        return
    writers = {
        "markdown": lambda: render.markdown([table]),
        "html": lambda: render.html(table.title, [table]),
        "csv": lambda: render.comma_separated(table),
        "latex": lambda: render.latex(table),
    }
    click.echo(writers[form]())


@main.command("list")
@click.argument("what", type=click.Choice(["students", "teachers", "objectives", "tasks", "networks", "upstreams"]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def list_(what: str, as_json: bool) -> None:
    """What there is: students, teachers, objectives, tasks, networks to count or forms of upstreams, one a line."""
    from students.names import UPSTREAM_FORMS
    from students.presets import STUDENTS, TEACHERS

    names = {
        "students": tuple(STUDENTS),
        "teachers": TEACHER_NAMES,
        "objectives": OBJECTIVE_NAMES,
        "tasks": TASKS,
        "networks": tuple(STUDENTS | TEACHERS),
        "upstreams": UPSTREAM_FORMS,
    }
    click.echo(json.dumps(names[what]) if as_json else "\n".join(names[what]))


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/mini-hubert"), show_default=True)
def pretrain(out: Path) -> None:
    """Pretrain mini-hubert, the mini suite's teacher, from synthetic speech (over an hour on two cores).

    A killed run goes on from its last checkpoint when the command is given again.
    """
    from harness.pretrain import pretrain_to
    from harness.progress import Stages

    click.echo(f"Checkpoint: {pretrain_to(out, Stages())}")


def _names(listed: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))


def _print_table(table: "Table") -> None:
    from rich.console import Console

    from reports.render import terminal

    terminal(table, Console())


def _exit_if_failed(records: list[Any]) -> None:
    failed = [f"{record.upstream} on {record.task}" for record in records if record.value is None]
    if failed:
        click.echo(f"Error: {len(failed)} of {len(records)} results failed: {', '.join(failed)}", err=True)
        sys.exit(1)


def _print_records(records: list[Any]) -> None:
    from reports.records import to_json

    click.echo(json.dumps([to_json(record) for record in records], indent=2))


def _plan_table(stages: list[Any]) -> "Table":
    from reports.tables import plain_table

    rows = [{"stage": stage.stage, "what": stage.what, "about": f"{stage.seconds} s"} for stage in stages]
    total = sum(stage.seconds for stage in stages)
    rows.append({"stage": "in all", "what": "on two CPU cores", "about": f"{total // 60} min {total % 60} s"})
    return plain_table("Plan (nothing is done yet)", rows)
