"""Exports read back by the library that each is for: transformers, torch.hub, s3prl and onnxruntime."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import transformers

from students.checkpoints import save_checkpoint
from students.dims import Dims
from students.encoder import SpeechEncoder
from students.export import export
from students.export_folder import ExportError
from students.presets import STUDENTS, thin_stem, wide_stem
from students.upstreams import MINI_TEACHER, from_network, mini_teacher

SMALL = {"pos_kernel": 8, "pos_groups": 2}
THIN = Dims(thin_stem(16, 16), 16, 2, 2, 24, **SMALL)
WIDE = Dims(wide_stem(8), 16, 2, 2, 24, projection=True, **SMALL)
HEADS = {"predicted": (2,), "prediction_width": 12}
LARGE = {"stem_norm": "layer", "stem_bias": True, "pre_norm": True}
NETWORKS = {
    "thin": (THIN, "layers"),
    "wide": (replace(WIDE, mask_vector=True), "states"),
    "large": (replace(WIDE, **LARGE), "states"),
    "pruned alike": (replace(WIDE, sizes=((2, 20), (2, 20))), "states"),
    "no norm": (replace(WIDE, projection_norm=False), "projected and layers"),
    "spare head": (replace(WIDE, **HEADS, prediction_bias=False), "projected and layers"),
    "gated": (replace(THIN, gated_position=True), "states"),
    "gated large": (replace(WIDE, gated_position=True, mask_vector=True, **LARGE), "states"),
}
BEYOND = {
    "reuse": (replace(THIN, reuse=(2,)), "layers that reuse an attention map"),
    "reduced": (replace(THIN, reduction=2), "time reduction"),
    "unequal": (replace(THIN, sizes=((2, 24), (2, 8))), "layers of unequal sizes"),
    "narrow": (replace(THIN, head_width=4), "attention of width 8 in layers of width 16"),
    "scaled": (replace(THIN, stem_scale=True), "factors on the stem's output"),
    "heads": (replace(THIN, **HEADS), r"prediction heads \(this network's features\)"),
    "gated": (replace(THIN, gated_position=True, projection_norm=False), "projection without a LayerNorm before it"),
}
# What a process with stock s3prl does; the packages of the harness are out of its reach.
S3PRL = """
import sys
from functools import partial
sys.modules |= dict.fromkeys(("harness", "students", "tasks", "reports"))
import torch
from s3prl import hub
from s3prl.nn import Featurizer, S3PRLUpstream
folder, entry, waves, out = sys.argv[1:]
setattr(hub, entry, partial(torch.hub.load, folder, entry, source="local"))
upstream = S3PRLUpstream(entry).eval()
waves = torch.load(waves, weights_only=True)
with torch.no_grad():
    states = [upstream.upstream([wave])["hidden_states"] for wave in waves]
    padded, lengths = torch.nn.utils.rnn.pad_sequence(waves, True), torch.tensor([len(wave) for wave in waves])
    mixed, _ = Featurizer(upstream)(*upstream(padded, lengths))
torch.save([states, mixed, upstream.downsample_rates], out)
"""


@pytest.fixture
def saved(tmp_path):
    """Writes a network with random weights, every one away from its initial value: checkpoint and upstream."""

    def save(dims, exposes, name="net"):
        torch.manual_seed(len(name))
        network = SpeechEncoder(dims)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
        folder = tmp_path / f"{name}-checkpoint"
        save_checkpoint(folder, network, name, exposes, {"suite": "mini", "teacher": "t", "versions": {"torch": "2"}})
        return str(folder), from_network(name, "student", network, exposes)

    return save


@pytest.fixture
def out(tmp_path):
    return tmp_path / "deep" / "out"


def alone(upstream, wave):
    return upstream(wave[None], torch.tensor([len(wave)]))[0]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def preset(saved, name):
    """The mini size of a student, or the mini teacher as it ships."""
    if name == MINI_TEACHER.name:
        return name, mini_teacher()
    return saved(STUDENTS[name]().dims("mini"), STUDENTS[name]().exposes, name)


def transformers_states(folder, wave):
    """hidden_states of the folder's model, the last one after a final LayerNorm as ours is."""
    config = json.loads((folder / "config.json").read_text())
    model_class = getattr(transformers, *config["architectures"])
    model, loading = model_class.from_pretrained(folder, output_loading_info=True)
    assert not any(loading.values())
    with torch.no_grad():
        found = model.eval()(wave[None], output_hidden_states=True)
    return [*found.hidden_states[:-1], found.last_hidden_state]


