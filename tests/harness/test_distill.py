import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.distill import Distillation, DistillationError, DistillSettings, Trainer, distill, parameter_groups
from harness.distill_data import DistillationData
from harness.distilled import _reporter, new_student
from harness.features import Extractor, TooManyBadFiles
from harness.states import StateFile
from students.criterion import Criterion
from students.masking import draw_mask
from students.objective_names import parse
from students.presets import STUDENTS
from students.upstreams import UpstreamError, fbank, mini_teacher
from tasks.audio import write_audio
from tasks.base import Item

SETTINGS = DistillSettings("star", steps=6, batch_seconds=2.0, learning_rate=3e-3, buckets=2, validate_every=3)
SILENT = lambda count: None  # noqa: E731


@pytest.fixture(scope="module")
def teacher():
    return mini_teacher()


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("audio"), np.random.default_rng(0)
    items = []
    for i in range(6):
        time = np.arange(8000 + 1600 * i) / 16_000
        wave = 0.1 * np.sin(2 * np.pi * (200 + 100 * i) * time) + 0.01 * rng.standard_normal(len(time))
        write_audio(folder / f"{i}.flac", wave.astype(np.float32))
        items.append(Item(str(i), folder / f"{i}.flac", "x"))
    return items


@pytest.fixture(scope="module")
def data(teacher, items):
    return DistillationData(items, Extractor(teacher), False, SILENT)


def trainer_for(teacher, settings=SETTINGS, seed=0, name="starhubert"):
    student = new_student(name, "mini", teacher, seed)
    criterion = Criterion(parse(settings.objective), student.dims, teacher.dims)
    return Trainer(student, criterion, teacher, settings, seed, "cpu")


def saved(folder):
    return StateFile(folder / "state.pt", {}, pytest.fail)


def run(teacher, data, folder, trainer=None, **options):
    trainer, rows = trainer or trainer_for(teacher, **options), []
    distill(trainer, data, data, lambda: saved(folder).write(trainer.state()), rows.append)
    return trainer.model.student, rows


