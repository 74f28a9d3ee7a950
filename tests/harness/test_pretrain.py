"""Pretraining that is stopped, or finds what it has kept damaged, ends as an unbroken one."""

import numpy as np
import pytest
import torch

import harness.pretrain as engine
from harness.pretrain import PretrainSettings, pretrain
from tasks.audio import write_audio

SETTINGS = PretrainSettings(units=(6, 5), steps=(2, 3), batch=2)


class Killed(Exception):
    pass


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    """Five recordings of noise, and a state kept at every update."""
    rng, files = np.random.default_rng(0), []
    for number in range(5):
        files.append(tmp_path / f"{number}.wav")
        write_audio(files[-1], (0.1 * rng.standard_normal(56_000)).astype(np.float32))
    monkeypatch.setattr(engine, "write_corpus", lambda folder, corpus: (files[:4], files[4:]))
    monkeypatch.setattr(engine, "SAVE_EVERY", 1)
    monkeypatch.setattr(engine, "REPORT_EVERY", 1)


def test_a_stopped_pretraining_ends_as_an_unbroken_one(tmp_path):
    rows, resumed, said = [], [], []

    def until(row):
        if (row["iteration"], row["step"]) == (2, 2):
            raise Killed

    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = pretrain(tmp_path / "whole", SETTINGS, rows.append, said.append)
    with pytest.raises(Killed):
        pretrain(tmp_path / "broken", SETTINGS, until, said.append)
    units, first = (tmp_path / "broken" / name for name in ("units-1.npz", "iteration-1.pt"))
    units.write_bytes(units.read_bytes()[:100])
    assert not said
    first.write_bytes(first.read_bytes()[:-1])
    again = pretrain(tmp_path / "broken", SETTINGS, resumed.append, said.append)
    assert said == [f"{first} cannot be used (it is damaged): starting again from the beginning"]
    assert [(row["iteration"], row["step"]) for row in resumed] == [(1, 1), (1, 2), (2, 2), (2, 3)]
    assert [row["loss"] for row in resumed[2:]] == [row["loss"] for row in rows[3:]]
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), again.parameters(), strict=True))
