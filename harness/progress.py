"""Progress of long stages on stderr: what, how far, how long still."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

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
        with self._bar(title, total) as (progress, bar):
            yield lambda count: progress.advance(bar, count)

    @contextmanager
    def _bar(self, title: str, total: int | None) -> Iterator[tuple[Progress, TaskID]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        started = time.perf_counter()
        with Progress(*columns, *times, console=self.console, transient=True) as progress:
            yield progress, progress.add_task(title, total=total)
        self.seconds[title] = self.seconds.get(title, 0.0) + time.perf_counter() - started
        self.say(f"  {title}: {self.seconds[title]:.1f} s")

    def say(self, line: str) -> None:
        """Leave a line above the bars."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def counted(self, title: str) -> Iterator[Callable[[int, int], None]]:
        """A stage that tells itself how many of how many units are done."""
        before = 0
        with self._bar(title, None) as (progress, bar):

            def done(count: int, total: int) -> None:
                nonlocal before
                progress.update(bar, total=total, advance=count - before)
                before = count

            yield done
