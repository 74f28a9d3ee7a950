"""Upstreams by name: our own, s3prl's entries, and the names that mean nothing."""

import sys
from types import ModuleType
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from students.checkpoints import CheckpointError, save_checkpoint, weights_hash
from students.resolve import resolve
from students.upstreams import MINI_TEACHER, UpstreamError, mini_teacher, untrained


class Entry(nn.Module):
    """An s3prl entry whose states depend on the batch, as its group-norm models' do."""

    def __init__(self, ckpt=None, states=2, strides=160, dims=(3, 3)) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(1))
        self.states, self.strides, self.dims = states, strides, dims
        print("chatter")  # noqa: T201

    def get_downsample_rates(self, key):
        return self.strides

    def forward(self, wavs):
        batch = pad_sequence(wavs, batch_first=True)
        frames = batch.unfold(1, 160, 160).mean(-1, keepdim=True) * len(wavs) * batch.shape[1] * self.scale
        return {"hidden_states": [frames.expand(-1, -1, dim) + i for i, dim in enumerate(self.dims)]}


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for s3prl.hub, whose import takes many seconds."""
    import s3prl

    def broken(ckpt):
        raise RuntimeError(f"cannot unpickle\n{ckpt}")

    def unreachable():
        raise URLError("no network")

    entries = {
        "plain": lambda **options: Entry(**options),
        "ragged": lambda: Entry(dims=(3, 4)),
        "two_rates": lambda: Entry(strides=[160, 320]),
        "silent": lambda: Entry(dims=()),
        "broken": broken,
        "unreachable": unreachable,
    }
    family = {
        "pretrained": lambda ckpt=None: Entry(states=0),  # passes over the checkpoint, as s3prl's own do
        "family_local": lambda ckpt: Entry(ckpt, dims=(3,)),
        "family_url": lambda ckpt: Entry(ckpt, dims=(3, 3, 3)),
    }
    module = ModuleType("s3prl.hub")
    for name, entry in (entries | family).items():
        entry.__module__ = f"s3prl.upstream.{'family' if name in family else 'some'}.hubconf"
        setattr(module, name, entry)
    module.os = sys  # hub.py's star imports bring in names that are no upstreams
    monkeypatch.setitem(sys.modules, "s3prl.hub", module)
    monkeypatch.setattr(s3prl, "hub", module, raising=False)


def test_s3prl_entries_never_see_a_batch(hub, waves, capsys, assert_each_alone):
    upstream = resolve("s3prl:plain", 7)
    torch.manual_seed(7)
    entry = Entry()
    capsys.readouterr()
    assert_each_alone(upstream, waves, lambda wave: entry([wave[0]])["hidden_states"])
    assert (upstream.stride, upstream.parameters, len(upstream.states)) == (160, 1, 2)
    assert resolve("s3prl:plain", 8).fingerprint != upstream.fingerprint == resolve("s3prl:plain", 7).fingerprint
    assert capsys.readouterr().out == ""


def test_an_s3prl_entry_takes_a_checkpoint(hub, tmp_path, monkeypatch):
    (tmp_path / "c.ckpt").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("s3prl:plain:~/c.ckpt", 0).name == "s3prl:plain:c.ckpt"
    assert resolve(f"s3prl:plain:{tmp_path / 'c.ckpt'}", 0).name == "s3prl:plain:c.ckpt"


def test_an_entry_with_weights_of_its_own_leaves_a_checkpoint_to_its_family(hub, tmp_path):
    (tmp_path / "c.ckpt").touch()
    found = {
        spec: len(resolve(f"s3prl:pretrained{spec}", 0).states)
        for spec in ("", f":{tmp_path / 'c.ckpt'}", ":https://example.org/c.ckpt")
    }
    assert list(found.values()) == [2, 1, 3]


def test_our_own_names(tmp_path):
    teacher = mini_teacher()
    assert resolve("mini-hubert", 0).fingerprint == teacher.fingerprint
    assert resolve("fbank", 0).kind == "fbank"
    control = resolve("random:starhubert", 3)
    assert control.fingerprint == untrained("starhubert", "mini", 3).fingerprint
    assert resolve("random:starhubert", 3, "paper").dim == 432
    save_checkpoint(tmp_path, control.network, "starhubert", "layers", {})
    for path in (tmp_path, tmp_path / "model.safetensors"):
        student = resolve(str(path), 0)
        assert (student.kind, student.name) == ("student", "starhubert")
        assert student.fingerprint == weights_hash(control.network)
        assert student.parameters == control.parameters == sum(p.numel() for p in control.network.parameters())
    assert resolve(str(MINI_TEACHER), 0).kind == "teacher"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fbnak", r"unknown upstream 'fbnak': did you mean fbank\? expected one of fbank, mini-hubert"),
        ("hubert_bas", r"unknown upstream 'hubert_bas': did you mean hubert_base"),
        ("torchadio:HUBERT_BASE", "unknown upstream .*: did you mean torchaudio:HUBERT_BASE"),
        ("hf:", "unknown upstream 'hf:'"),
        ("random:starhubrt", "unknown student 'starhubrt': did you mean starhubert"),
        ("hf:nowhere", "no folder nowhere: type hf:FOLDER"),
        ("torchaudio:HUBERT_BAS", "unknown torchaudio bundle 'HUBERT_BAS': did you mean HUBERT_BASE"),
        ("torchaudio:HUBERT_BASE:absent.pt", "cannot read absent.pt: .*expected a file written by torch.save"),
        ("s3prl:plan", r"unknown s3prl upstream 'plan': did you mean plain"),
        ("s3prl:os", "unknown s3prl upstream 'os'"),
        ("s3prl:plain:absent.ckpt", "no file absent.ckpt for s3prl's plain"),
        ("s3prl:broken", r"s3prl cannot build 'broken': TypeError: .*'ckpt'.*wants s3prl:broken:CHECKPOINT"),
        ("s3prl:unreachable", "s3prl cannot build 'unreachable': URLError: .*no network"),
        ("s3prl:ragged", r"states of shapes \[\(1, 100, 3\), \(1, 100, 4\)\]"),
        ("s3prl:two_rates", r"strides \[160, 320\]: expected one shape and one stride"),
        ("s3prl:silent", r"shapes \[\]"),
    ],
)
def test_a_name_that_cannot_be_used_is_one_clear_line(spec, message, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UpstreamError, match=message) as caught:
        resolve(spec, 0)
    assert len(str(caught.value).splitlines()) == 1


def test_an_s3prl_entry_that_cannot_compute_is_named(hub, monkeypatch):
    monkeypatch.setattr(Entry, "forward", lambda self, wavs: {})
    with pytest.raises(UpstreamError, match="'plain' gives no hidden states for a second of sound: KeyError"):
        resolve("s3prl:plain", 0)


def test_only_networks_of_our_own_can_be_looked_into(hub):
    waves, lengths = torch.zeros(1, 8_000), torch.tensor([8_000])
    assert len(mini_teacher().encode(waves, lengths, with_maps=True).maps) == 6
    for upstream in (resolve("fbank", 0), resolve("s3prl:plain", 0)):
        with pytest.raises(UpstreamError, match=f"{upstream.name} shows its hidden states alone: .*type mini-hubert"):
            upstream.encode(waves, lengths)


def test_folders_that_cannot_be_used_are_named(tmp_path):
    folder = tmp_path / "hubert"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(UpstreamError, match=f"is a Hugging Face folder.*type hf:{folder}"):
        resolve(str(folder), 0)
    with pytest.raises(UpstreamError, match=r"no config.json in .*type the folder without hf:"):
        resolve(f"hf:{MINI_TEACHER}", 0)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        resolve(str(tmp_path), 0)


@pytest.mark.slow
def test_s3prls_own_entries(waves, assert_each_alone):
    import s3prl.hub

    long_waves = [wave for wave in waves if len(wave) > 4_000]
    ours, theirs = resolve("fbank", 0), resolve("s3prl:fbank", 0)
    lengths = torch.tensor([len(wave) for wave in long_waves])
    batch = pad_sequence(long_waves, batch_first=True)
    expected, frames = ours(batch, lengths)
    found, their_frames = theirs(batch, lengths)
    assert (theirs.dim, theirs.stride, theirs.parameters) == (ours.dim, ours.stride, 0)
    assert torch.equal(frames, their_frames)
    for row, count in enumerate(frames.tolist()):
        torch.testing.assert_close(found[0][row, :count], expected[0][row, :count], rtol=1e-4, atol=1e-4)
    spectrogram = s3prl.hub.spectrogram()
    assert_each_alone(resolve("s3prl:spectrogram", 0), long_waves, lambda wave: spectrogram([wave[0]])["hidden_states"])
    example = resolve("s3prl:customized_upstream", 5)
    torch.manual_seed(5)
    expert = s3prl.hub.customized_upstream()
    assert_each_alone(example, waves, lambda wave: expert([wave[0]])["hidden_states"])


def lighthubert_file(folder, name):
    """A supernet with random weights in the layout of the released files (model-zoo.md 5.1)."""
    from s3prl.upstream.lighthubert.lighthubert import LightHuBERT, LightHuBERTConfig

    kind = (
        {"_name": "student_hubert"}
        if name == "stage1"
        else {"_name": "hubert_pruner", "pruner_supernet": f"{name}.yaml"}
    )
    torch.manual_seed(0)
    torch.save({"cfg": {"model": kind}, "model": LightHuBERT(LightHuBERTConfig(kind)).state_dict()}, folder / "l.pt")
    return folder / "l.pt"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "width", "parameters"),
    [("small", 384, 26_879_744), ("base", 640, 66_897_664), ("stage1", 768, 94_377_728)],
)
def test_lighthubert_through_s3prl(name, width, parameters, tmp_path, waves, assert_each_alone):
    """The active sub-networks of model-zoo.md 3.1, each utterance of a ragged batch computed alone. Stage 1 is HuBERT
    Base with its mask vector and a layer-norm stem, without the gains of the positional convolution."""
    from s3prl.upstream.lighthubert.hubconf import lighthubert_local

    file = lighthubert_file(tmp_path, name)
    upstream = resolve(f"s3prl:lighthubert_{name}:{file}", 0)
    assert (upstream.dim, upstream.stride, len(upstream.states)) == (width, 320, 13)
    assert upstream.parameters == parameters
    theirs = lighthubert_local(ckpt=str(file)).eval()
    assert_each_alone(upstream, waves, lambda wave: theirs([wave[0]])["hidden_states"])
    with pytest.raises(
        UpstreamError, match="is a LightHuBERT supernet, which s3prl runs: type s3prl:lighthubert_local"
    ):
        resolve(str(tmp_path / "l.pt"), 0)


@pytest.mark.slow
def test_lighthubert_without_a_network_is_one_clear_line(monkeypatch, tmp_path):
    def unreachable(*args, **options):
        raise URLError("no network")

    monkeypatch.setattr("s3prl.upstream.lighthubert.hubconf._urls_to_filepaths", unreachable)
    with pytest.raises(UpstreamError, match=r"cannot build 'lighthubert_small': URLError: .*:CHECKPOINT") as caught:
        resolve("s3prl:lighthubert_small", 0)
    assert len(str(caught.value).splitlines()) == 1
