"""More than one process: a lock that one of them holds, and work in fresh ones."""

import errno
import fcntl
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from typing import Any, TextIO

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)  # what a file system without locks answers


class LockedError(RuntimeError):
    """Another process holds a lock; the message says which one."""


class WorkerError(RuntimeError):
    """A process that did a part of the work is gone; the message says what to do."""


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a lock that the kernel releases however the process ends; while it is held its file tells by whom.

    wait: until another process releases it; else LockedError is raised. Yields whether the lock is held: on a file
    system without locks it is not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file, held = _opened_alone(path, wait)
    try:
        file.truncate(0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(f"process {os.getpid()} on {socket.gethostname()}, started {now}\n")
        file.flush()
        yield held
    finally:
        with suppress(OSError):
            path.unlink()
        file.close()


def _opened_alone(path: Path, wait: bool) -> tuple[TextIO, bool]:
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file, True
            file.close()  # it belonged to a process that has removed it meanwhile
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise LockedError(holder or "another process") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                file.close()
                raise
            return file, False


def in_fresh_processes(
    work: Callable[[Any], Any], parts: Sequence[Any], workers: int, done: Callable[[Any], None]
) -> None:
    """Call work(part) for every part, each in a process of its own, `workers` at a time; done(result) as each ends.

    Raises WorkerError if a process dies, and what a work raises; the others are killed then. Ctrl-C reaches the caller
    alone.
    """
    context, left = multiprocessing.get_context("spawn"), list(reversed(parts))
    running: dict[Any, BaseProcess] = {}
    ensure_running()  # when it starts, it lets through what is blocked below
    try:
        while left or running:
            while left and len(running) < workers:
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_answer, args=(sender, work, left.pop()), daemon=True)
                # A process inherits what is blocked: a terminal sends Ctrl-C to all, and each would print a traceback.
                before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
                process.start()
                running[receiver] = process
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                sender.close()
            for ready in wait(list(running)):
                done(_result(ready))
                running.pop(ready).join()
    finally:
        for unfinished in running.values():
            unfinished.kill()
            unfinished.join()


def _answer(sender: Connection, work: Callable[[Any], Any], part: Any) -> None:
    try:
        sender.send((work(part), None))
    except Exception as error:
        sender.send((None, error))


def _result(receiver: Any) -> Any:
    try:
        result, error = receiver.recv()
    except EOFError as end:
        raise WorkerError(
            "a worker process died, as one does that is killed or finds no memory: nothing of its work is kept; "
            "free some memory and give the same command again"
        ) from end
    if error is not None:
        raise error
    return result
