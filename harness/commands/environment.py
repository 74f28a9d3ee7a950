"""The command about the machine and its corpora: doctor."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from harness.config import UsageError


@click.command()
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
