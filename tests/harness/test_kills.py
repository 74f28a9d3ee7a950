"""Runs that are killed, stopped or cannot write at some point, and given again: the end is that of an unbroken run."""

import json
import os
import random
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

ROOT = Path(__file__).parent.parent.parent
PROGRAM = ROOT / "tests" / "harness" / "short_run.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
ALL_TASKS = "pr,asr,sid,asv,sd,ic,sf,qbe"
DISTILLING, PROBING, WRITING = "Trainer.update", "GridAdamW.step", "os.rename"
# By the name of a story, what happens to the run, and at which event since the first of that name.
FAULTS: dict[str, list[tuple[str, str, int]]] = {
    "unbroken": [],
    "killed distilling": [("SIGKILL", DISTILLING, 8)],
    "killed probing": [("SIGKILL", PROBING, 6)],
    "killed writing": [("SIGKILL", WRITING, 1), ("SIGKILL", WRITING, 30)],
    "terminated": [("SIGTERM", PROBING, 6)],
    "interrupted": [("SIGINT", DISTILLING, 8)],
    "full": [("ENOSPC", "", 1), ("ENOSPC", DISTILLING, 4), ("ENOSPC", PROBING, 6)],
    "read-only": [("EROFS", "", 1), ("EROFS", PROBING, 6)],
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


@dataclass(frozen=True)
class Story:
    """A run that is begun several times, each time with a fault but for the last one."""

    out: Path
    failed: list[dict[str, Any]]
    resumed: dict[str, Any]


@pytest.fixture(scope="module")
def stories(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Story]:
    """Every story of FAULTS, and an unbroken run, in one program."""
    folder = tmp_path_factory.mktemp("stories")
    outs = {name: folder / f"the run {number}" for number, name in enumerate(FAULTS)}
    jobs = [job(corpora, outs[name], "asr", *fault) for name, faults in FAULTS.items() for fault in (*faults, ())]
    results = iter(perform(jobs, folder))
    return {name: Story(outs[name], [next(results) for _ in FAULTS[name]], next(results)) for name in FAULTS}


def assert_ends_alike(story: Story, whole: Path) -> None:
    assert story.resumed["exit_code"] == 0, story.resumed["stderr"]
    assert outcome(story.out) == outcome(whole)
    assert not left_over(story.out)


@pytest.mark.parametrize("name", ["unbroken", "killed distilling", "killed probing", "killed writing"])
def test_a_killed_run_ends_as_an_unbroken_one(stories, name):
    assert [failed["exit_code"] for failed in stories[name].failed] == [-9] * len(FAULTS[name])
    assert_ends_alike(stories[name], stories["unbroken"].out)


@pytest.mark.slow
def test_a_run_killed_at_any_of_twenty_moments_ends_as_an_unbroken_one(corpora, tmp_path):
    (whole,) = perform([job(corpora, tmp_path / "whole", ALL_TASKS)], tmp_path)
    points = sorted(random.Random(6).sample(range(1, whole["events"] + 1), 20))
    outs = [tmp_path / f"killed-at-{at}" for at in points]
    killed = [job(corpora, out, ALL_TASKS, "SIGKILL", "", at) for out, at in zip(outs, points, strict=True)]
    results = perform([each for one in killed for each in (one, one | {"fault": ""})], tmp_path)
    for out, failed, resumed in zip(outs, results[::2], results[1::2], strict=True):
        assert failed["exit_code"] == -9
        assert_ends_alike(Story(out, [failed], resumed), tmp_path / "whole")


@pytest.mark.parametrize(("name", "signal", "code"), [("terminated", "SIGTERM", 143), ("interrupted", "SIGINT", 130)])
def test_a_stopped_run_says_how_it_goes_on(stories, corpora, name, signal, code):
    story = stories[name]
    (stopped,) = story.failed
    *_, last = stopped["stderr"].splitlines()
    assert stopped["exit_code"] == code and "Traceback" not in stopped["stderr"]
    told = re.fullmatch(f"Stopped by {signal}: finished results are kept in (.*). Resume with: (harness .*)", last)
    assert told and told[1] == str(story.out)
    assert shlex.split(told[2]) == ["harness", *job(corpora, story.out, "asr")["arguments"]]
    assert_ends_alike(story, stories["unbroken"].out)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("full", r"Error: no space left on the disk \(.*\): finished results are kept; free some space, and the same"),
        ("read-only", r"Error: Read-only file system \(.*\): make it writable, or choose another folder"),
    ],
)
def test_a_disk_that_takes_no_more_loses_nothing(stories, name, line):
    """Before anything is written, in the distillation and in a probe."""
    for failed in stories[name].failed:
        assert failed["exit_code"] == 2 and "Traceback" not in failed["stderr"]
        assert re.match(line, failed["stderr"].splitlines()[-1])
    assert_ends_alike(stories[name], stories["unbroken"].out)


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
    assert_ends_alike(Story(tmp_path / "copy", [full, read_only], resumed), tmp_path / "whole")
