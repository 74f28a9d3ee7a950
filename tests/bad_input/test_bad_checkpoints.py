"""Checkpoints and records that are damaged, foreign or hostile."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from reports.records import write_record
from students.checkpoints import FILE_NAME, _digest, save_checkpoint
from students.torch_file import conversion
from students.upstreams import untrained
from tasks.audio import write_audio

KEYS = "'states' or 'layers' or 'projected and layers' or 'predictions' or 'last prediction'"
CURE = "expected what this version of the harness writes: get it again, or the version of the harness that wrote it"


class Payload:
    """Pickled, it makes a folder when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A student's checkpoint as a run leaves it."""
    network = untrained("starhubert", "mini", 0).network
    assert network is not None
    save_checkpoint(tmp_path / "student", network, "starhubert", "layers", {})
    return tmp_path / "student"


@pytest.fixture
def features(tmp_path: Path, harness) -> Callable[[object], Any]:
    """Runs an upstream on a second of noise."""
    write_audio(tmp_path / "a.wav", np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 10)
    return lambda upstream: harness(
        "features", tmp_path / "a.wav", "--upstream", upstream, "--out", tmp_path / "out.npz"
    )


def rewritten(folder: Path, change: Callable[[dict, dict], None]) -> None:
    """The checkpoint with other weights or another description, and a hash that fits them."""
    with safe_open(folder / FILE_NAME, "pt") as opened:
        metadata, tensors = opened.metadata(), {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    change(metadata, tensors)
    if "sha256" in metadata:
        metadata["sha256"] = _digest(tensors, metadata.get("dims", ""))
    save_file(tensors, folder / FILE_NAME, metadata)


def with_dims(**changes: object) -> Callable[[dict, dict], None]:
    def change(metadata: dict, tensors: dict) -> None:
        metadata["dims"] = json.dumps(json.loads(metadata["dims"]) | changes)

    return change


def two_wrong(metadata: dict, tensors: dict) -> None:
    del metadata["name"]
    metadata["exposes"], metadata["history"] = "everything", "{"


def not_finite(metadata: dict, tensors: dict) -> None:
    tensors["feature_projection.layer_norm.weight"][0] = torch.nan


DESCRIBED = {
    "an unknown key": (
        with_dims(colour="blue"),
        "cannot use checkpoint {}: dims make no network: Dims.__init__() got an unexpected keyword argument 'colour'; "
        + CURE,
    ),
    "a wrong type": (
        with_dims(width="many"),
        "cannot use checkpoint {}: dims make no network: '<' not supported between instances of 'str' and 'int'; "
        + CURE,
    ),
    "sizes that misfit": (
        with_dims(layers=0, heads=0),
        "cannot use checkpoint {}: dims make no network: layers is 0, expected at least 1; heads is 0, expected at "
        "least 1; " + CURE,
    ),
    "several errors": (
        two_wrong,
        "cannot use checkpoint {}: no name; history is no JSON object; exposes is 'everything', expected "
        + KEYS
        + "; "
        + CURE,
    ),
    "weights that are not finite": (
        not_finite,
        "checkpoint {} holds values that are not finite in feature_projection.layer_norm.weight: train it again",
    ),
}


@pytest.mark.parametrize("case", DESCRIBED)
def test_a_checkpoint_that_describes_no_network_is_one_line(case, checkpoint, features):
    change, message = DESCRIBED[case]
    rewritten(checkpoint, change)
    result = features(checkpoint)
    assert (result.exit_code, result.stderr) == (2, f"Error: {message.format(checkpoint / FILE_NAME)}\n")


def test_weights_of_another_architecture_are_named(checkpoint, features):
    rewritten(checkpoint, with_dims(ffn=100))
    result = features(checkpoint)
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    start = f"Error: checkpoint {checkpoint / FILE_NAME} holds the weights of another architecture than it says: "
    assert result.stderr.startswith(start) and "size mismatch for encoder.layers.0.feed_forward" in result.stderr


def test_a_truncated_checkpoint_is_one_line(checkpoint, features):
    file = checkpoint / FILE_NAME
    file.write_bytes(file.read_bytes()[:-1000])
    result = features(checkpoint)
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"Error: cannot read checkpoint {file}: ")
    assert result.stderr.endswith("; expected a file that this harness wrote: get it again\n")


