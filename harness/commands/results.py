"""The commands about results: report, published and leaderboard."""

from pathlib import Path

import click

from harness.config import UsageError
from harness.terminal import print_records, print_table


@click.command()
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
        print_records(records)
    elif form == "markdown":
        click.echo(markdown([measured_table(records)]))
    else:
        print_table(measured_table(records))


@click.command()
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
        print_table(table)
        return
    writers = {
        "markdown": lambda: render.markdown([table]),
        "html": lambda: render.html(table.title, [table]),
        "csv": lambda: render.comma_separated(table),
        "latex": lambda: render.latex(table),
    }
    click.echo(writers[form]())


@click.command()
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
