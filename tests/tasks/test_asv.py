"""The dev trials that stand in for the official choice on the test set."""

from pathlib import Path

import pytest

import tasks.asv as asv
from tasks.base import CorpusError, Item, Trial


def corpus(speakers: int, files: int) -> list[dict]:
    names = [f"id{10_001 + i}" for i in range(speakers)]
    train = [Item(f"{name}/v/{n:05d}.wav", Path(f"{name}-{n}"), name) for name in names for n in range(files)]
    return [{"train": train, "test": [Trial("a b", Path("a"), "1", other=Path("b"))]}]


def held_out(monkeypatch, speakers: int, files: int):
    monkeypatch.setattr(asv, "voxceleb1_verification", lambda root: corpus(speakers, files))
    (fold,) = asv.ASV.folds(Path())
    return fold


def test_every_tenth_speaker_is_held_out_and_compared_with_the_others(monkeypatch):
    fold = held_out(monkeypatch, 30, 3)
    kept = {"id10001", "id10011", "id10021"}
    assert {item.label for item in fold["train"]} == {f"id{10_001 + i}" for i in range(30)} - kept
    # 9 files: 3 speakers x 3 target pairs, 36 - 9 others
    assert [trial.label for trial in fold["dev"]].count("1") == 9
    assert [trial.label for trial in fold["dev"]].count("0") == 27
    for trial in fold["dev"]:
        left, right = trial.id.split()
        assert (left[:7] == right[:7]) == (trial.label == "1")
        assert {left[:7], right[:7]} <= kept
        assert (trial.path.name, trial.other.name) == tuple(f"{i[:7]}-{int(i[10:15])}" for i in (left, right))
    assert fold["test"] == corpus(1, 1)[0]["test"]


def test_few_speakers_leave_some_for_training_and_many_trials_are_thinned(monkeypatch):
    fold = held_out(monkeypatch, 4, 2)
    assert {item.label for item in fold["train"]} == {"id10002", "id10004"}
    with pytest.raises(CorpusError, match="3 speakers: expected 4 or more"):
        held_out(monkeypatch, 3, 2)
    monkeypatch.setattr(asv, "DEV_OTHERS", 10)
    labels = [trial.label for trial in held_out(monkeypatch, 30, 20)["dev"]]
    # 3 speakers x 10 first files: 3 x 45 targets; 300 others, every thirtieth
    assert (labels.count("1"), labels.count("0")) == (135, 10)


def test_officially_nothing_is_held_out_and_the_test_trials_choose(monkeypatch):
    monkeypatch.setattr(asv, "voxceleb1_verification", lambda root: corpus(4, 2))
    (fold,) = asv._official(Path())
    assert len(fold["train"]) == 8 and fold["dev"] == fold["test"]
