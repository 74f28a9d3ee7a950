"""The command line: parses, calls, prints. Nothing heavy is imported before a command needs it.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 done but for results that
failed, 2 wrong usage or unusable input, 130 and 143 stopped by Ctrl-C and by SIGTERM.
"""

import sys
from typing import Any

import click

from harness.commands import environment, exports, gate, networks, results, run
from harness.config import UsageError
from harness.stopping import Stopped, farewell, refusal, stoppable
from harness.terminal import KEPT

# Errors whose message is written for the user: a module that was not loaded cannot have raised its own.
EXPECTED = (
    ("tasks.base", "CorpusError"),
    ("tasks.audio", "AudioError"),
    ("students.checkpoints", "CheckpointError"),
    ("students.upstreams", "UpstreamError"),
    ("students.export_folder", "ExportError"),
    ("reports.records", "RecordError"),
    ("harness.features", "TooManyBadFiles"),
    ("harness.distill", "DistillationError"),
    ("students.criterion", "CriterionError"),
    ("harness.complexity", "ComplexityError"),
    ("tasks.processes", "WorkerError"),
)
COMMAND = "harness.command"  # in the context of a command: its words


class Cli(click.Group):
    """A group whose expected failures are one clear line each and exit code 2, never a traceback."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As any group; remembers the command, so that a stopped one can tell how it is resumed."""
        ctx.meta[COMMAND] = ["harness", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; print the errors that name their own cure, and how a stopped command goes on."""
        try:
            with stoppable():
                return super().invoke(ctx)
        except Stopped as stop:
            click.echo(farewell(stop, ctx.meta[COMMAND], ctx.meta.get(KEPT)), err=True)
            ctx.exit(stop.exit_code)
        except UsageError as error:
            problem = str(error)
        except OSError as error:
            problem = refusal(error)
        except Exception as error:
            if not isinstance(error, _expected()):
                raise
            problem = str(error)
        for line in problem.splitlines():
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


for _command in (
    run.run,
    run.distill,
    run.evaluate,
    results.report,
    results.published,
    results.leaderboard,
    networks.count,
    networks.list_,
    networks.pretrain,
    environment.doctor,
    exports.export,
    exports.convert,
    exports.features,
    gate.check,
    gate.baseline,
):
    main.add_command(_command)
