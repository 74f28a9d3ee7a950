"""The commands of the regression gate: `harness check` and `harness baseline save`."""

import json
from pathlib import Path
from typing import Any

import click

from harness.config import UsageError
from harness.terminal import print_table


@click.command()
@click.argument("candidate", type=click.Path(path_type=Path))
@click.option("--against", required=True, type=click.Path(path_type=Path), help="A baseline file, or another run.")
@click.option("--tolerance", default="", help="Drops in points that pass anyway, such as ks=0.5,sf_f1=1.")
@click.option("--upstream", "upstreams", multiple=True, help="Compare this upstream only; may be given again.")
@click.option("--tasks", default="", help="Compare these tasks only, comma-separated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file, a test case a cell.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write a summary for a pull request to this file.")
@click.pass_context
def check(
    ctx: click.Context, candidate: Path, as_json: bool, junit: Path | None, markdown: Path | None, **options: Any
) -> None:
    """Compare the run CANDIDATE with a baseline, cell by cell, by the statistics of the stored predictions.

    Every cell of the baseline must be there, of the same data, task and protocol. A cell fails if it is worse by more
    than its tolerance and by more than the noise of the test items explains. Exit code 0 if all pass, 1 for a
    regression, 2 for wrong usage, 3 if cells are missing, stale or failed and none is a regression.

    \b
    harness check runs/new --against baseline.json.gz
    harness check runs/new --against runs/old --tolerance ks=2,er=2 --markdown summary.md
    """
    from harness.gate import chosen, compare, read_tolerances
    from reports import verdicts
    from reports.baseline import read_cells
    from reports.gate import exit_code
    from reports.records import write_bytes, write_text

    tolerances = read_tolerances(options["tolerance"])
    tasks = tuple(name.strip() for name in options["tasks"].split(",") if name.strip())
    baseline = chosen(read_cells(options["against"]), options["upstreams"], tasks)
    outcomes = compare(read_cells(candidate), baseline, tolerances)
    if junit is not None:
        write_bytes(junit, verdicts.junit(outcomes))
    if markdown is not None:
        write_text(markdown, verdicts.summary(outcomes))
    if as_json:
        click.echo(json.dumps(verdicts.to_plain(outcomes), indent=2, allow_nan=False))
    else:
        print_table(verdicts.outcome_table(outcomes))
    ctx.exit(exit_code(outcomes))


@click.group()
def baseline() -> None:
    """Baselines for `harness check`."""


@baseline.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("baseline.json.gz"), show_default=True)
def save(run: Path, out: Path) -> None:
    """Write the records and predictions of RUN to one file, for `harness check --against`.

    \b
    harness baseline save runs/starhubert-mini-seed0 --out baseline.json.gz
    """
    from reports.baseline import save_baseline

    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: expected the name of a file, such as {out / 'baseline.json.gz'}")
    count = save_baseline(run, out)
    click.echo(f"Baseline: {out} ({count} cells)")
