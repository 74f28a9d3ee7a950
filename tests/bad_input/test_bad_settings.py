"""Settings that others wrote, and options that users type: everything wrong at once, and never a traceback."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tasks.audio import write_audio

DEEP = "[" * 100_000
HUBERT = {
    "model_type": "hubert",
    "hidden_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "conv_dim": [16] * 7,
}


@pytest.fixture
def refusal(tmp_path: Path, harness):
    """Runs an upstream, which must be refused in one line, and gives the line."""
    write_audio(tmp_path / "a.wav", np.zeros(16_000, np.float32))

    def refuse(upstream: object) -> str:
        result = harness("features", tmp_path / "a.wav", "--upstream", upstream, "--out", tmp_path / "out.npz")
        assert result.exit_code == 2
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        return line.removeprefix("Error: ")

    return refuse


@pytest.mark.parametrize(
    ("name", "content", "start"),
    [
        ("config.json", "[]", "cannot read config.json in {}: "),
        ("config.json", DEEP, "cannot read config.json in {}: "),
        (
            "config.json",
            json.dumps(HUBERT | {"model_type": ["hubert"]}),
            "{} has model_type ['hubert']: expected hubert",
        ),
        ("config.json", json.dumps(HUBERT | {"hidden_size": "x"}), "cannot use config.json of {}: "),
        (
            "config.json",
            json.dumps(HUBERT | {"num_attention_heads": 0}),
            "{} has sizes that make no network: heads is 0",
        ),
        ("preprocessor_config.json", "[]", "cannot read preprocessor_config.json of {}, which says"),
        ("preprocessor_config.json", DEEP, "cannot read preprocessor_config.json of {}, which says"),
        (
            "preprocessor_config.json",
            '{"feature_extractor": 1}',
            "cannot read preprocessor_config.json of {}, which says",
        ),
        ("model.safetensors.index.json", "[]", "cannot load {}: model.safetensors.index.json names [], expected names"),
        (
            "model.safetensors.index.json",
            '{"weight_map": [1]}',
            "cannot load {}: model.safetensors.index.json names []",
        ),
        (
            "model.safetensors.index.json",
            '{"weight_map": {"a": 1}}',
            "cannot load {}: model.safetensors.index.json names",
        ),
        ("model.safetensors.index.json", DEEP, "cannot load {}: "),
    ],
)
def test_settings_of_hugging_face_that_make_no_sense_are_one_line(name, content, start, tmp_path, refusal):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(HUBERT))
    if "index" not in name:
        save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    (folder / name).write_text(content)
    assert refusal(f"hf:{folder}").startswith(start.format(folder))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "{} has no section distiller: expected the yaml of the student's training run"),
        ("distiller: x", "{} has no section distiller: expected the yaml of the student's training run"),
        (
            'distiller: {encoder_layers: "two", encoder_embed_dim: 1.5, pos_conv_depth: 5, colour: blue}',
            "cannot use the settings in {}: encoder_layers is 'two', expected int; encoder_embed_dim is 1.5, expected "
            "int; pos_conv_depth is 5: only 1 is supported; expected those of a released model",
        ),
    ],
)
def test_all_that_is_wrong_with_an_official_yaml_is_one_line(content, message, tmp_path, refusal):
    torch.save({"state_dict": {"student_model.x": torch.zeros(1)}}, tmp_path / "a.ckpt")
    (tmp_path / "a.yaml").write_text(content)
    assert refusal(tmp_path / "a.ckpt") == message.format(tmp_path / "a.yaml")


@pytest.mark.parametrize("content", [DEEP[:20_000], "a: [b", "distiller: !!python/object/apply:os.getcwd []"])
def test_a_yaml_that_cannot_be_read_is_one_line(content, tmp_path, refusal):
    torch.save({"state_dict": {"student_model.x": torch.zeros(1)}}, tmp_path / "a.ckpt")
    (tmp_path / "a.yaml").write_text(content)
    line = refusal(tmp_path / "a.ckpt")
    assert line.startswith(f"cannot read {tmp_path / 'a.yaml'}: ")
    assert line.endswith("expected the yaml of the training run")


@pytest.mark.parametrize("option", ["--out", "--corpora", "--cache"])
def test_a_link_that_leads_nowhere_is_no_folder(option, tmp_path, harness):
    link = tmp_path / "link"
    link.symlink_to(link)
    result = harness("evaluate", "--upstream", "fbank", option, link)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {option} {link} is a link that leads nowhere: expected ")


@pytest.mark.parametrize("content", ["{", "[]", "{}", "\xff"])
def test_a_suite_whose_manifest_cannot_be_read_is_one_line(content, tmp_path, harness):
    (tmp_path / "mini.json").write_text(content, encoding="latin-1")
    result = harness("evaluate", "--upstream", "fbank", "--corpora", tmp_path, "--out", tmp_path / "out")
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert result.exit_code == 2 and len(lines) == 1
    assert lines[0].startswith(f"Error: {tmp_path} holds no finished mini suite: mini.json cannot be read (")


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--seed", "x"], ["Error: Invalid value for '--seed': 'x' is not a valid integer."]),
        (
            ["--tasks", "asq", "--seed", "-1", "--cache-gb", "nan"],
            [
                "Error: unknown task 'asq': did you mean asr or asv? `harness list tasks` shows all",
                "Error: seed -1 is out of range: expected 0 to 2147483647",
                "Error: --cache-gb nan is no size: expected 0 or more",
            ],
        ),
    ],
)
def test_wrong_options_are_told_all_at_once(arguments, lines, harness):
    result = harness("evaluate", "--upstream", "fbank", *arguments)
    assert result.exit_code == 2
    assert [line for line in result.stderr.splitlines() if line.startswith("Error")] == lines


def test_an_unknown_option_is_one_line(harness):
    result = harness("evaluate", "--upstream", "fbank", "--sead", "1")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert result.exit_code == 2 and line.startswith("Error: No such option") and "--seed" in line
