"""What stopped commands and refused writes say."""

import errno
import os
import signal
from pathlib import Path

import pytest

from harness.stopping import Stopped, farewell, refusal, stoppable


@pytest.mark.parametrize(("number", "name", "code"), [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGINT, "SIGINT", 130)])
def test_signals_are_raised_meanwhile_and_handled_as_before_afterwards(number, name, code):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stop, stoppable():
        os.kill(os.getpid(), number)
    assert (stop.value.name, stop.value.exit_code) == (name, code)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("option", [["--overwrite", "always"], ["--overwrite=always"]])
def test_a_command_that_overwrites_everything_is_not_resumed_as_that(option):
    line = farewell(Stopped(2), ["harness", "run", "--out", "my run", *option, "--seed", "1"], Path("my run"))
    asked = " ".join(option).replace("always", "stale")
    told = f"finished results are kept in my run. Resume with: harness run --out 'my run' {asked} --seed 1"
    assert line == f"Stopped by SIGINT: {told}"


def test_a_command_that_keeps_nothing_only_stops():
    assert farewell(Stopped(15), ["harness", "doctor"], None) == "Stopped by SIGTERM."


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left on the disk (x/y): finished results are kept; free some space"),
        (errno.EDQUOT, "no space left on the disk (x/y)"),
        (errno.EACCES, "Permission denied (x/y): make it writable, or choose another folder"),
        (errno.EROFS, "Read-only file system (x/y): make it writable"),
        (errno.ENOENT, "[Errno 2] No such file or directory: 'x/y'"),
    ],
)
def test_what_the_system_refuses_comes_with_a_cure(number, words):
    assert refusal(OSError(number, os.strerror(number), "x/y")).startswith(words)


def test_a_path_may_be_unknown():
    assert refusal(OSError(errno.ENOSPC, "No space left on device")).startswith("no space left on the disk: finished")
