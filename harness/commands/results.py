"""The commands about results: report, published and leaderboard."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.config import UsageError
from harness.terminal import print_records, print_table

if TYPE_CHECKING:
    from reports.layout import Table

FORMATS = ("terminal", "markdown", "html", "csv", "latex")


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice([*FORMATS, "json"]), default=FORMATS[0], show_default=True)
@click.option("--ci", is_flag=True, help="Show 95 % intervals instead of standard errors.")
def report(runs: tuple[Path, ...], form: str, ci: bool) -> None:
    """Show the records of one or more runs; several seeds of one upstream become mean and spread.

    Runs of the superb suite are shown beside the published results too; runs of the mini suite never are.

    \b
    harness report runs/starhubert-mini-seed0
    harness report runs/starhubert-mini-seed* --format markdown
    harness report runs/starhubert-mini-seed0 --ci --format latex
    harness report runs/starhubert-mini-seed0 --format json
    """
    from reports.measured import measured_values
    from reports.records import read_records
    from reports.selection import selection_table, several_students
    from reports.tables import report_tables

    missing = [str(folder) for folder in runs if not (folder / "records").is_dir()]
    if missing:
        raise UsageError(f"no run in {', '.join(missing)}: expected a folder that `harness run --out` has written")
    records = [record for folder in runs for record in read_records(folder / "records")]
    if form == "json":
        print_records(records)
    else:
        tables = report_tables(records, ci)
        tables[1:1] = [selection_table(records)] if several_students(records) else []
        _print_tables(tables, form, measured_values(records, ci))


@click.command()
@click.option("--format", "form", type=click.Choice(FORMATS), default=FORMATS[0], show_default=True)
def published(form: str) -> None:
    """The published results with Overall and Generalizability recomputed, and the paper's loss selection.

    CSV holds the results alone, one row a model: names and units of the data file, numbers unrounded.

    \b
    harness published
    harness published --format csv
    harness published --format latex > published.tex && pdflatex published.tex
    """
    from reports.published import published_values
    from reports.tables import ablation_table, published_table

    _print_tables([published_table(), ablation_table()], form, published_values())


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


def _print_tables(tables: list["Table"], form: str, rows: list[dict[str, Any]]) -> None:
    """Print tables in one of FORMATS; CSV takes the rows that they were made of instead."""
    from reports.latex import latex
    from reports.render import comma_separated, html, markdown

    if form == "terminal":
        for table in tables:
            print_table(table)
        return
    writers = {
        "markdown": lambda: markdown(tables),
        "html": lambda: html("SUPERB results", tables),
        "csv": lambda: comma_separated(rows),
        "latex": lambda: latex(tables),
    }
    click.echo(writers[form](), nl=False)