def test_the_loss_falls_and_the_curve_is_complete(teacher, data, tmp_path):
    student, rows = run(teacher, data, tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    validated = [row["valid_loss"] for row in rows if row["valid_loss"] is not None]
    assert len(validated) == 2 and validated[1] < validated[0]
    assert not student.training


def test_the_same_seed_gives_the_same_student_and_another_does_not(teacher, data, tmp_path):
    one, two, other = (run(teacher, data, tmp_path, seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_the_teacher_stays_frozen_and_in_eval_mode(teacher, items, data, tmp_path):
    before = {key: value.clone() for key, value in teacher.network.state_dict().items()}
    run(teacher, data, tmp_path)
    live = DistillationData(items, Extractor(teacher), True, SILENT)
    run(teacher, live, tmp_path, settings=replace(SETTINGS, objective="masking", steps=2), name="maskhubert")
    assert not teacher.network.training
    assert all(not p.requires_grad and p.grad is None for p in teacher.network.parameters())
    assert all(torch.equal(before[key], value) for key, value in teacher.network.state_dict().items())


def test_the_stored_teacher_states_are_those_of_each_utterance_alone(teacher, data):
    for names in data.drawn(2.0, 2, 0, shuffle=False):
        batch = data.batch(names)
        for row, length in enumerate(batch.lengths.tolist()):
            alone, frames = teacher(batch.waves[row : row + 1, :length], torch.tensor([length]))
            assert batch.teacher.frames[row] == frames[0]
            for got, expected in zip(batch.teacher.states, alone, strict=True):
                torch.testing.assert_close(got[row, : frames[0]], expected[0], rtol=1e-4, atol=1e-4)


def test_one_epoch_holds_every_utterance_once(data):
    names = list(data.drawn(2.0, 2, 3, shuffle=True))
    assert sorted(name for some in names for name in some) == list("012345")
    assert all(sum(data.samples[name] for name in some) <= 2.0 * 16_000 for some in names)


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("starhubert", "layer-wise"),
        ("starhubert", "layer-wise+0.1*avg-attn"),
        ("starhubert", "last-attn"),
        ("starhubert", "hint"),
        ("armhubert-s", "masking"),
        ("maskhubert", "masking"),
        ("fithubert", "hint"),
        ("distilhubert", "distilhubert"),
    ],
)
def test_every_objective_lowers_its_validation_loss(teacher, items, tmp_path, name, objective):
    settings = replace(SETTINGS, objective=objective, steps=12, learning_rate=1e-3)
    trainer = trainer_for(teacher, settings, name=name)
    data = DistillationData(items, Extractor(teacher), trainer.criterion.live, SILENT)
    first = trainer.validate(data)
    run(teacher, data, tmp_path, trainer)
    assert trainer.validate(data) < first


def test_an_interrupted_distillation_ends_as_an_unbroken_one(teacher, items, tmp_path):
    """Dropout, masks and batches included: the states of an armhubert after 6 steps, and after 3 and 3 more."""
    settings = replace(SETTINGS, objective="masking", accumulate=2)
    data = DistillationData(items, Extractor(teacher), True, SILENT)

    def dropping(seed=0):
        student = new_student("armhubert", "mini", teacher, seed)
        dims = replace(student.dims, hidden_dropout=0.1, attention_dropout=0.1, ffn_dropout=0.1)
        noisy = type(student)(dims)
        noisy.load_state_dict(student.state_dict())
        return Trainer(noisy, Criterion(parse("masking"), dims, teacher.dims), teacher, settings, seed, "cpu")

    whole, rows = run(teacher, data, tmp_path / ".." / tmp_path.name, dropping())
    (tmp_path / "state.pt").unlink()

    class Killed(Exception):
        pass

    def until_four(row):
        if row["step"] == 4:
            raise Killed

    with pytest.raises(Killed):
        broken = dropping()
        distill(broken, data, data, lambda: saved(tmp_path).write(broken.state()), until_four)
    torch.manual_seed(99)
    again, resumed = dropping(), []
    again.restore(saved(tmp_path).read())
    distill(again, data, data, lambda: None, resumed.append)
    assert [row["step"] for row in resumed] == [4, 5, 6]
    assert [row["loss"] for row in resumed] == [row["loss"] for row in rows[3:]]
    assert all(torch.equal(value, again.model.student.state_dict()[key]) for key, value in whole.state_dict().items())


def test_the_curve_forgets_steps_after_the_saved_one(tmp_path):
    curve = tmp_path / "curve.jsonl"
    report, told = _reporter(curve, 0, SILENT, SILENT), []
    skipped = {"step": 2, "loss": None, "set_aside": [{"step": 2, "what": "loss", "value": "nan", "ids": ["a", "b"]}]}
    good = [{"step": step, "loss": 1.0} for step in (1, 2, 3, 4)]
    for row in (good[0], skipped, *good[1:]):
        report(row)
    with curve.open("a") as file:
        file.write('{"step": 5, "lo')
    again = {**skipped, "step": 3}
    _reporter(curve, 2, SILENT, told.append)(again)
    rows = [json.loads(line) for line in curve.read_text().splitlines()]
    assert rows == [good[0], skipped, good[1], again]
    assert told == ["set aside: a, b: loss nan at step 2"]


def test_accumulated_batches_weigh_as_one(teacher, data, tmp_path):
    """Two batches in one update: the gradient is that of the mean of their losses."""
    trainer = trainer_for(teacher, replace(SETTINGS, clip=1e9))
    batches = [data.batch([name]) for name in ("0", "1")]
    student = copy.deepcopy(trainer.model.student)
    model = Distillation(student, trainer.criterion)
    loss = torch.stack([model(b.waves, b.lengths, b.teacher, None) for b in batches]).mean()
    assert trainer.update(batches) == pytest.approx(loss.item(), rel=1e-5)


def test_a_file_that_cannot_be_read_is_set_aside_and_too_many_stop(teacher, items, tmp_path):
    broken = []
    for i in range(3):
        path = tmp_path / f"broken{i}.flac"
        path.write_bytes(b"fLaC" + bytes(60))
        broken.append(Item(f"broken{i}", path, "x"))
    extractor = Extractor(teacher)
    data = DistillationData([*items, broken[0]], extractor, True, SILENT)
    assert "broken0" in extractor.skipped and sorted(data.items) == list("012345")
    with pytest.raises(TooManyBadFiles, match="more than the limit of 2"):
        DistillationData([*items, *broken], Extractor(teacher, limit=2), True, SILENT)
    cut = tmp_path / "cut.flac"
    cut.write_bytes(items[0].path.read_bytes()[:2000])
    data = DistillationData([*items, Item("cut", cut, "x")], extractor, True, SILENT)
    assert data.batch(["cut"]) is None and len(data.batch(["cut", "1"]).lengths) == 1
    with pytest.raises(DistillationError, match="0 utterances to learn from and 7 to validate on"):
        empty = DistillationData([broken[0]], extractor, True, SILENT)
        distill(trainer_for(teacher), empty, data, lambda: None, SILENT)


def test_distilhubert_starts_from_its_teacher(teacher):
    student, weights = new_student("distilhubert", "mini", teacher, 0), teacher.network.state_dict()
    own = student.state_dict()
    for key in ("feature_extractor.conv_layers.0.conv.weight", "encoder.layers.0.feed_forward.output_dense.bias"):
        assert torch.equal(own[key], weights[key])
    assert not torch.equal(own["encoder.layer_norm.weight"], weights["encoder.layer_norm.weight"])


def test_a_teacher_without_a_network_of_our_own_is_refused(teacher):
    with pytest.raises(UpstreamError, match="fbank shows its hidden states alone"):
        new_student("starhubert", "mini", fbank(), 0)


def test_masks_are_drawn_by_seed_and_step(teacher, data):
    trainer = trainer_for(teacher)
    batch = data.batch(["4", "5"])
    trainer.step = 2
    frames = [teacher.dims.frames(length) for length in batch.lengths.tolist()]
    expected = draw_mask(frames, np.random.default_rng([0, 3, 1]))
    assert torch.equal(trainer._mask(batch, 1), expected)


def test_biases_are_not_decayed_and_nothing_is_left_out(teacher):
    network = new_student("starhubert", "mini", teacher, 0)
    decayed, free = parameter_groups(network, 0.01)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    assert len(decayed["params"]) + len(free["params"]) == len(list(network.parameters()))
    assert all(parameter.ndim == 1 for parameter in free["params"])


@pytest.mark.parametrize("name", list(STUDENTS))
def test_every_student_can_be_made_for_the_mini_teacher(teacher, name):
    preset = STUDENTS[name]()
    student = new_student(name, "mini", teacher, 0)
    Criterion(parse(preset.objective), student.dims, teacher.dims)