def test_an_altered_checkpoint_is_one_line(checkpoint, features):
    file = checkpoint / FILE_NAME
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    message = f"Error: checkpoint {file} does not match its own hash: the file is damaged, get it again\n"
    assert features(checkpoint).stderr == message


def test_a_checkpoint_of_another_program_is_one_line(tmp_path, features):
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    message = (
        f"Error: checkpoint {tmp_path / 'other.safetensors'} has format none, expected star-harness-2 (written by this "
        "harness); for a model of Hugging Face type hf:FOLDER\n"
    )
    assert features(tmp_path / "other.safetensors").stderr == message


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("a.pt", "{}"),
        ("a.ckpt", "{}"),
        ("a.pt", "dphubert:{}"),
        ("a.pt", "torchaudio:HUBERT_BASE:{}"),
        ("hf/pytorch_model.bin", "hf:{}"),
    ],
)
def test_a_hostile_pickle_is_refused_before_it_runs(name, spec, tmp_path, features):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    (file.parent / "config.json").write_text('{"model_type": "hubert"}')
    torch.save({"state_dict": {}, "model": Payload(tmp_path / "made")}, file)
    result = features(spec.format(file.parent if spec.startswith("hf") else file))
    plain = file.with_name(f"{file.stem}-plain{file.suffix}")
    message = (
        f"Error: {file} holds a {os.mkdir.__module__}.mkdir, which could run code: expected tensors and plain values; "
        f"type the same model as hf:OWNER/NAME or, if you trust the file, harness convert {file} --out {plain} "
        "--trust-pickle" + (f" && mv {plain} {file}\n" if file.name == "pytorch_model.bin" else "\n")
    )
    assert (result.exit_code, result.stderr) == (2, message)
    assert not (tmp_path / "made").exists()


def test_nothing_is_unpickled_without_being_asked_for(tmp_path, harness):
    torch.save({"model": Payload(tmp_path / "made")}, tmp_path / "a.pt")
    result = harness("convert", tmp_path / "a.pt", "--out", tmp_path / "b.pt")
    message = (
        f"Error: {tmp_path / 'a.pt'} is not opened: a pickle runs whatever code it holds; if you trust it, give "
        "--trust-pickle\n"
    )
    assert (result.exit_code, result.stderr) == (2, message)
    assert not (tmp_path / "made").exists() and not (tmp_path / "b.pt").exists()
    assert harness("convert", tmp_path / "a.pt", "--out", tmp_path / "b.pt", "--trust-pickle").exit_code == 0
    assert (tmp_path / "made").is_dir()  # what trust means


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_what_cannot_be_converted_is_one_line(content, tmp_path, harness):
    file = tmp_path / "a.pt"
    torch.save([1], file) if content is None else file.write_bytes(content)
    result = harness("convert", file, "--out", tmp_path / "b.pt", "--trust-pickle")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(
        f"Error: {file} holds a list: " if content is None else f"Error: cannot convert {file}"
    )
    assert list(tmp_path.iterdir()) == [file]
    result = harness("convert", file, "--out", file, "--trust-pickle")
    assert result.stderr == f"Error: cannot write {file}: expected the name of another file\n"
    result = harness("convert", file, "--out", os.devnull, "--trust-pickle")
    assert result.stderr == f"Error: cannot write {os.devnull}: expected the name of another file\n"


def test_a_hugging_face_file_keeps_its_name_when_it_is_converted():
    command = conversion(Path("model/pytorch_model.bin"))
    assert command.endswith("--trust-pickle && mv model/pytorch_model-plain.bin model/pytorch_model.bin")


