"""Progress of long stages on stderr: what, how far, how long still."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int], None]


class Stages:
    """Shows one bar per running stage, and leaves one line with its duration when it ends.

    seconds: duration of each finished stage by title, in the order they ran.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """A stage of `total` units; call what it yields with the number of units done."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        started = time.perf_counter()
        with Progress(*columns, *times, console=self.console, transient=True) as progress:
            bar = progress.add_task(title, total=total)
            yield lambda count: progress.advance(bar, count)
        self.seconds[title] = self.seconds.get(title, 0.0) + time.perf_counter() - started
        self.console.print(f"  {title}: {self.seconds[title]:.1f} s", highlight=False, markup=False)

    def say(self, line: str) -> None:
        """One plain line on stderr."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)
