"""The commands export and features."""

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from harness.cli import main
from students.upstreams import mini_teacher
from tasks.audio import write_audio


def harness(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def speech(tmp_path):
    path = tmp_path / "speech.wav"
    write_audio(path, (0.1 * np.random.default_rng(0).standard_normal(8_123)).astype(np.float32))
    return path


def test_export_writes_a_folder_with_a_card(tmp_path):
    out = tmp_path / "out"
    result = harness("export", "mini-hubert", "--format", "hf", "--out", out)
    assert result.exit_code == 0 and str(out) in result.stdout
    assert "Synthetic speech only" in (out / "README.md").read_text()


def test_a_refused_export_is_one_line_and_exit_code_2(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for checkpoint, out, line in (
        ("mini-hubert", "mine", "mine is a file: expected a folder"),
        ("no-such-run", "out", "no checkpoint at no-such-run: expected a folder that holds model.safetensors"),
    ):
        result = harness("export", checkpoint, "--format", "s3prl", "--out", tmp_path / out)
        assert result.exit_code == 2 and line in result.stderr and len(result.stderr.splitlines()) == 1


def test_features_are_the_states_of_the_file(speech, tmp_path):
    out = tmp_path / "deep" / "f.npz"
    result = harness("features", "--upstream", "mini-hubert", speech, "--out", out)
    assert result.exit_code == 0, result.stderr
    teacher = mini_teacher()
    wave = torch.from_numpy(soundfile.read(speech, dtype="float32")[0])
    states, _ = teacher(wave[None], torch.tensor([len(wave)]))
    with np.load(out) as found:
        assert sorted(found) == ["names", *(f"state_{i:02d}" for i in range(7)), "stride"]
        assert found["stride"] == 320 and found["names"].tolist() == list(teacher.states)
        for index, state in enumerate(states):
            np.testing.assert_allclose(found[f"state_{index:02d}"], state[0], rtol=1e-6)
    assert [path.name for path in out.parent.iterdir()] == ["f.npz"]


def test_features_of_no_file_or_no_upstream_are_refused(speech, tmp_path):
    for upstream, audio, line in (
        ("mini-hubert", "none.wav", "cannot read none.wav: no such file"),
        ("hubrt", speech, "unknown upstream 'hubrt'"),
    ):
        result = harness("features", "--upstream", upstream, audio, "--out", tmp_path / "f.npz")
        assert result.exit_code == 2 and line in result.stderr
    assert not (tmp_path / "f.npz").exists()
