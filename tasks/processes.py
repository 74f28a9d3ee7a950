"""More than one process: a lock that one of them holds, and work in fresh ones."""

import errno
import fcntl
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)  # what a file system without locks answers


class LockedError(RuntimeError):
    """Another process holds a lock; the message says which one."""


class WorkerError(RuntimeError):
    """A process that did a part of the work is gone; the message says what to do."""


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock that the kernel releases however the process ends; while it is held its file tells by whom.

    wait: until another process releases it; else LockedError is raised. On a file system without locks nothing is held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _opened_alone(path, wait)
    try:
        file.truncate(0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(f"process {os.getpid()} on {socket.gethostname()}, started {now}\n")
        file.flush()
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        file.close()


def _opened_alone(path: Path, wait: bool) -> TextIO:
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file  # else it belonged to a process that has removed it meanwhile
        except BlockingIOError as error:
            file.seek(0)
            raise LockedError(file.read().strip() or "another process") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return file
        file.close()


def in_fresh_processes(
    work: Callable[[Any], Any], parts: Sequence[Any], workers: int, done: Callable[[Any], None]
) -> None:
    """Call work(part) for every part, each in a process of its own, `workers` at a time; done(result) as each ends.

    Raises WorkerError if a process dies. Ctrl-C reaches the caller alone, which waits for the parts that have begun.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        try:
            # Processes inherit what is blocked: a terminal sends Ctrl-C to all, and each would print a traceback.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                futures = [pool.submit(work, part) for part in parts]
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            for future in as_completed(futures):
                done(future.result())
        except BrokenProcessPool as error:
            raise WorkerError(
                "a worker process died, as one does that is killed or finds no memory: nothing of its work is kept; "
                "free some memory and give the same command again"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
