"""Locks that die with their holder, and worker processes that die or are interrupted."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks.mini import suite
from tasks.processes import LockedError, WorkerError, in_fresh_processes, locked

ROOT = Path(__file__).parent.parent.parent
HOLDER = """
import sys, time
from pathlib import Path
from tasks.processes import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
WORKERS = """
from tasks.processes import in_fresh_processes
work = "print('begun', flush=True) or __import__('time').sleep(60)"
in_fresh_processes(eval, [work] * 3, 2, lambda result: None)
"""


def python(program: str, *arguments: str) -> subprocess.Popen[str]:
    """A program in a session of its own, once it has said something."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline()
    return process


def test_a_lock_tells_who_holds_it_and_dies_with_its_holder(tmp_path):
    path = tmp_path / "run" / ".lock"
    holder = python(HOLDER, str(path))
    told = rf"process {holder.pid} on \S+, started \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
    with pytest.raises(LockedError, match=f"^{told}$"), locked(path):
        pytest.fail("held twice")
    holder.kill()
    holder.communicate()
    with locked(path):
        assert re.match(f"process {os.getpid()} on ", path.read_text())
    assert not path.exists()


def test_who_waits_gets_the_lock_that_is_there_now(tmp_path):
    """The file that a waiting process has opened may be gone, and another one be there, when it gets its lock."""
    path, order = tmp_path / "lock", []

    def wait() -> None:
        with locked(path, wait=True):
            order.append("second")
            assert path.exists()

    with locked(path):
        thread = threading.Thread(target=wait)
        thread.start()
        while not _opened_twice(path):
            time.sleep(0.01)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and not path.exists()


def _opened_twice(path: Path) -> bool:
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            links.append(descriptor.readlink())
        except OSError:  # closed meanwhile
            continue
    return links.count(path) == 2


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "lock"):
        pass


def test_a_worker_that_dies_is_told():
    with pytest.raises(WorkerError, match=r"a worker process died.*free some memory and give the same command again"):
        in_fresh_processes(os._exit, [9], 1, pytest.fail)


def test_what_a_worker_raises_is_raised_here():
    with pytest.raises(ValueError, match="invalid literal"):
        in_fresh_processes(int, ["1", "x"], 1, lambda result: None)


def test_results_come_from_processes_of_their_own():
    found: list[float] = []
    in_fresh_processes(abs, [-1, -2, -3], 2, found.append)
    assert sorted(found) == [1, 2, 3]


def test_ctrl_c_ends_the_parts_that_have_begun_and_only_the_caller_hears_of_it():
    process = python(WORKERS)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=50)
    assert said.count("Traceback") == 1 and said.rstrip().endswith("KeyboardInterrupt")


def test_of_two_that_need_the_suite_one_writes_it(tmp_path, monkeypatch):
    written, folder = [], tmp_path / "cache" / "mini"

    def write(folder: Path, sizes: object, done: object) -> None:
        written.append(folder)
        time.sleep(0.2)
        folder.mkdir()
        (folder / suite.MANIFEST).write_text(f'{{"version": {suite.SUITE_VERSION}}}', encoding="utf-8")

    monkeypatch.setattr(suite, "write_suite", write)
    threads = [threading.Thread(target=suite.ensure_suite, args=(folder,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == [folder] and [path.name for path in folder.parent.iterdir()] == ["mini"]


def test_what_a_killed_writer_of_the_suite_has_left_is_removed(tmp_path, monkeypatch, tiny_sizes):
    def killed(*arguments: object) -> None:
        os._exit(9)

    cache = tmp_path / "cache"
    if not (child := os.fork()):
        monkeypatch.setattr(suite, "render", killed)
        suite.write_suite(cache / "mini", tiny_sizes)
    os.waitpid(child, 0)
    (draft,) = cache.iterdir()
    (cache / "mine").mkdir()

    def write(folder: Path, sizes: object, done: object) -> None:
        assert not draft.exists()
        folder.mkdir()
        (folder / suite.MANIFEST).write_text(f'{{"version": {suite.SUITE_VERSION}}}', encoding="utf-8")

    monkeypatch.setattr(suite, "write_suite", write)
    suite.ensure_suite(cache / "mini")
    assert sorted(path.name for path in cache.iterdir()) == ["mine", "mini"]
