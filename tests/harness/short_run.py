"""The command line with trainings of a few updates, and a fault at a chosen moment: run by the tests as a program.

Usage: short_run.py JOBS, a JSON file with a list of jobs, done one after another, each in a process of its own. A job
holds "arguments" of the command line, "out", the folder whose writes are counted, and what is to happen: "fault" (a
signal's name or an errno's) at the event number "at", counted from the first event called "since" if that is given.
Events are updates of a training and the opening to write, the renaming and the removal of files in the folder. Writes
a JSON list to stdout: of each job its exit code (minus the signal's number for one that was killed), how many events it
had, and what it said on stderr.
"""

import errno
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import harness.counting
import harness.probe
import harness.run
import harness.suite
import reports.page
from harness.cli import main
from harness.distill import Trainer
from tasks.mini.settings import MINI_PROBES
from tasks.optimizer import GridAdamW

DISTILLATION = {"steps": 4, "batch_seconds": 8.0, "learning_rate": 1e-3, "buckets": 2, "validate_every": 2}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def shorten(set_attribute: Callable[[Any, str, Any], None]) -> None:
    """Probes and distillation of a few updates, and counts of one length."""
    probes = {name: replace(probe, steps=4, eval_every=2, batch=2) for name, probe in MINI_PROBES.items()}
    set_attribute(harness.suite, "MINI_PROBES", probes)
    set_attribute(harness.run, "MINI_DISTILLATION", DISTILLATION)
    set_attribute(harness.run, "PROFILING_SAMPLES", {"short": (20560,)})


class Events:
    """Counts what happens, and lets the fault happen at its time."""

    def __init__(self, folder: str, fault: str, since: str, at: int) -> None:
        self.folder, self.fault, self.since, self.at, self.count = folder, fault, since, at, 0

    def happen(self, what: str, path: str = "") -> None:
        """One more event, before it has any effect. A disk that is full or read-only stays so."""
        if not self.count and self.since not in ("", what):
            return
        self.count += 1
        if self.fault.startswith("SIG") and self.count == self.at:
            os.kill(os.getpid(), signal.Signals[self.fault])
        if self.fault.startswith("E") and path and self.count >= self.at:
            number = getattr(errno, self.fault)
            raise OSError(number, os.strerror(number), path)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook of the interpreter."""
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if not writes and event not in ("os.rename", "os.remove"):
            return
        path = arguments[0]
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder):
            self.happen(event, os.fspath(path))


def perform(job: dict[str, Any], report: Path) -> int:
    """Do one job in this process; returns the exit code."""
    events = Events(job["out"], job["fault"], job["since"], job["at"])
    for owner, name in ((GridAdamW, "step"), (Trainer, "update")):
        inner = getattr(owner, name)

        def outer(*arguments: Any, inner: Any = inner, name: str = f"{owner.__name__}.{name}") -> Any:
            events.happen(name)
            return inner(*arguments)

        setattr(owner, name, outer)
    sys.addaudithook(events.hear)
    try:
        main(job["arguments"], prog_name="harness")
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        report.write_text(str(events.count), encoding="utf-8")
    return 0


def in_a_child(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job in a child, which has all modules already."""
    with tempfile.TemporaryDirectory() as folder:
        report, said = Path(folder) / "report", Path(folder) / "stderr"
        report.write_text("0", encoding="utf-8")
        if not (child := os.fork()):
            with said.open("wb") as stderr, Path(folder, "stdout").open("wb") as stdout:
                os.dup2(stdout.fileno(), 1)
                os.dup2(stderr.fileno(), 2)
            os._exit(perform(job, report))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        events = int(report.read_text(encoding="utf-8"))
        return {"exit_code": code, "stderr": said.read_text(encoding="utf-8"), "events": events}


if __name__ == "__main__":
    for heavy in ("lhotse.dataset.sampling", "torch._dynamo"):  # loaded here once, and not again in every child
        import_module(heavy)
    shorten(setattr)
    harness.probe.SAVE_EVERY = 0.0
    # Neither traces nor figures are what is looked at here, and they take longer than all the rest.
    harness.counting.count_network = lambda *arguments: None
    reports.page.write_figures = lambda *arguments: {}
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(json.dumps([in_a_child(job) for job in given]))
