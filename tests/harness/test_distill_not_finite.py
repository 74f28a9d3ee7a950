"""Losses and gradients that are not finite: what was trained stays, and what was at fault is named."""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.cells import CURVE, STATE
from harness.config import Cell
from harness.distill import LIMIT, DistillationError, DistillSettings, Trainer, distill
from harness.distill_data import Batch, DistillationData
from harness.distilled import distilled, new_student
from harness.features import Extractor
from harness.progress import Stages
from harness.states import StateFile
from students.checkpoints import load_checkpoint
from students.criterion import Criterion
from students.objective_names import parse
from students.upstreams import Upstream, mini_teacher
from tasks.audio import read_audio, write_audio
from tasks.base import Item

SETTINGS = DistillSettings("star", steps=6, batch_seconds=1.0, learning_rate=1e-3, buckets=2, validate_every=3)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
NAMES = [str(i) for i in range(8)]


@pytest.fixture(scope="module")
def teacher() -> Upstream:
    return mini_teacher()


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Eight utterances of half a second: two a batch, four batches an epoch."""
    folder, rng = tmp_path_factory.mktemp("audio"), np.random.default_rng(0)
    for name in NAMES:
        write_audio(folder / f"{name}.flac", 0.1 * rng.standard_normal(8000).astype(np.float32))
    return [Item(name, folder / f"{name}.flac", "") for name in NAMES]


@pytest.fixture(scope="module")
def data(teacher: Upstream, items: list[Item]) -> DistillationData:
    return DistillationData(items, Extractor(teacher), False, lambda count: None)


def trainer_for(teacher: Upstream, settings: DistillSettings = SETTINGS, device: str = "cpu") -> Trainer:
    student = new_student("starhubert", "mini", teacher, 0)
    return Trainer(student, Criterion(parse("star"), student.dims, teacher.dims), teacher, settings, 0, device)


def all_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Every number of weights, optimiser and schedule."""
    found = dict(trainer.model.state_dict())
    for index, state in trainer.optimizer.state_dict()["state"].items():
        found |= {f"{index} {name}": torch.as_tensor(value) for name, value in state.items()}
    found["rate"] = torch.tensor([trainer.rate, trainer.schedule.state_dict()["last_epoch"], trainer.step])
    return {name: value.clone() for name, value in found.items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Trainer, Batch], float]], None]:
    """Multiplies the loss of every batch by what a function says of it."""
    true = Trainer._loss

    def patch(factor: Callable[[Trainer, Batch], float]) -> None:
        monkeypatch.setattr(Trainer, "_loss", lambda self, batch, mask: true(self, batch, mask) * factor(self, batch))

    return patch


def state_file(folder: Path) -> StateFile:
    return StateFile(folder / STATE, {}, pytest.fail)


def saver(trainer: Trainer, folder: Path) -> Callable[[], None]:
    return lambda: state_file(folder).write(trainer.state())


