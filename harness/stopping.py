"""Clean ends: a signal that stops a command, and an operating system that refuses to write."""

import errno
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; exit_code: as a shell reports the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name, self.exit_code = signal.Signals(number).name, 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """Meanwhile SIGINT and SIGTERM, if they were not ignored, raise Stopped in the main thread; another thread changes
    nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, _stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def farewell(stop: Stopped, command: Sequence[str], folder: Path | None) -> str:
    """What a stopped command says.

    command: with its arguments; folder: where its results are kept, if it keeps any. What --overwrite always removes is
    gone by then, so that it is not asked for again.
    """
    if folder is None:
        return f"Stopped by {stop.name}."
    going_on = [
        "stale"
        if (before, word) == ("--overwrite", "always")
        else word.replace("--overwrite=always", "--overwrite=stale")
        for before, word in zip(["", *command], command, strict=False)
    ]
    return f"Stopped by {stop.name}: finished results are kept in {folder}. Resume with: {shlex.join(going_on)}"


def refusal(error: OSError) -> str:
    """An error of the operating system in one line, with its cure where it could not write."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in FULL:
        return (
            f"no space left on the disk{where}: finished results are kept; free some space, and the same command "
            "goes on where it stopped"
        )
    if error.errno in FORBIDDEN:
        return (
            f"{error.strerror}{where}: make it writable, or choose another folder (--out for results, --cache for "
            "hidden states)"
        )
    return str(error)
