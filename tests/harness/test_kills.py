"""Runs that are killed, stopped or cannot write at some point, and given again: the end is that of an unbroken run."""

import errno
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
import torch
from safetensors import safe_open

ROOT = Path(__file__).parent.parent.parent
PROGRAM = ROOT / "tests" / "harness" / "short_run.py"
ALL_TASKS = "pr,asr,sid,asv,sd,ic,sf,qbe"


def job(corpora: Path, out: Path, tasks: str, fault: str = "", at: int = 0) -> dict[str, Any]:
    arguments = ["run", "--student", "starhubert", "--tasks", tasks, "--corpora", str(corpora), "--out", str(out)]
    return {"arguments": arguments, "out": str(out), "fault": fault, "at": at}


def perform(jobs: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    command = [sys.executable, str(PROGRAM), str(folder / "jobs.json")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def outcome(out: Path) -> dict[str, Any]:
    """All that a run leaves, but for times."""
    found: dict[str, Any] = {}
    for path in sorted((out / "records").iterdir()):
        found[path.name] = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            found[path.name] = {
                key: value
                for key, value in json.loads(found[path.name]).items()
                if key not in ("seconds", "started_at")
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


@pytest.fixture(scope="module")
def whole(corpora, tmp_path_factory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an unbroken run of one task leaves, and its events."""
    folder = tmp_path_factory.mktemp("whole")
    (done,) = perform([job(corpora, folder / "run", "asr")], folder)
    assert done["exit_code"] == 0 and not left_over(folder / "run")
    return outcome(folder / "run"), done


def kill_and_resume(points, corpora, folder, tasks, expected):
    jobs = []
    for at in points:
        out = folder / f"at-{at}"
        jobs += [job(corpora, out, tasks, "SIGKILL", at), job(corpora, out, tasks)]
    results = perform(jobs, folder)
    for at, killed, resumed in zip(points, results[::2], results[1::2], strict=True):
        out = folder / f"at-{at}"
        assert (killed["exit_code"], resumed["exit_code"]) == (-9, 0), (at, resumed["stderr"])
        assert outcome(out) == expected, at
        assert not [name for name in left_over(out) if name != ".lock"]


def test_a_killed_run_ends_as_an_unbroken_one(whole, corpora, tmp_path):
    """Three moments: in the distillation, in a probe, and at some write."""
    expected, done = whole
    points = [done["first"]["Trainer.update"] + 6, done["first"]["GridAdamW.step"] + 8, done["events"] * 2 // 3]
    kill_and_resume(points, corpora, tmp_path, "asr", expected)


@pytest.mark.slow
def test_a_run_killed_at_any_of_twenty_moments_ends_as_an_unbroken_one(corpora, tmp_path):
    (done,) = perform([job(corpora, tmp_path / "whole", ALL_TASKS)], tmp_path)
    points = sorted(random.Random(6).sample(range(1, done["events"] + 1), 20))
    kill_and_resume(points, corpora, tmp_path, ALL_TASKS, outcome(tmp_path / "whole"))


@pytest.mark.parametrize(("fault", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_stopped_run_says_how_it_goes_on(whole, corpora, tmp_path, fault, code):
    expected, done = whole
    out = tmp_path / "my run"
    stopped, resumed = perform(
        [job(corpora, out, "asr", fault, done["first"]["GridAdamW.step"] + 5), job(corpora, out, "asr")], tmp_path
    )
    *_, last = stopped["stderr"].splitlines()
    assert stopped["exit_code"] == code and "Traceback" not in stopped["stderr"]
    told = re.fullmatch(f"Stopped by {fault}: finished results are kept in (.*). Resume with: (harness .*)", last)
    assert told[1] == str(out) and shlex.split(told[2]) == ["harness", *job(corpora, out, "asr")["arguments"]]
    assert resumed["exit_code"] == 0 and outcome(out) == expected and not left_over(out)


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("ENOSPC", r"Error: no space left on the disk \(.*\): finished results are kept; free some space, and the same"),
        ("EROFS", r"Error: Read-only file system \(.*\): make it writable, or choose another folder"),
    ],
)
def test_a_disk_that_takes_no_more_loses_nothing(whole, corpora, tmp_path, fault, line):
    """The disk fills, or is mounted read-only, in the distillation, in a probe, and before anything is written."""
    expected, done = whole
    points = [done["first"]["Trainer.update"] + 3, done["first"]["GridAdamW.step"] + 5, 1]
    jobs = [job(corpora, tmp_path / "run", "asr", fault, at) for at in points]
    *failed, resumed = perform([*jobs, job(corpora, tmp_path / "run", "asr")], tmp_path)
    for each in failed:
        assert each["exit_code"] == 2 and "Traceback" not in each["stderr"]
        assert re.match(line, each["stderr"].splitlines()[-1])
    assert resumed["exit_code"] == 0 and outcome(tmp_path / "run") == expected