def test_records_of_an_unknown_version_are_one_line(tmp_path, record, harness):
    path = write_record(tmp_path / "records", record(), None)
    text = path.read_text()
    for version, cure in (
        (1, "run the task again"),
        (9, "a newer harness wrote it: use that one, or run the task again"),
    ):
        path.write_text(text.replace('"schema_version": 3', f'"schema_version": {version}'))
        result = harness("report", tmp_path)
        message = f"Error: {path}: schema_version is {version}; expected 3: {cure}\n"
        assert (result.exit_code, result.stderr) == (2, message)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"deviations": []', '"deviations": [1]', "deviations is [1]; expected list[str]"),
        ('"torch": "2.11.0"', '"torch": 2', "versions is {'torch': 2}; expected dict[str, str]"),
        ('"train": 1.5', '"train": "long"', "seconds is {'train': 'long'}; expected dict[str, float]"),
        ('"seed": 0', '"seed": "0"', "seed is '0'; expected int"),
    ],
)
def test_records_with_wrong_types_are_one_line(old, new, problem, tmp_path, record, harness):
    path = write_record(tmp_path / "records", record(), None)
    text = path.read_text().replace(' [\n    "', ' ["')
    assert old in text
    path.write_text(text.replace(old, new))
    message = f"Error: {path}: {problem}; restore the file, or delete it and run the task again\n"
    assert harness("report", tmp_path).stderr == message


def test_a_record_without_end_is_one_line(tmp_path, record, harness):
    path = write_record(tmp_path / "records", record(), None)
    path.write_text("[" * 100_000)
    result = harness("report", tmp_path)
    assert result.exit_code == 2 and result.stderr.startswith(f"Error: {path}: not a JSON file (")


def fairseq_content(settings: Callable[[dict], Any]) -> dict[str, Any]:
    """A small encoder as fairseq saves one."""
    network = untrained("starhubert", "mini", 0).network
    assert network is not None
    dims = network.dims
    model = {
        "conv_feature_layers": str(list(dims.stem)),
        "encoder_layers": dims.layers,
        "encoder_embed_dim": dims.width,
        "encoder_ffn_embed_dim": dims.ffn,
        "encoder_attention_heads": dims.heads,
        "conv_pos": dims.pos_kernel,
        "conv_pos_groups": dims.pos_groups,
    }
    return {"cfg": {"model": settings(model), "task": settings({"normalize": False})}, "model": network.state_dict()}


def test_a_trusted_file_is_converted_and_then_used(tmp_path, features, harness, monkeypatch):
    """fairseq's layout, with settings in classes of a library that is not there."""
    ghost = ModuleType("ghost")

    class Settings:
        def __init__(self, values: dict) -> None:
            self.__dict__.update(values)

    Settings.__module__, Settings.__qualname__ = "ghost", "Settings"
    ghost.Settings = Settings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ghost", ghost)
    torch.save(fairseq_content(Settings), tmp_path / "a.pt")
    monkeypatch.delitem(sys.modules, "ghost")
    assert "holds a ghost.Settings, which could run code" in features(tmp_path / "a.pt").stderr
    done = harness("convert", tmp_path / "a.pt", "--out", tmp_path / "b.pt", "--trust-pickle")
    assert (done.exit_code, done.stdout) == (0, f"Converted: {tmp_path / 'b.pt'}\n")
    result = features(tmp_path / "b.pt")
    assert (result.exit_code, result.stderr) == (0, "")
    states = np.load(tmp_path / "out.npz")
    torch.save(fairseq_content(dict), tmp_path / "c.pt")
    assert features(tmp_path / "c.pt").exit_code == 0
    plain = np.load(tmp_path / "out.npz")
    assert set(states) == set(plain) and all(np.array_equal(states[key], plain[key]) for key in plain)
