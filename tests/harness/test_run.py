"""The whole road on a suite of a few utterances."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import pytest
from click.testing import CliRunner

import harness.run as engine
import harness.suite
from harness.cli import main
from harness.config import EvaluationSettings, RunSettings, UsageError
from harness.gate import compare
from harness.progress import Stages
from reports.baseline import read_cells
from reports.records import read_records, to_json
from reports.tables import measured_table
from tasks.base import CorpusError
from tasks.registry import TASKS as ALL_TASKS
from tasks.registry import load_task

TASKS = ("pr", "asr", "sid", "asv", "sd", "ic", "sf", "qbe")
METRICS = {
    "pr": ("per",),
    "asr": ("wer",),
    "sid": ("acc",),
    "asv": ("eer",),
    "sd": ("der",),
    "ic": ("acc",),
    "sf": ("f1", "cer"),
    "qbe": ("mtwv",),
}


def run(corpora: Path, out: Path, seed: int = 0):
    return engine.execute(RunSettings(("starhubert",), out, TASKS, seed=seed, corpora=corpora), Stages())


@pytest.fixture(scope="module")
def first(corpora, short, tmp_path_factory):
    out = tmp_path_factory.mktemp("first")
    return out, run(corpora, out)


def test_four_rows_on_every_task(first):
    out, records = first
    rows = ["fbank", "mini-hubert", "random:starhubert", "starhubert"]
    columns = [(task, metric) for task in TASKS for metric in METRICS[task]]
    assert [(r.upstream, r.task, r.metric) for r in records] == [(row, *column) for row in rows for column in columns]
    for record in records:
        assert record.low <= record.high and record.stderr >= 0
        assert record.n_examples == record.n_total
    assert {record.n_total for record in records if record.task == "qbe"} == {2}  # of the searched language
    assert all(record.synthetic and record.suite == "mini" for record in records)
    assert {to_json(r)["config_hash"] for r in read_records(out / "records")} == {r.config_hash for r in records}
    for name in (
        "report.md",
        "report.html",
        "report.json",
        "figures/distillation.png",
        "figures/distillation.pdf",
        "counts.json",
        "students/starhubert/distillation.jsonl",
    ):
        assert (out / name).stat().st_size > 0
    assert "mini (synthetic speech)" in (out / "report.md").read_text()


def slow_error_rate(rows) -> float:
    return 100 * jiwer.wer([row["reference"] for row in rows], [row["hypothesis"] for row in rows])


def slow_accuracy(rows) -> float:
    """The mean over the folds."""
    right = {}
    for row in rows:
        right.setdefault(row.get("fold"), []).append(row["reference"] == row["hypothesis"])
    return 100 * sum(sum(fold) / len(fold) for fold in right.values()) / len(right)


def slow_equal_error_rate(rows) -> float:
    """Where the two straight-lined error rates meet, by bisection."""
    from scipy.optimize import brentq
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve([row["reference"] == "1" for row in rows], [row["hypothesis"] for row in rows])
    return 100 * brentq(lambda rate: 1 - np.interp(rate, false, true) - rate, 0, 1)


def test_every_score_can_be_recomputed_from_its_predictions_alone(corpora, short, tmp_path):
    references = {"per": slow_error_rate, "wer": slow_error_rate, "acc": slow_accuracy, "eer": slow_equal_error_rate}
    records = engine.execute_evaluation(EvaluationSettings("fbank", tmp_path, ALL_TASKS, corpora=corpora), Stages())
    assert {record.task for record in records} == set(ALL_TASKS) and len(records) == 11
    for record in records:
        rows = [json.loads(line) for line in (tmp_path / "records" / record.predictions).read_text().splitlines()]
        assert len(rows) == record.n_examples
        own = {metric.name: metric.score for metric in load_task(record.task).metrics}[record.metric]
        assert references.get(record.metric, own)(rows) == pytest.approx(record.value, abs=1e-6), record.task
    outcomes = compare(read_cells(tmp_path), read_cells(tmp_path))
    assert [outcome.reason for outcome in outcomes] == ["not worse"] * 11


@pytest.mark.parametrize("protocol", ["corrected", "official"])
def test_one_upstream_alone_gets_the_same_scores_and_goes_on_where_it_stopped(first, corpora, tmp_path, protocol):
    settings = EvaluationSettings("fbank", tmp_path, TASKS, corpora=corpora, protocol=protocol)
    records = engine.execute_evaluation(settings, Stages())
    same = [task for task in TASKS if protocol == "corrected" or task not in ("asv", "sd", "qbe")]
    expected = [r.value for r in first[1] if r.upstream == "fbank" and r.task in same]
    assert [r.value for r in records if r.task in same] == expected
    (tmp_path / "records" / "fbank.sid.seed0.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()}
    assert [r.value for r in engine.execute_evaluation(settings, Stages())] == [r.value for r in records]
    changed = {path.name for path in before if path.stat().st_mtime_ns != before[path]}
    assert changed == {"fbank.sid.seed0.jsonl"}


def test_states_kept_on_disk_give_the_same_scores(first, corpora, tmp_path):
    tasks = ("pr", "sid")
    for budget in (20.0, 0.0):
        settings = EvaluationSettings("mini-hubert", tmp_path / str(budget), tasks, corpora=corpora)
        settings = replace(settings, cache=tmp_path / "states", cache_gb=budget)
        records = engine.execute_evaluation(settings, Stages())
        assert [r.value for r in records] == [
            r.value for r in first[1] if r.upstream == "mini-hubert" and r.task in tasks
        ]
    assert len(list((tmp_path / "states").glob("*/*.states"))) > 14


def test_the_official_corpora_must_be_given(tmp_path, monkeypatch):
    monkeypatch.delenv("SUPERB_ROOT", raising=False)
    with pytest.raises(UsageError, match=r"no folder of the official corpora \(none given\).*--corpora or SUPERB_ROOT"):
        engine.execute_evaluation(EvaluationSettings("fbank", tmp_path, suite="superb"), Stages())


def test_official_settings_on_corpora_in_the_official_layout(corpora, tmp_path, monkeypatch):
    official = load_task("sid")
    brief = replace(official, official=replace(official.official, steps=2, eval_every=1))
    monkeypatch.setattr("harness.evaluate.load_task", lambda name, protocol: brief)
    settings = EvaluationSettings("fbank", tmp_path, ("sid",), "superb", corpora=corpora, cache=tmp_path / "states")
    (record,) = engine.execute_evaluation(settings, Stages())
    assert (record.suite, record.synthetic, record.learning_rates) == ("superb", False, [0.1, 0.01, 0.005, 0.001])
    assert record.deviations[3:] == list(official.differences)


def test_all_corpora_that_are_missing_are_told_at_once(tmp_path):
    (tmp_path / "corpora").mkdir()
    settings = EvaluationSettings("fbank", tmp_path / "out", ("sid", "ic"), "superb", corpora=tmp_path / "corpora")
    with pytest.raises(CorpusError, match=r"VoxCeleb1.*\n.*Fluent Speech Commands"):
        engine.execute_evaluation(settings, Stages())


def broken_copy(corpora: Path, folder: Path, count: int) -> list[Path]:
    """A copy of the suite in which some files of VoxCeleb1 cannot be read; their contents stand in a folder beside."""
    shutil.copytree(corpora, folder)
    paths = sorted((folder / "VoxCeleb1").rglob("*.wav"))[:count]
    for path in paths:
        path.with_suffix(".kept").write_bytes(path.read_bytes())
        path.write_bytes(b"R" * path.stat().st_size)
    return paths


def test_a_file_that_is_repaired_is_scored_again(corpora, short, tmp_path):
    (path,) = broken_copy(corpora, tmp_path / "suite", 1)
    settings = EvaluationSettings("fbank", tmp_path / "out", ("sid", "ic"), "superb", corpora=tmp_path / "suite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.suite.Suite.probe", lambda suite, task: harness.suite.MINI_PROBES[task.name])
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        sid, ic = engine.execute_evaluation(settings, Stages())
        assert len(sid.skipped) == 1 and sid.skipped[0].startswith(f"{path.relative_to(path.parents[2])}: cannot read")
        assert not ic.skipped
        again, _ = engine.execute_evaluation(settings, Stages())
        assert again.seconds == sid.seconds
        path.write_bytes(path.with_suffix(".kept").read_bytes())
        repaired, same = engine.execute_evaluation(settings, Stages())
    assert not repaired.skipped and same.seconds == ic.seconds


def test_a_task_that_fails_is_recorded_and_the_others_go_on(corpora, short, tmp_path, monkeypatch):
    broken_copy(corpora, tmp_path / "suite", 3)
    monkeypatch.setattr("harness.features.FEWEST_BAD", 2)
    settings = EvaluationSettings("fbank", tmp_path / "out", ("sid", "ic"), corpora=tmp_path / "suite")
    sid, ic = engine.execute_evaluation(settings, Stages())
    assert sid.value is None and sid.skipped[0].startswith("3 audio files cannot be used, more than the limit of 2")
    assert ic.value is not None
    options = ["--tasks", "sid,ic", "--corpora", str(tmp_path / "suite"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, ["evaluate", "--upstream", "fbank", *options])
    assert result.exit_code == 1 and "Error: 1 of 2 results failed: fbank on sid" in result.stderr
    table = measured_table([sid, ic])
    assert any("3 audio files cannot be used" in note for note in table.footnotes)


def test_an_empty_part_of_a_corpus_is_told_before_anything_is_computed(corpora, tmp_path):
    shutil.copytree(corpora, tmp_path / "suite")
    lists = tmp_path / "suite/VoxCeleb1/iden_split.txt"
    lists.write_text(lists.read_text().replace("\n2 ", "\n3 "), encoding="utf-8")
    settings = EvaluationSettings("fbank", tmp_path / "out", ("sid",), corpora=tmp_path / "suite")
    with pytest.raises(CorpusError, match="nothing in dev of VoxCeleb1"):
        engine.execute_evaluation(settings, Stages())


def test_the_same_seed_gives_the_same_scores_and_predictions(first, corpora, tmp_path):
    out, records = first
    tasks = ("asr", "sid", "sd")  # dropout and warped features, means, permutations
    again = engine.execute(RunSettings(("starhubert",), tmp_path, tasks, corpora=corpora), Stages())
    assert [record.value for record in again] == [record.value for record in records if record.task in tasks]
    files = sorted((tmp_path / "records").glob("*.jsonl"))
    assert len(files) == 4 * len(tasks)
    for file in files:
        assert file.read_bytes() == (out / "records" / file.name).read_bytes()


def test_a_finished_run_is_not_computed_again(first, corpora):
    out, records = first
    before = {path: path.stat().st_mtime_ns for path in (out / "records").iterdir()}
    assert [record.value for record in run(corpora, out)] == [record.value for record in records]
    assert {path: path.stat().st_mtime_ns for path in (out / "records").iterdir()} == before


def test_a_repaired_file_of_a_trial_is_scored_again(corpora, short, tmp_path):
    shutil.copytree(corpora, tmp_path / "suite")
    (fold,) = load_task("asv").folds(tmp_path / "suite")
    path = fold["test"][0].other
    content = path.read_bytes()
    path.write_bytes(b"R" * len(content))
    settings = EvaluationSettings("fbank", tmp_path / "out", ("asv",), "superb", corpora=tmp_path / "suite")
    settings = replace(settings, cache=tmp_path / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.suite.Suite.probe", lambda suite, task: harness.suite.MINI_PROBES[task.name])
        (broken,) = engine.execute_evaluation(settings, Stages())
        path.write_bytes(content)
        (repaired,) = engine.execute_evaluation(settings, Stages())
    assert len(broken.skipped) == 1 and broken.n_examples < broken.n_total
    assert not repaired.skipped and repaired.n_examples == repaired.n_total
