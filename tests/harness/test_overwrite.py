"""Results in a folder that were made with other settings, or are damaged: what is said, and what becomes of them."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import harness.counting
import harness.run as engine
import harness.suite
import reports.page
from harness.cells import changes
from harness.cli import main
from harness.config import EvaluationSettings, RunSettings, UsageError
from harness.distilled import new_student
from harness.evaluate import half_done
from harness.progress import Stages
from harness.states import StateFile
from reports.records import read_records
from students.checkpoints import save_checkpoint
from students.upstreams import mini_teacher
from tasks.optimizer import GridAdamW
from tasks.processes import in_fresh_processes, locked

TASKS = ("sid", "ic")


@pytest.fixture(scope="module", autouse=True)
def plain(short):
    """Trainings of a few updates, without traces and figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.counting, "count_network", lambda *arguments: None)
        patch.setattr(reports.page, "write_figures", lambda *arguments: {})
        yield


@pytest.fixture(scope="module")
def finished(corpora, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    engine.execute(settings(corpora, out), Stages())
    return out


@pytest.fixture
def out(finished, tmp_path):
    """A copy of a finished run of starhubert on SID and IC."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def settings(corpora, out, **changed):
    return RunSettings(**{"students": ("starhubert",), "out": out, "tasks": TASKS, "corpora": corpora} | changed)


def execute(corpora, out, overwrite="never", **changed):
    return engine.execute(settings(corpora, out, **changed), Stages(), overwrite)


def kept(out):
    """When each file of records and students was written."""
    return {
        str(path.relative_to(out)): path.stat().st_mtime_ns
        for name in ("records", "students")
        for path in (out / name).rglob("*")
        if path.is_file()
    }


def values(out):
    return {(r.upstream, r.task): r.value for r in read_records(out / "records")}


def refused(corpora, out, **changed):
    """The lines of a refusal, after which nothing has changed."""
    before = kept(out)
    with pytest.raises(UsageError) as refusal:
        execute(corpora, out, **changed)
    assert kept(out) == before
    return str(refusal.value).splitlines()


def test_another_seed_makes_everything_stale_and_each_cell_is_named(corpora, out):
    *cells, cure = refused(corpora, out, seed=1)
    assert cells[0] == "fbank on ic: seed: 0 -> 1"
    assert cells[-1] == "student starhubert: seed: 0 -> 1"
    assert "starhubert on sid: its student is made again" in cells
    assert len(cells) == 4 * len(TASKS) + 1
    assert cure.startswith("results in the folder that do not fit: 9; type the same command with --overwrite stale")


def test_a_changed_probe_makes_its_task_stale_and_only_that_is_computed_again(corpora, out, monkeypatch):
    changed = replace(harness.suite.MINI_PROBES["ic"], steps=6)
    monkeypatch.setattr(harness.suite, "MINI_PROBES", harness.suite.MINI_PROBES | {"ic": changed})
    *cells, _ = refused(corpora, out)
    names = ["fbank", "mini-hubert", "random:starhubert", "starhubert"]
    assert sorted(cells) == sorted(f"{name} on ic: probe.steps: 4 -> 6" for name in names)
    before = kept(out)
    execute(corpora, out, "stale")
    after = kept(out)
    assert {name for name in after if after[name] != before[name]} == {name for name in before if ".ic." in name}
    assert {r.config["probe"]["steps"] for r in read_records(out / "records") if r.task == "ic"} == {6}


@pytest.mark.slow
def test_a_changed_distillation_makes_the_student_and_its_records_stale(corpora, out, monkeypatch):
    monkeypatch.setattr(engine, "MINI_DISTILLATION", engine.MINI_DISTILLATION | {"steps": 2})
    *cells, _ = refused(corpora, out)
    assert cells == [
        "starhubert on ic: its student is made again",
        "starhubert on sid: its student is made again",
        "student starhubert: distillation.steps: 4 -> 2",
    ]
    before = kept(out)
    records = execute(corpora, out, "stale")
    changed = {name for name, time in kept(out).items() if time != before[name]}
    assert changed == {name for name in before if Path(name).name.startswith("starhubert.") or "students" in name}
    assert {r.checkpoint_sha256 for r in records if r.upstream == "starhubert"}.isdisjoint(
        {r.checkpoint_sha256 for r in read_records(out / "records") if r.upstream != "starhubert"}
    )


@pytest.mark.slow
def test_always_computes_everything_again_to_the_same_values(corpora, out):
    before, scores = kept(out), values(out)
    execute(corpora, out, "always")
    after = kept(out)
    assert after.keys() == before.keys() and all(after[name] != before[name] for name in before)
    assert values(out) == scores


def test_a_distillation_made_again_removes_the_records_of_its_student(corpora, out, monkeypatch):
    monkeypatch.setattr(engine, "MINI_DISTILLATION", engine.MINI_DISTILLATION | {"steps": 2})
    with pytest.raises(UsageError, match=r"student starhubert: distillation\.steps: 4 -> 2\nresults .* do not fit: 3;"):
        engine.execute_distillation(settings(corpora, out), Stages())
    engine.execute_distillation(settings(corpora, out), Stages(), "stale")
    assert {upstream for upstream, _ in values(out)} == {"fbank", "mini-hubert", "random:starhubert"}


@pytest.mark.slow
def test_more_students_add_rows_and_counts(corpora, out):
    before = kept(out)
    counted = json.loads((out / "counts.json").read_text())
    execute(corpora, out, students=("starhubert", "starhubert-s"))
    assert before.items() <= kept(out).items()
    rows = json.loads((out / "counts.json").read_text())
    assert [(row["name"], row["size"]) for row in rows] == [
        *((name, "mini") for name in ("starhubert", "starhubert-s", "hubert_base")),
        *((name, "paper") for name in ("starhubert", "starhubert-s", "hubert_base")),
    ]
    assert all(row in rows for row in counted)
    report = json.loads((out / "report.json").read_text())
    assert report["counts"] == rows and len(report["records"]) == 5 * len(TASKS) + len(TASKS)


def test_counts_that_are_others_now_are_named(corpora, out):
    path = out / "counts.json"
    rows = json.loads(path.read_text())
    rows[0]["parameters"] += 1
    path.write_text(json.dumps(rows))
    (cell, _) = refused(corpora, out)
    assert re.fullmatch(r"counts of starhubert \(mini\): parameters: \d+ -> \d+", cell)
    execute(corpora, out, "stale")
    assert json.loads(path.read_text())[0]["parameters"] == rows[0]["parameters"] - 1


def test_a_half_done_distillation_of_other_settings_is_named(corpora, out, tmp_path):
    (out / "students/starhubert/model.safetensors").unlink()
    shutil.rmtree(out / "records")
    state = out / "students/starhubert/distillation.pt"
    StateFile(state, {"seed": 1, "teacher": "mini-hubert"}, pytest.fail).write({})
    with pytest.raises(UsageError, match=r"student starhubert, half done: teacher_sha256: null -> .*, and \d+ more"):
        execute(corpora, out)
    execute(corpora, out, "stale")
    assert not state.exists()


def test_a_student_that_is_gone_is_made_again_and_its_records_stay(corpora, out):
    (out / "students/starhubert/model.safetensors").unlink()
    before = kept(out)
    execute(corpora, out)
    after = kept(out)
    assert {name for name in before if after[name] != before[name]} == {"students/starhubert/distillation.jsonl"}


def test_records_of_other_upstreams_are_never_mixed_with_other_data(corpora, out):
    other = out.parent / "other"
    shutil.copytree(corpora, other)
    (other / "VoxCeleb1" / "more.txt").write_text("another suite")
    evaluation = EvaluationSettings("random:starhubert-s", out, ("sid",), corpora=other)
    with pytest.raises(UsageError) as refusal:
        engine.execute_evaluation(evaluation, Stages())
    cells = str(refusal.value).splitlines()[:-1]
    assert len(cells) == 8
    assert all(
        re.search(r"data_fingerprint: \w+\.\.\. -> \w+\.\.\. \(not part of this command", cell) for cell in cells
    )
    engine.execute_evaluation(evaluation, Stages(), "stale")
    assert list(values(out)) == [("random:starhubert-s", "sid")]


def test_another_protocol_is_named(corpora, tmp_path):
    evaluation = EvaluationSettings("fbank", tmp_path, ("asv",), corpora=corpora)
    engine.execute_evaluation(evaluation, Stages())
    with pytest.raises(UsageError, match="fbank on asv: protocol: corrected -> official"):
        engine.execute_evaluation(replace(evaluation, protocol="official"), Stages())
    with pytest.raises(UsageError, match=r"fbank on asv: protocol: corrected -> official \(not part of"):
        engine.execute_evaluation(replace(evaluation, protocol="official", tasks=("ic",)), Stages())


def command(corpora, out, *more):
    options = ("--student", "starhubert", "--tasks", ",".join(TASKS), "--corpora", str(corpora), "--out", str(out))
    return CliRunner().invoke(main, ["run", *options, *more])


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("records/fbank.sid.seed0.json", r"Error: fbank.sid.seed0.json: .*not a JSON file"),
        ("records/fbank.sid.seed0.jsonl", r"Error: fbank on sid: .*fbank.sid.seed0.jsonl"),
        ("students/starhubert/model.safetensors", r"Error: student starhubert: cannot read checkpoint"),
    ],
)
def test_a_damaged_result_is_named_and_made_again_on_request(corpora, out, name, line):
    scores = values(out)
    cut(out / name)
    result = command(corpora, out)
    assert result.exit_code == 2 and "Traceback" not in result.output and re.search(line, result.stderr)
    assert "--overwrite stale" in result.stderr.splitlines()[-1]
    assert command(corpora, out, "--overwrite", "stale").exit_code == 0
    assert values(out) == scores


@pytest.mark.parametrize("name", ["counts.json", "settings.json"])
def test_a_damaged_file_that_is_soon_made_is_made_again(corpora, out, name):
    before = (out / name).read_text()
    cut(out / name)
    assert command(corpora, out).exit_code == 0
    assert (out / name).read_text() == before


def test_a_damaged_curve_is_told(corpora, out):
    cut(out / "students/starhubert/distillation.jsonl")
    result = command(corpora, out)
    assert result.exit_code == 0 and "the report has no distillation curve of that student" in result.stderr


@pytest.mark.slow
def test_a_damaged_half_done_distillation_begins_again(corpora, out):
    scores = values(out)
    (out / "students/starhubert/model.safetensors").unlink()
    state = out / "students/starhubert/distillation.pt"
    StateFile(state, {}, pytest.fail).write({"trainer": {}})
    cut(state)
    result = command(corpora, out)
    assert result.exit_code == 0
    assert "distillation.pt cannot be used (it is damaged): starting again from the beginning" in result.stderr
    assert values(out) == scores and not state.exists()


def test_a_second_run_in_the_same_folder_is_refused(corpora, out):
    with locked(out / ".lock"):
        result = command(corpora, out)
    assert result.exit_code == 2
    assert re.search(
        r"Error: another run works in .*run \(process \d+ on .*, started .*\): wait for its end", result.stderr
    )
    assert command(corpora, out).exit_code == 0


@pytest.mark.parametrize("damage", [pytest.param("cut", marks=pytest.mark.slow), "altered"])
def test_states_damaged_in_the_middle_of_a_run_are_computed_again(corpora, out, monkeypatch, damage):
    inner, updates = GridAdamW.step, []

    def step(self, largest):
        updates.append(None)
        if len(updates) == 2:
            for path in (out / "states").glob("*/*.states"):
                content = bytearray(path.read_bytes())
                content[len(content) // 2] ^= 16
                path.write_bytes(content if damage == "altered" else content[:-100])
        inner(self, largest)

    evaluation = EvaluationSettings("mini-hubert", out / "plain", ("pr",), corpora=corpora)
    (expected,) = engine.execute_evaluation(evaluation, Stages())
    monkeypatch.setattr(GridAdamW, "step", step)
    (found,) = engine.execute_evaluation(replace(evaluation, out=out / "cached", cache=out / "states"), Stages())
    assert len(updates) == 4 and found.value == expected.value
    plain, cached = ((out / name / "records" / expected.predictions).read_text() for name in ("plain", "cached"))
    assert plain == cached


def test_a_half_done_probe_of_other_settings_begins_again(corpora, tmp_path, monkeypatch):
    evaluation = EvaluationSettings("fbank", tmp_path, ("ic",), corpora=corpora)
    (expected,) = engine.execute_evaluation(evaluation, Stages())
    for path in (tmp_path / "records").iterdir():
        path.unlink()
    state = tmp_path / "records" / "fbank.ic.fold0.pt"
    StateFile(state, {"probe": {"steps": 3}}, pytest.fail).write({})
    assert half_done(tmp_path / "records", "fbank", "ic") == [state]
    arguments = ["evaluate", "--upstream", "fbank", "--tasks", "ic", "--corpora", str(corpora), "--out", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and "fbank.ic.fold0.pt was made with other settings" in result.stderr
    (found,) = read_records(tmp_path / "records")
    assert found.value == expected.value and not state.exists()


def test_changes_are_short():
    before = {"a": {"b": 1, "c": [1, 2]}, "hash": "0" * 64, "same": None, "gone": {"x": 1}}
    now = {"a": {"b": 2, "c": [1, 2]}, "hash": "1" * 64, "same": None, "gone": {}, "new": 0.5}
    assert changes(before, now) == "a.b: 1 -> 2, hash: 000000000000... -> 111111111111..., new: null -> 0.5, and 1 more"
    assert changes(before | {"more": 1}, before) == ""


def test_a_dead_worker_is_one_line(monkeypatch):
    def dying(work, parts, workers, done):
        in_fresh_processes(os._exit, [9], workers, done)

    monkeypatch.setattr("harness.speed.in_fresh_processes", dying)
    result = CliRunner().invoke(main, ["count", "starhubert", "--measure"])
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert result.stderr.splitlines()[-1].startswith("Error: a worker process died")


def test_a_cell_killed_while_it_is_written_again_has_no_record(corpora, tmp_path, monkeypatch):
    evaluation = EvaluationSettings("fbank", tmp_path, ("ic",), corpora=corpora)
    (expected,) = engine.execute_evaluation(evaluation, Stages())

    def killed(folder, text):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("harness.evaluate._to_repeat", lambda *arguments: True)
        patch.setattr("reports.records.write_text", killed)
        engine.execute_evaluation(evaluation, Stages())
    assert not read_records(tmp_path / "records")
    (found,) = engine.execute_evaluation(evaluation, Stages())
    assert found.value == expected.value


def test_a_state_left_by_a_run_killed_after_the_last_record_is_removed(corpora, out):
    before = kept(out)
    state = out / "records" / "fbank.ic.fold0.pt"
    state.write_bytes(b"x")
    execute(corpora, out)
    assert kept(out) == before


def test_other_weights_of_the_same_name_are_named_on_every_task(corpora, tmp_path):
    folder = tmp_path / "student"
    for seed, task in ((0, "sid"), (1, "ic")):
        student = new_student("starhubert", "mini", mini_teacher(), seed)
        save_checkpoint(folder, student, "starhubert", "layers", {})
        evaluation = EvaluationSettings(str(folder), tmp_path / "out", (task,), corpora=corpora)
        if not seed:
            engine.execute_evaluation(evaluation, Stages())
    with pytest.raises(UsageError, match=r"starhubert on sid: upstream_fingerprint: \w+\.\.\. -> \w+\.\.\. \(not part"):
        engine.execute_evaluation(evaluation, Stages())


def test_what_a_killed_run_was_writing_is_removed(out):
    left = [out / "records" / "x.fold0.partial", out / "students" / "starhubert" / "distillation.partial"]
    for path in left:
        path.write_bytes(b"half")
    with engine.alone(out):
        assert not any(path.exists() for path in left)
