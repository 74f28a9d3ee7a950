import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from students.checkpoints import FILE_NAME, CheckpointError, load_checkpoint, save_checkpoint, weights_hash
from students.presets import STUDENTS
from students.upstreams import MINI_TEACHER, mini_teacher, untrained


@pytest.fixture
def saved(tmp_path):
    network = untrained("starhubert", "mini", 0).network
    return network, save_checkpoint(tmp_path, network, "starhubert", "layers", {"why": "test"}), tmp_path


@pytest.mark.parametrize("student", ["starhubert", "armhubert", "fithubert"])
def test_a_checkpoint_comes_back_as_it_was(student, tmp_path):
    preset, network = STUDENTS[student](), untrained(student, "mini", 0).network
    info = save_checkpoint(tmp_path, network, student, preset.exposes, {"why": "test"})
    loaded, read = load_checkpoint(tmp_path)
    assert (read.name, read.dims, read.exposes) == (student, preset.mini, preset.exposes)
    assert read == info and read.history == {"why": "test"} and weights_hash(loaded) == info.sha256
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())
    assert not loaded.training


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"expected a folder that holds model.safetensors"):
        load_checkpoint(tmp_path)


def test_a_truncated_checkpoint_is_refused(saved):
    file = saved[2] / FILE_NAME
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="cannot read checkpoint"):
        load_checkpoint(saved[2])


def test_a_changed_weight_is_found_by_the_hash(saved):
    file = saved[2] / FILE_NAME
    content = bytearray(file.read_bytes())
    content[-1] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not match its own hash"):
        load_checkpoint(saved[2])


def test_another_format_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / FILE_NAME)
    with pytest.raises(CheckpointError, match="has format none, expected star-harness-2"):
        load_checkpoint(tmp_path)


def test_the_shipped_teacher_is_small_and_whole():
    file = MINI_TEACHER / FILE_NAME
    assert file.stat().st_size < 8_000_000
    with safe_open(file, "pt") as opened:
        assert {opened.get_tensor(key).dtype for key in opened.keys()} == {torch.float16}  # noqa: SIM118
        assert json.loads(opened.metadata()["history"])["settings"]["steps"] == [1200, 3200]
    teacher = mini_teacher()
    assert teacher.parameters == 3_253_600 and len(teacher.states) == 7 and teacher.dim == 192
    assert not teacher.network.training and not any(p.requires_grad for p in teacher.network.parameters())


def test_mini_sizes_follow_the_papers_ratios():
    teacher, student = mini_teacher().dims, untrained("starhubert", "mini", 0).dims
    assert student.width / teacher.width == 432 / 768 == 0.5625
    assert student.ffn / teacher.ffn == 976 / 3072
    assert student.layers == teacher.layers


@pytest.mark.slow
def test_fbank_equals_s3prls():
    import s3prl.hub

    from students.upstreams import fbank

    waves = [torch.randn(16_000) * 0.1, torch.randn(9_000) * 0.1]
    theirs = s3prl.hub.fbank()(waves)["hidden_states"][0]
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    ours, frames = fbank()(padded, torch.tensor([16_000, 9_000]))
    for row, count in enumerate(frames.tolist()):
        torch.testing.assert_close(ours[0][row, :count], theirs[row, :count], rtol=1e-4, atol=1e-4)
