"""Runs that are killed, stopped or cannot write at some point, and given again: the end is that of an unbroken run."""

import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

ROOT = Path(__file__).parent.parent.parent
PROGRAM = ROOT / "tests" / "harness" / "short_run.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
ALL_TASKS = "pr,asr,sid,asv,sd,ic,sf,qbe"
DISTILLING, PROBING, WRITING = "Trainer.update", "GridAdamW.step", "os.rename"
# What befalls one run, one after another, each at an event counted from the first of that name.
CHAIN = [
    ("EROFS", "", 1),
    ("SIGKILL", DISTILLING, 8),
    ("ENOSPC", DISTILLING, 4),
    ("SIGKILL", PROBING, 6),
    ("SIGTERM", PROBING, 8),
    ("SIGKILL", WRITING, 9),
    ("ENOSPC", PROBING, 8),
    ("SIGINT", PROBING, 9),
]
CODES = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130, "ENOSPC": 2, "EROFS": 2}
LINES = {
    "SIGTERM": "Stopped by SIGTERM: finished results are kept in (.*). Resume with: (harness .*)",
    "SIGINT": "Stopped by SIGINT: finished results are kept in (.*). Resume with: (harness .*)",
    "ENOSPC": r"Error: no space left on the disk \(.*\): finished results are kept; free some space, and the same .*",
    "EROFS": r"Error: Read-only file system \(.*\): make it writable, or choose another folder .*",
}


def job(corpora: Path, out: Path, tasks: str, fault: str = "", since: str = "", at: int = 0) -> dict[str, Any]:
    arguments = ["run", "--student", "starhubert", "--tasks", tasks, "--corpora", str(corpora), "--out", str(out)]
    return {"arguments": arguments, "out": str(out), "fault": fault, "since": since, "at": at}


def perform(jobs: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    command = [sys.executable, str(PROGRAM), str(folder / "jobs.json")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def outcome(out: Path) -> dict[str, Any]:
    """All that a run leaves, but for times and the state of the checkout."""
    found: dict[str, Any] = {}
    for path in sorted((out / "records").glob("*.json*")):
        found[path.name] = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            found[path.name] = {
                key: value
                for key, value in json.loads(found[path.name]).items()
                if key not in ("seconds", "started_at", "commit", "dirty")
            }
    for path in sorted((out / "students").rglob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found[str(path.relative_to(out))] = {key: file.get_tensor(key).numpy().tobytes() for key in file.keys()}  # noqa: SIM118
    for path in sorted((out / "students").rglob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found[str(path.relative_to(out))] = [{**row, "seconds": None} for row in rows]
    found["counts"] = json.loads((out / "counts.json").read_text(encoding="utf-8"))
    return found


def left_over(out: Path) -> list[str]:
    """Half-done states, which no finished run has."""
    return [path.name for path in out.rglob("*") if path.suffix in (".pt", ".partial") or path.name == ".lock"]


def assert_ends_alike(out: Path, resumed: dict[str, Any], whole: Path) -> None:
    assert resumed["exit_code"] == 0, resumed["stderr"]
    assert outcome(out) == outcome(whole)
    assert not left_over(out)


def assert_said(fault: str, failed: dict[str, Any], given: dict[str, Any]) -> None:
    """The exit code of a fault and its one line, in which a stopped run names its folder and command."""
    assert failed["exit_code"] == CODES[fault] and "Traceback" not in failed["stderr"]
    if fault in LINES:
        told = re.fullmatch(LINES[fault], failed["stderr"].splitlines()[-1])
        assert told, failed["stderr"]
        if told.groups():
            assert told[1] == given["out"] and shlex.split(told[2]) == ["harness", *given["arguments"]]


def test_a_run_that_much_befalls_ends_as_an_unbroken_one(corpora, tmp_path):
    out, whole = tmp_path / "the run", tmp_path / "whole"
    jobs = [job(corpora, out, "asr", *fault) for fault in (*CHAIN, ())]
    *failed, resumed, unbroken = perform([*jobs, job(corpora, whole, "asr")], tmp_path)
    for (fault, *_), given, each in zip(CHAIN, jobs, failed, strict=False):
        assert_said(fault, each, given)
    assert unbroken["exit_code"] == 0
    assert_ends_alike(out, resumed, whole)


@pytest.mark.slow
def test_each_fault_alone_loses_nothing(corpora, tmp_path):
    """As a rule in the distillation, in a probe and at a write."""
    faults = [(fault, since, at) for fault in CODES for since, at in ((DISTILLING, 6), (PROBING, 6), (WRITING, 10))]
    jobs = [job(corpora, tmp_path / f"run {number}", "asr", *fault) for number, fault in enumerate(faults)]
    both = [each for one in jobs for each in (one, one | {"fault": ""})]
    results = perform([job(corpora, tmp_path / "whole", "asr"), *both], tmp_path)
    for given, failed, resumed in zip(jobs, results[1::2], results[2::2], strict=True):
        assert_said(given["fault"], failed, given)
        assert_ends_alike(Path(given["out"]), resumed, tmp_path / "whole")


@pytest.mark.slow
def test_a_run_killed_at_any_of_twenty_moments_ends_as_an_unbroken_one(corpora, tmp_path):
    (whole,) = perform([job(corpora, tmp_path / "whole", ALL_TASKS)], tmp_path)
    points = sorted(random.Random(6).sample(range(1, whole["events"] + 1), 20))
    outs = [tmp_path / f"killed-at-{at}" for at in points]
    killed = [job(corpora, out, ALL_TASKS, "SIGKILL", "", at) for out, at in zip(outs, points, strict=True)]
    results = perform([each for one in killed for each in (one, one | {"fault": ""})], tmp_path)
    for out, failed, resumed in zip(outs, results[::2], results[1::2], strict=True):
        assert failed["exit_code"] == -9
        assert_ends_alike(out, resumed, tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path):
    """Runs a shell script in a namespace where a tmpfs of 6 MB is mounted on `disk`; the script may mount it anew."""
    (tmp_path / "disk").mkdir()

    def run(script: str) -> None:
        whole = f"set -e; mount -t tmpfs -o size=6m tmpfs disk; {script}"
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", whole]
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    try:
        run("true")
    except (AssertionError, FileNotFoundError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    return run


@pytest.mark.slow
def test_a_small_disk_that_fills_and_one_mounted_read_only_lose_nothing(small_disk, corpora, tmp_path):
    for name, out in (("jobs", tmp_path / "disk" / "run"), ("others", tmp_path / "whole")):
        (tmp_path / name).write_text(json.dumps([job(corpora, out, "asr")]), encoding="utf-8")
    perform = shlex.join([sys.executable, str(PROGRAM)])
    small_disk(
        f"{perform} jobs > full; mount -o remount,ro disk; {perform} jobs > read-only; "
        f"mount -o remount,rw,size=60m disk; {perform} jobs > resumed; cp -r disk/run copy; {perform} others > unbroken"
    )
    names = ("full", "read-only", "resumed", "unbroken")
    full, read_only, resumed, unbroken = (json.loads((tmp_path / name).read_text())[0] for name in names)
    for failed, start in ((full, "Error: no space left on the disk"), (read_only, "Error: Read-only file system (")):
        assert failed["exit_code"] == 2 and failed["stderr"].splitlines()[-1].startswith(start)
    assert unbroken["exit_code"] == 0
    assert_ends_alike(tmp_path / "copy", resumed, tmp_path / "whole")
