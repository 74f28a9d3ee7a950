"""What a run leaves behind: nothing of the machine that it ran on, and with the permissions that the user wants."""

import os
import platform
import re
import socket
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import harness.run as engine
import harness.suite
import reports.page
from harness.config import EvaluationSettings, RunSettings, without_folders
from harness.progress import Stages
from reports.records import read_records
from students.upstreams import MINI_TEACHER
from tasks.mini.calibration import Sizes
from tasks.mini.settings import MINI_PROBES
from tasks.mini.suite import write_suite

TASKS = ("sid", "ic")
UMASKS = [0o027, *(pytest.param(umask, marks=pytest.mark.slow) for umask in (0o022, 0o077))]
ROOT = Path(__file__).parents[2]
NAMES = ("someones-home", "someones-machine", "someone-by-name")


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("hubert_base", "hubert_base"),
        ("torchaudio:HUBERT_BASE:/data/me/hubert.pt", "torchaudio:HUBERT_BASE:hubert.pt"),
        ("s3prl:hubert:~/hubert.pt", "s3prl:hubert:hubert.pt"),
        ("/data/me/runs/a/students/starhubert/", "starhubert"),
        ("hf:facebook/hubert-base-ls960", "hf:facebook/hubert-base-ls960"),
        ("runs/a/students/starhubert", "runs/a/students/starhubert"),
    ],
)
def test_folders_of_a_machine_are_left_out_of_a_models_name(spec: str, shown: str) -> None:
    assert without_folders(spec) == shown


@pytest.fixture(scope="module", params=UMASKS, ids=lambda umask: f"umask {umask:03o}")
def left_behind(
    request: pytest.FixtureRequest, tiny_sizes: Sizes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, int]]:
    """A folder with the corpora, a run, an evaluation and a cache, all named by paths from the root; two files of the
    corpora cannot be read, one of them of those to distil on. With the umask that they were made with."""
    folder = tmp_path_factory.mktemp(NAMES[0])
    before = os.umask(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        for module, function in ((platform, "node"), (socket, "gethostname"), (socket, "getfqdn")):
            patch.setattr(module, function, lambda *_: NAMES[1])
        for name in ("USER", "LOGNAME", "USERNAME"):
            patch.setenv(name, NAMES[2])
        probes = {name: replace(probe, steps=2, eval_every=2, batch=2) for name, probe in MINI_PROBES.items()}
        patch.setattr(harness.suite, "MINI_PROBES", probes)
        brief = {"steps": 2, "batch_seconds": 8.0, "learning_rate": 1e-3, "buckets": 2}
        patch.setattr(engine, "MINI_DISTILLATION", brief)
        patch.setattr(engine, "_counts", lambda run: [])
        draw = reports.page.write_figures  # without those that take long
        patch.setattr(reports.page, "write_figures", lambda folder, _, *drawn: draw(folder, [], *drawn))
        try:
            corpora = folder / "corpora"
            write_suite(corpora, tiny_sizes)
            for pattern in ("VoxCeleb1/**/*.wav", "LibriSpeech/train-*/**/*.flac"):
                path = sorted(corpora.glob(pattern))[0]
                path.write_bytes(b"R" * 2000)
            teacher = str(MINI_TEACHER.resolve())
            run = RunSettings(
                ("starhubert",), folder / "run", TASKS, teacher=teacher, corpora=corpora, cache=folder / "cache"
            )
            engine.execute(run, Stages())
            student = str(folder / "run/students/starhubert")
            engine.execute_evaluation(EvaluationSettings(student, folder / "alone", TASKS, corpora=corpora), Stages())
            yield folder, request.param
        finally:
            os.umask(before)


def test_nothing_tells_whose_machine_it_was(left_behind: tuple[Path, int]) -> None:
    folder, _ = left_behind
    secrets = [*NAMES, str(folder.parent), str(ROOT)]
    for path in (path for name in ("run", "alone") for path in (folder / name).rglob("*") if path.is_file()):
        content = path.read_bytes()
        found = [secret for secret in secrets if secret.encode() in content]
        assert not found, f"{path.relative_to(folder)} tells {found}"
        if path.suffix in (".json", ".jsonl", ".md", ".txt"):
            text = content.decode("utf-8")
            assert not re.search(r"(?<![\w.~:/<])/(?:[\w.-]+/)+[\w.-]+", text), f"an absolute path in {path.name}"


def test_what_was_set_aside_is_named_all_the_same(left_behind: tuple[Path, int]) -> None:
    folder, _ = left_behind
    reasons = {reason for record in read_records(folder / "alone/records") for reason in record.skipped}
    (reason,) = reasons
    broken = sorted((folder / "corpora").glob("VoxCeleb1/**/*.wav"))[0]
    name = broken.relative_to(broken.parents[2]).as_posix()
    assert reason.startswith(f"{name}: cannot read {broken.name}: ")
    html = (folder / "run/report.html").read_text(encoding="utf-8")
    assert "set aside" in html and re.search(r"[\d-]+: cannot read [\d-]+\.flac: ", html)


def test_files_have_the_users_permissions(left_behind: tuple[Path, int]) -> None:
    folder, umask = left_behind
    for path in folder.rglob("*"):
        wanted = (0o777 if path.is_dir() else 0o666) & ~umask
        if "corpora" in path.parts and path.is_file():  # libsndfile writes for the owner alone, at most for the others
            wanted &= 0o644
        found = stat.S_IMODE(path.stat().st_mode)
        assert found == wanted, f"{path.relative_to(folder)} has {found:o}, expected {wanted:o}"
