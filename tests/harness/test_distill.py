from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.distill import DistillationData, DistillationError, DistillSettings, distill, parameter_groups
from harness.features import Extractor
from students.upstreams import mini_teacher, untrained
from tasks.audio import write_audio
from tasks.base import Item

SETTINGS = DistillSettings("star", steps=6, batch_seconds=2.0, learning_rate=3e-3, buckets=2, validate_every=3)
SILENT = lambda count: None  # noqa: E731


@pytest.fixture(scope="module")
def teacher():
    return mini_teacher()


@pytest.fixture(scope="module")
def data(teacher, tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("audio"), np.random.default_rng(0)
    items = []
    for i in range(6):
        time = np.arange(8000 + 1600 * i) / 16_000
        wave = 0.1 * np.sin(2 * np.pi * (200 + 100 * i) * time) + 0.01 * rng.standard_normal(len(time))
        write_audio(folder / f"{i}.flac", wave.astype(np.float32))
        items.append(Item(str(i), folder / f"{i}.flac", "x"))
    return DistillationData(items, Extractor(teacher), SILENT)


def run(data, settings=SETTINGS, seed=0):
    student = untrained("starhubert", "mini", seed).network.requires_grad_(True)
    rows = []
    distill(student, data, data, settings, seed, "cpu", rows.append)
    return student, rows


def test_the_loss_falls_and_the_curve_is_complete(data):
    student, rows = run(data)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    validated = [row["valid_loss"] for row in rows if row["valid_loss"] is not None]
    assert len(validated) == 2 and validated[1] < validated[0]
    assert not student.training


def test_the_same_seed_gives_the_same_student_and_another_does_not(data):
    one, two, other = (run(data, seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_the_teacher_stays_frozen_and_in_eval_mode(teacher, data):
    before = {key: value.clone() for key, value in teacher.network.state_dict().items()}
    run(data)
    assert not teacher.network.training
    assert all(not p.requires_grad and p.grad is None for p in teacher.network.parameters())
    assert all(torch.equal(before[key], value) for key, value in teacher.network.state_dict().items())


def test_the_stored_teacher_states_are_those_of_each_utterance_alone(teacher, data):
    for batch in data.batches(2.0, 2, 0, shuffle=False):
        for row, length in enumerate(batch.lengths.tolist()):
            alone, frames = teacher(batch.waves[row : row + 1, :length], torch.tensor([length]))
            for got, expected in zip(batch.teacher, alone, strict=True):
                torch.testing.assert_close(got[row, : frames[0]], expected[0], rtol=1e-4, atol=1e-4)


def test_one_epoch_holds_every_utterance_once(data):
    batches = list(data.batches(2.0, 2, 3, shuffle=True))
    assert sum(len(batch.lengths) for batch in batches) == 6
    assert all(batch.lengths.sum() <= 2.0 * 16_000 for batch in batches)


def test_a_loss_that_is_not_finite_stops_with_its_step(data):
    with pytest.raises(DistillationError, match=r"loss is (nan|inf) at step \d: lower the learning rate"):
        run(data, replace(SETTINGS, learning_rate=1e30))


def test_biases_are_not_decayed_and_nothing_is_left_out():
    network = untrained("starhubert", "mini", 0).network
    decayed, free = parameter_groups(network, 0.01)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    assert len(decayed["params"]) + len(free["params"]) == len(list(network.parameters()))
    assert all(parameter.ndim == 1 for parameter in free["params"])