@pytest.mark.parametrize("name", list(NETWORKS))
def test_transformers_gives_the_same_hidden_states(name, saved, out, waves):
    checkpoint, upstream = saved(*NETWORKS[name])
    export(checkpoint, "hf", out)
    with torch.no_grad():
        expected = upstream.network(waves[1][None], torch.tensor([len(waves[1])])).states
    assert_same(transformers_states(out, waves[1]), expected)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(out)
    values = extractor(waves[1].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    assert torch.equal(values[0], waves[1])  # no normalisation


@pytest.mark.parametrize("name", ["starhubert", MINI_TEACHER.name])
def test_transformers_takes_the_mini_sizes(name, saved, out, waves):
    checkpoint, upstream = preset(saved, name)
    export(checkpoint, "hf", out)
    expected = alone(upstream, waves[1])
    assert_same(transformers_states(out, waves[1])[-len(expected) :], expected)


@pytest.mark.parametrize("name", list(BEYOND))
def test_what_transformers_cannot_express_is_named(name, saved, out):
    dims, reason = BEYOND[name]
    checkpoint, _ = saved(dims, "predictions" if dims.predicted else "layers")
    with pytest.raises(ExportError, match=f"which has no {reason}: export it with --format s3prl or --format onnx"):
        export(checkpoint, "hf", out)
    assert not any(out.parent.iterdir())


def test_several_reasons_come_in_one_line(saved, out):
    checkpoint, _ = saved(replace(THIN, reduction=2, reuse=(2,)), "layers")
    with pytest.raises(ExportError, match="no layers that reuse an attention map, no time reduction: export"):
        export(checkpoint, "hf", out)


@pytest.mark.parametrize("name", ["starhubert", MINI_TEACHER.name, "armhubert", "distilhubert", "fithubert"])
def test_torch_hub_loads_an_s3prl_folder(name, saved, out, waves):
    checkpoint, upstream = preset(saved, name)
    export(checkpoint, "s3prl", out)
    expert = torch.hub.load(str(out), f"harness_{name.replace('-', '_')}", source="local").eval()
    with torch.no_grad():
        states = expert(waves)["hidden_states"]
    assert expert.get_downsample_rates("hidden_states") == upstream.stride == 320
    for row, wave in enumerate(waves):
        expected = alone(upstream, wave)
        frames = expected[0].shape[1]
        assert_same([state[row, :frames] for state in states], [state[0] for state in expected])
        assert all(bool((state[row, frames:] == state[row, frames - 1]).all()) for state in states)
    assert all(parameter.requires_grad for parameter in expert.parameters())
    assert type(expert).__module__ != "students.expert"


def test_two_s3prl_folders_live_side_by_side(saved, tmp_path, waves):
    for name in ("one", "another"):
        checkpoint, upstream = saved(THIN, "layers", name)
        export(checkpoint, "s3prl", tmp_path / name)
        expert = torch.hub.load(str(tmp_path / name), f"harness_{name}", source="local").eval()
        with torch.no_grad():
            assert_same(expert(waves[:1])["hidden_states"], alone(upstream, waves[0]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["starhubert", MINI_TEACHER.name, "armhubert", "fithubert"])
def test_stock_s3prl_runs_an_export_without_the_harness(name, saved, out, tmp_path, waves):
    checkpoint, upstream = preset(saved, name)
    export(checkpoint, "s3prl", out)
    torch.save(waves, tmp_path / "waves.pt")
    entry = f"harness_{name.replace('-', '_')}"
    files = [str(tmp_path / file) for file in ("waves.pt", "states.pt")]
    command = [sys.executable, "-c", S3PRL, str(out), entry, *files]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    states, mixed, strides = torch.load(tmp_path / "states.pt", weights_only=True)
    for wave, found in zip(waves, states, strict=True):
        assert_same(found, alone(upstream, wave))
    assert mixed.shape == (len(waves), 25, upstream.dim) and strides == [320] * len(upstream.states)


def assert_onnx(folder, upstream, shortest):
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert [put.name for put in session.get_outputs()] == [f"state_{i:02d}" for i in range(len(upstream.states))]
    for samples in (shortest, 12_345, 48_000):
        wave = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))
        found = [torch.from_numpy(state) for state in session.run(None, {"waveform": wave[None].numpy()})]
        assert_same(found, alone(upstream, wave))


