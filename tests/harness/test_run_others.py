"""The same road with other students than STaRHuBERT, and with networks of other libraries."""

import pytest

import harness.run as engine
from harness.config import EvaluationSettings, RunSettings
from harness.progress import Stages
from students.export import export
from students.presets import STUDENTS

TASKS = ("sid", "pr")  # means of states, and frames
# Students whose states are not simply those of their layers: half the frame rate, reused maps, a mask vector, heads.
UNLIKE = {"fithubert": 1, "armhubert-s": 6, "maskhubert": 6, "distilhubert": 2}  # number of states at mini size


@pytest.mark.slow
@pytest.mark.parametrize("names", [("fithubert", "armhubert-s"), ("maskhubert", "distilhubert")])
def test_baselines_are_distilled_and_measured_by_the_same_command(names, corpora, short, tmp_path):
    records = engine.execute(RunSettings(names, tmp_path, TASKS, corpora=corpora), Stages())
    rows = ["fbank", "mini-hubert", *(f"random:{name}" for name in names), *names]
    assert [(r.upstream, r.task) for r in records] == [(row, task) for row in rows for task in TASKS]
    for record in records:
        assert record.value >= 0 and record.n_examples == record.n_total
    for name in names:
        for record in (r for r in records if r.upstream == name):
            assert (record.teacher, record.objective) == ("mini-hubert", STUDENTS[name]().objective)
            assert len(record.config["states"]) == UNLIKE[name]


def test_a_hugging_face_folder_scores_as_the_network_it_was_made_from(corpora, short, tmp_path):
    export("mini-hubert", "hf", tmp_path / "hf")
    values = []
    for upstream in ("mini-hubert", f"hf:{tmp_path / 'hf'}"):
        settings = EvaluationSettings(upstream, tmp_path / f"out{len(values)}", TASKS, corpora=corpora)
        values.append([record.value for record in engine.execute_evaluation(settings, Stages())])
    assert values[0] == pytest.approx(values[1], abs=1e-6)
