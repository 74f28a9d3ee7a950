"""Half-done probes that go on, for every kind of head."""

from dataclasses import replace

import pytest

import harness.probe
from harness.features import Extractor
from harness.probe import run_fold
from harness.states import StateFile, _Hashing, kept_config
from tasks.optimizer import GridAdamW
from tests.harness.test_probe import TASKS, splits_of  # noqa: F401 (a fixture)


class Killed(Exception):
    pass


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Makes state files of one path with some settings; every look at dev saves a state."""
    monkeypatch.setattr(harness.probe, "SAVE_EVERY", 0.0)
    said = []

    def make(config):
        return StateFile(tmp_path / "half-done.pt", config, said.append)

    make.said = said
    return make


def train(name, splits, upstream, file):
    """The fold of a task that looks at dev every third update, and its progress."""
    task, counted = TASKS[name], []
    settings = replace(task.official, eval_every=3)
    return run_fold(task, splits, Extractor(upstream), settings, 7, counted.append, file), sum(counted)


def same(one, other):
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("predictions", "dev_score", "dev_scores", "layer_weights", "learning_rate", "skipped")
    )


def stop_after(monkeypatch, updates):
    inner, done = GridAdamW.step, []

    def step(self, largest):
        if len(done) == updates:
            raise Killed
        done.append(None)
        inner(self, largest)

    monkeypatch.setattr(GridAdamW, "step", step)
    return done


@pytest.mark.parametrize("name", TASKS)
def test_a_half_done_probe_ends_as_an_unbroken_one(name, splits_of, projection, kept, monkeypatch):  # noqa: F811
    splits = splits_of(name)
    expected, progress = train(name, splits, projection, None)
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(Killed):
            train(name, splits, projection, kept({"a": 1}))
    with monkeypatch.context() as patch:
        done = stop_after(patch, 99)
        found, counted = train(name, splits, projection, kept({"a": 1}))
    assert len(done) == TASKS[name].official.steps - 6 and same(found, expected)
    assert counted == progress and not kept.said


def test_a_state_that_does_not_fit_is_told_and_left_alone(splits_of, projection, kept):  # noqa: F811
    splits, file = splits_of("ic"), kept({"a": 1})
    expected, _ = train("ic", splits, projection, file)
    whole = file.path.read_bytes()
    for content, config, reason in (
        (whole, {"a": 2}, "was made with other settings"),
        (whole[:-20], {"a": 1}, "cannot be used (it is damaged)"),
        (whole[:900] + bytes([whole[900] ^ 1]) + whole[901:], {"a": 1}, "cannot be used (it is damaged)"),
        (b"", {"a": 1}, "cannot be used (it is damaged)"),
    ):
        file.path.write_bytes(content)
        found, _ = train("ic", splits, projection, kept(config))
        assert same(found, expected)
        assert kept.said.pop() == f"{file.path} {reason}: starting again from the beginning" and not kept.said


def test_other_utterances_set_aside_do_not_fit(splits_of, projection, kept):  # noqa: F811
    splits = splits_of("ic")
    train("ic", splits, projection, kept({"a": 1}))
    splits["train"][0].path.write_bytes(b"RIFF")
    found, _ = train("ic", splits, projection, kept({"a": 1}))
    assert len(found.skipped) == 1 and "was made with other settings" in kept.said[0]


def test_short_trainings_save_nothing(splits_of, projection, kept, monkeypatch):  # noqa: F811
    monkeypatch.setattr(harness.probe, "SAVE_EVERY", 60.0)
    train("ic", splits_of("ic"), projection, kept({}))
    assert not kept({}).path.exists()


def test_what_is_well_made_but_no_state_is_refused(tmp_path):
    file, said = tmp_path / "state.pt", []
    with file.open("wb") as opened:
        hashing = _Hashing(opened)
        hashing.save([1, 2])
        opened.write(hashing.digest.digest())
    assert StateFile(file, {}, said.append).read() is None
    assert said == [f"{file} cannot be used (it holds something else): starting again from the beginning"]
    assert kept_config(file) is None


class Hostile:
    def __reduce__(self):
        return pytest.fail, ("a pickle was run",)


def test_a_hostile_pickle_is_refused_before_it_runs(tmp_path):
    file, said = tmp_path / "state.pt", []
    StateFile(file, {}, said.append).write({"step": Hostile()})
    assert StateFile(file, {}, said.append).read() is None
    assert said == [f"{file} cannot be used (PyTorch cannot read it): starting again from the beginning"]
