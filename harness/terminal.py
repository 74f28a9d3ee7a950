"""What commands print on stdout."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from reports.layout import Table


KEPT = "harness.kept"  # in the context of a command: the folder where its results are kept


def keep_in(folder: Path) -> None:
    """Tell where the command that runs now keeps its results."""
    click.get_current_context().meta[KEPT] = folder


def print_table(table: "Table") -> None:
    """Show a table on stdout."""
    from rich.console import Console

    from reports.render import terminal

    terminal(table, Console())


def exit_if_failed(records: list[Any]) -> None:
    """End with exit code 1 if a result failed."""
    failed = [f"{record.upstream} on {record.task}" for record in records if record.value is None]
    if failed:
        click.echo(f"Error: {len(failed)} of {len(records)} results failed: {', '.join(failed)}", err=True)
        sys.exit(1)


def print_records(records: list[Any]) -> None:
    """Show records as JSON on stdout."""
    from reports.records import to_json

    click.echo(json.dumps([to_json(record) for record in records], indent=2))