def test_onnxruntime_runs_any_length(saved, out):
    pytest.importorskip("onnxscript")
    checkpoint, upstream = saved(replace(THIN, layers=1), "states")
    export(checkpoint, "onnx", out)
    assert_onnx(out, upstream, 400)
    assert "at least 400 samples" in (out / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["starhubert", MINI_TEACHER.name, "armhubert", "distilhubert", "fithubert"])
def test_onnxruntime_runs_the_mini_sizes(name, saved, out):
    pytest.importorskip("onnxscript")
    checkpoint, upstream = preset(saved, name)
    export(checkpoint, "onnx", out)
    assert_onnx(out, upstream, 720 if name == "fithubert" else 400)


@pytest.mark.slow
def test_onnxruntime_runs_gated_positions(saved, out):
    pytest.importorskip("onnxscript")
    checkpoint, upstream = saved(*NETWORKS["gated large"])
    export(checkpoint, "onnx", out)
    assert_onnx(out, upstream, 400)


def test_onnx_without_its_packages_is_one_clear_line(saved, out, monkeypatch):
    checkpoint, _ = saved(*NETWORKS["thin"])
    monkeypatch.setattr("students.export_onnx.find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"needs onnx and onnxscript, .*pip install 'star-harness\[onnx\]'"):
        export(checkpoint, "onnx", out)


def test_the_card_says_what_the_network_is(saved, out):
    checkpoint, upstream = saved(*NETWORKS["thin"])
    export(checkpoint, "hf", out)
    card = (out / "README.md").read_text()
    for words in (
        "# net", "Synthetic speech only", f"| Parameters | {upstream.parameters:,} |", "| Teacher | t |", "torch 2",
        "2 of 16 dimensions every 320 samples", 'HubertModel.from_pretrained("FOLDER")', "`hidden_states[1:]`",
    ):  # fmt: skip
        assert words in card
    assert json.loads((out / "export.json").read_text())["history"]["teacher"] == "t"


def test_a_name_in_the_card_is_text(saved, out, tmp_path):
    evil = "<script>alert(1)</script>"
    _, upstream = saved(*NETWORKS["thin"])
    save_checkpoint(tmp_path / "evil", upstream.network, evil, "layers", {"teacher": evil})
    export(str(tmp_path / "evil"), "hf", out)
    card = (out / "README.md").read_text()
    assert evil not in card and card.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2


def test_a_network_of_real_speech_is_not_called_synthetic(saved, out, tmp_path):
    _, upstream = saved(*NETWORKS["large"])
    save_checkpoint(tmp_path / "real", upstream.network, "net", "states", {"suite": "superb"})
    export(str(tmp_path / "real"), "hf", out)
    card = (out / "README.md").read_text()
    assert "ynthetic" not in card and "before the final LayerNorm" in card


def test_an_earlier_export_is_replaced_whole(saved, out):
    for name, form in (("thin", "s3prl"), ("wide", "hf")):
        checkpoint, _ = saved(*NETWORKS[name])
        export(checkpoint, form, out)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["README.md", "config.json", "export.json", "model.safetensors", "preprocessor_config.json"]
    )
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_other_files_are_never_overwritten(saved, tmp_path):
    checkpoint, _ = saved(*NETWORKS["thin"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(ExportError, match="mine holds files that `harness export` did not write: give a new folder"):
        export(checkpoint, "hf", tmp_path / "mine")
    with pytest.raises(ExportError, match=r"thesis.txt is a file: expected a folder"):
        export(checkpoint, "hf", tmp_path / "mine" / "thesis.txt")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_a_failed_export_leaves_the_earlier_one(saved, out):
    checkpoint, _ = saved(*NETWORKS["thin"])
    export(checkpoint, "hf", out)
    refused, _ = saved(BEYOND["reuse"][0], "layers", "other")
    with pytest.raises(ExportError):
        export(refused, "hf", out)
    assert json.loads((out / "export.json").read_text())["name"] == "net"
    assert [path.name for path in out.parent.iterdir()] == ["out"]
