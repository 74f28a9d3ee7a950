"""The whole road on a suite of a few utterances."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import harness.run as engine
from harness.config import RunSettings, UsageError
from harness.progress import Stages
from reports.records import read_records, to_json
from tasks.mini.calibration import Sizes
from tasks.mini.suite import write_suite

TINY = Sizes(
    read_speakers=(2, 1, 1),
    read_sentences=(8, 3, 3),
    command_speakers=(2, 1, 1),
    keyword_takes=1,
    other_takes=1,
    discarded_clips=1,
    command_test_clips=1,
    celebrities=(3, 1),
    celebrity_clips=(3, 1, 1),
    dialogs=1,
    turns=9,
)
TASKS = ("pr", "asr", "sid")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("suite") / "mini"
    write_suite(folder, TINY)
    return folder


@pytest.fixture(scope="module")
def short():
    """Probes and distillation of a few updates, for the module."""
    patch = pytest.MonkeyPatch()
    probes = {name: replace(probe, steps=4, eval_every=2, batch=2) for name, probe in engine.MINI_PROBES.items()}
    patch.setattr(engine, "MINI_PROBES", probes)
    patch.setattr(engine, "MINI_DISTILLATION", {"steps": 3, "batch_seconds": 8.0, "learning_rate": 1e-3, "buckets": 2})
    patch.setattr(engine, "PROFILING_SAMPLES", {"short": (20560,)})
    yield
    patch.undo()


def run(corpora: Path, out: Path, seed: int = 0):
    return engine.execute(RunSettings("starhubert", out, TASKS, seed=seed, corpora=corpora), Stages())


@pytest.fixture(scope="module")
def first(corpora, short, tmp_path_factory):
    out = tmp_path_factory.mktemp("first")
    return out, run(corpora, out)


def test_four_rows_on_every_task(first):
    out, records = first
    rows = ["fbank", "mini-hubert", "random:starhubert", "starhubert"]
    assert [(r.upstream, r.task) for r in records] == [(row, task) for row in rows for task in TASKS]
    assert all(record.synthetic and record.suite == "mini" for record in records)
    assert {to_json(r)["config_hash"] for r in read_records(out / "records")} == {r.config_hash for r in records}
    for name in ("report.md", "report.html", "report.json", "report.png", "counts.json", "distillation.jsonl"):
        assert (out / name).stat().st_size > 0
    assert "mini (synthetic speech)" in (out / "report.md").read_text()


def test_a_score_can_be_recomputed_from_its_predictions(first):
    folder = first[0] / "records"
    record = next(r for r in read_records(folder) if r.task == "sid")
    lines = [json.loads(line) for line in (folder / record.predictions).read_text().splitlines()]
    assert len(lines) == record.n_examples
    assert record.value == pytest.approx(100 * sum(x["reference"] == x["hypothesis"] for x in lines) / len(lines))


def test_the_same_seed_gives_the_same_scores_and_predictions(first, corpora, tmp_path):
    out, records = first
    again = run(corpora, tmp_path)
    assert [record.value for record in again] == [record.value for record in records]
    for file in sorted((out / "records").glob("*.jsonl")):
        assert file.read_bytes() == (tmp_path / "records" / file.name).read_bytes()


def test_a_finished_run_is_not_computed_again(first, corpora):
    out, records = first
    before = {path: path.stat().st_mtime_ns for path in (out / "records").iterdir()}
    assert [record.value for record in run(corpora, out)] == [record.value for record in records]
    assert {path: path.stat().st_mtime_ns for path in (out / "records").iterdir()} == before


def test_another_seed_in_the_same_folder_is_refused(first, corpora):
    with pytest.raises(UsageError, match="holds a run with another seed: give a new folder with --out"):
        run(corpora, first[0], seed=1)