def run(trainer: Trainer, data: DistillationData, folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    distill(trainer, data, data, saver(trainer, folder), rows.append)
    return rows


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_changes_nothing(teacher, data, losses, device, value) -> None:
    """In bf16 on a GPU as in fp32."""
    trainer = trainer_for(teacher, device=device)
    batches = [data.batch(["0", "1"]), data.batch(["2", "3"])]
    assert trainer.update(batches) is not None
    before = all_of(trainer)
    losses(lambda trainer, batch: value if "2" in batch.ids else 1.0)
    assert trainer.update(batches) is None
    assert same(all_of(trainer), before)
    assert all(p.grad is None for p in trainer.model.parameters())
    assert trainer.set_aside == [{"step": 2, "what": "loss", "value": str(value), "ids": ["2", "3"]}]
    assert trainer.left_out == {"2": f"loss {value} at step 2", "3": f"loss {value} at step 2"}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(teacher, data, device, value) -> None:
    """The loss is finite, and clipping alone would put NaN into every weight."""
    trainer = trainer_for(teacher, device=device)
    batches = [data.batch(["0", "1"]), data.batch(["2", "3"])]
    trainer.update(batches)
    before = all_of(trainer)
    weight = next(trainer.model.parameters())
    hook = weight.register_hook(lambda gradient: torch.full_like(gradient, value))
    assert trainer.update(batches) is None
    hook.remove()
    assert same(all_of(trainer), before)
    (entry,) = trainer.set_aside
    assert entry["what"] == "gradient norm" and entry["ids"] == ["0", "1", "2", "3"]
    assert trainer.update(batches) is not None and trainer.step == 2


def test_the_first_update_may_be_skipped(teacher, data, losses, recwarn) -> None:
    trainer = trainer_for(teacher)
    losses(lambda trainer, batch: math.nan if len(trainer.set_aside) == 0 else 1.0)
    assert trainer.update([data.batch(["0"])]) is None and trainer.update([data.batch(["0"])]) is not None
    assert not list(recwarn)


def test_a_batch_is_set_aside_and_the_run_goes_on(teacher, data, losses, tmp_path) -> None:
    heard: list[tuple[str, ...]] = []

    def bad(trainer: Trainer, batch: Batch) -> float:
        if trainer.model.training:
            heard.append(batch.ids)
            return math.nan if "5" in batch.ids else 1.0
        return 1.0

    losses(bad)
    trainer = trainer_for(teacher)
    rows = run(trainer, data, tmp_path)
    assert sum(row["loss"] is not None for row in rows) == trainer.step == 6
    (bad_row,) = [row for row in rows if row["loss"] is None]
    (good_row,) = [row for row in rows if row["step"] == bad_row["step"] and row is not bad_row]
    assert good_row["learning_rate"] == bad_row["learning_rate"]
    (entry,) = bad_row["set_aside"]
    assert "5" in entry["ids"] and tuple(entry["ids"]) == heard[bad_row["step"] - 1]
    again = {id for ids in heard[bad_row["step"] :] for id in ids}
    assert again == set(NAMES) - set(entry["ids"])
    json.dumps(rows, allow_nan=False)


def test_too_many_stop_and_the_last_good_state_stays(teacher, items, data, losses, tmp_path) -> None:
    trainer, saved = trainer_for(teacher), {}

    def late(trainer: Trainer, batch: Batch) -> float:
        if trainer.step < 3 or not trainer.model.training:
            return 1.0
        saved.update(saved or all_of(trainer))
        return math.inf

    losses(late)
    many = DistillationData(
        [replace(item, id=f"{item.id}{letter}") for item in items for letter in "abcd"],
        Extractor(teacher),
        False,
        lambda count: None,
    )
    rows: list[dict[str, Any]] = []
    with pytest.raises(DistillationError) as caught:
        distill(trainer, many, data, saver(trainer, tmp_path), rows.append)
    message = str(caught.value)
    assert message.startswith(f"{LIMIT + 1} batches are not finite, more than the limit of {LIMIT}: loss inf at step 4")
    evidence = [entry for row in rows for entry in row.get("set_aside", ())]
    assert len(evidence) == LIMIT + 1
    for entry in evidence:
        assert f"loss inf at step 4 with {', '.join(entry['ids'])}" in message
    assert message.endswith("try another --seed or --objective, or take these utterances out of the corpus")
    again = trainer_for(teacher)
    again.restore(state_file(tmp_path).read())
    assert again.step == 3 and same(all_of(again), saved)


def test_weights_gone_astray_are_not_saved(teacher, data, tmp_path) -> None:
    """One update at an absurd rate: the loss before it is finite, no validation loss after it is."""
    settings = replace(SETTINGS, learning_rate=1e30, warmup=0.0, validate_every=1)
    with pytest.raises(DistillationError, match=r"none of the utterances to validate on is left: validation loss nan"):
        run(trainer_for(teacher, settings), data, tmp_path)
    assert not (tmp_path / STATE).exists()
    with pytest.raises(DistillationError, match=r"none of the utterances to learn from is left: loss nan at step 2"):
        run(trainer_for(teacher, replace(settings, validate_every=50)), data, tmp_path)


def test_a_validation_batch_that_is_not_finite_is_left_out(teacher, data, losses) -> None:
    trainer = trainer_for(teacher)
    expected = trainer.validate(DistillationData([data.items[n] for n in NAMES[2:]], data.teacher, False, print))
    whole = copy.copy(data)
    whole.drawn = lambda *args, **options: iter([["0", "1"], ["2", "3"], ["4", "5"], ["6", "7"]])
    losses(lambda trainer, batch: math.nan if "0" in batch.ids else 1.0)
    for _ in range(2):
        assert trainer.validate(whole) == pytest.approx(expected, rel=1e-5)
        assert [entry["what"] for entry in trainer.set_aside] == ["validation loss"]


def test_resumed_equals_unbroken_with_a_batch_set_aside(teacher, data, losses, tmp_path) -> None:
    class Killed(Exception):
        pass

    losses(lambda trainer, batch: math.nan if "5" in batch.ids and trainer.model.training else 1.0)
    whole = trainer_for(teacher)
    rows = run(whole, data, tmp_path)
    (place,) = [i for i, row in enumerate(rows) if row["loss"] is None]
    assert rows[place]["step"] <= 3, "the batch should be set aside before the state is saved"

    def until_five(row: dict[str, Any]) -> None:
        if row["step"] == 5:
            raise Killed

    (tmp_path / STATE).unlink()
    broken = trainer_for(teacher)
    with pytest.raises(Killed):
        distill(broken, data, data, saver(broken, tmp_path), until_five)
    torch.manual_seed(99)
    again = trainer_for(teacher)
    again.restore(state_file(tmp_path).read())
    resumed = run(again, data, tmp_path)
    assert [row["loss"] for row in resumed] == [row["loss"] for row in rows if row["step"] > 3]
    assert same(all_of(again), all_of(whole)) and again.set_aside == whole.set_aside


def test_the_checkpoint_and_stderr_tell_what_was_set_aside(teacher, items, losses, tmp_path, capsys) -> None:
    losses(lambda trainer, batch: math.nan if "5" in batch.ids and trainer.model.training else 1.0)
    run = {"suite": "mini", "seed": 0, "device": "cpu"}
    splits = {"train": items, "dev": items[:2]}
    cell = Cell("starhubert", "starhubert", "star")
    distilled(tmp_path, cell, splits, Extractor(teacher), SETTINGS, run, Stages())
    reasons = load_checkpoint(tmp_path)[1].history["set_aside"]
    assert (
        "5" in reasons and len(reasons) == 2 and all(text.startswith("loss nan at step ") for text in reasons.values())
    )
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "set aside" in line]
    assert line == f"set aside: {', '.join(reasons)}: {reasons['5']}"
    rows = [json.loads(line) for line in (tmp_path / CURVE).read_text(encoding="utf-8").splitlines()]
    assert [list(reasons)] == [entry["ids"] for row in rows for entry in row.get("set_aside", ())]


def test_an_utterance_that_upsets_the_teacher_is_left_out(teacher, items) -> None:
    first = read_audio(items[5].path)[0]

    def compute(waves: torch.Tensor, lengths: torch.Tensor) -> Any:
        states, frames = teacher.compute(waves, lengths)
        upset = (waves[:, 0] == first)[:, None, None]
        return [state.masked_fill(upset, math.nan) for state in states], frames

    data = DistillationData(items, Extractor(replace(teacher, compute=compute)), False, lambda count: None)
    batch = data.batch(["4", "5", "6"])
    assert batch.ids == ("4", "6") and len(batch.waves) == len(batch.teacher.frames) == 2
    assert data.batch(["5"]) is None
    assert data.teacher.skipped == {"5": "mini-hubert gives states that are not finite"}
