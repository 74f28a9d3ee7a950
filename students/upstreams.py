"""Upstreams: anything that turns waveforms into hidden states, frozen, behind one small contract."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from students.checkpoints import load_checkpoint, module_hash, weights_hash
from students.dims import Dims
from students.encoded import Encoded
from students.encoder import SpeechEncoder
from students.exposed import shown, shown_stride
from students.presets import STUDENTS, Exposes, Size

MINI_TEACHER = Path(__file__).parent / "assets" / "mini-hubert"
PROJECTED = "output of the feature projection"
INPUT_OF_LAYERS = "input of layer 1"
States = tuple[list[Tensor], Tensor]


class UpstreamError(ValueError):
    """An upstream that cannot be had; the message says what failed, what was expected and what to type next."""


def one_line(error: Exception) -> str:
    """An error's text on one line, cut where it gets long."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]} ..."


@dataclass(frozen=True)
class Upstream:
    """A frozen front end.

    Call with waveforms (batch, samples) at 16 kHz, zero-padded, and lengths (batch,) in samples; returns the states,
    a list of (batch, frames, dim), and their lengths (batch,) in frames. No gradient flows. kind is "fbank",
    "teacher", "random", "student" or "upstream" (any other model); states names what each entry of the list is;
    fingerprint identifies the weights; parameters is their number, 0 for a front end that has none; network is None
    for all that is not built of our own blocks. normalisation: what is added to the variance of an utterance before it
    is brought to zero mean and unit variance for the network, None where the network takes it as it is. teacher,
    objective: what a student was distilled from and with, as far as its checkpoint tells.
    """

    name: str
    kind: str
    dim: int
    stride: int
    states: tuple[str, ...]
    fingerprint: str
    compute: Callable[[Tensor, Tensor], States]
    parameters: int = 0
    network: SpeechEncoder | None = None
    normalisation: float | None = None
    teacher: str | None = None
    objective: str | None = None

    def __call__(self, waves: Tensor, lengths: Tensor) -> States:
        with torch.no_grad():
            return self.compute(waves, lengths)

    def encode(self, waves: Tensor, lengths: Tensor, with_maps: bool = False, masked: Tensor | None = None) -> Encoded:
        """All that the network says of a batch, without gradients; see students.encoder.SpeechEncoder.

        Waveforms are normalised as the network expects them. Raises UpstreamError as `inside` does.
        """
        network = self.inside()
        with torch.no_grad():
            waves = normalised(waves, lengths, self.normalisation)
            encoded: Encoded = network(waves, lengths, with_maps, masked)
        return encoded

    def inside(self) -> SpeechEncoder:
        """The network. Raises UpstreamError for an upstream that is not built of our own blocks."""
        if self.network is None:
            raise UpstreamError(
                f"{self.name} shows its hidden states alone: expected a teacher whose network is known; type "
                "mini-hubert, hubert_base, hf:FOLDER, torchaudio:BUNDLE or a file"
            )
        return self.network

    @property
    def dims(self) -> Dims | None:
        """The network's sizes, None for a front end without a network."""
        return None if self.network is None else self.network.dims


def from_network(
    name: str, kind: str, network: SpeechEncoder, exposes: Exposes, normalisation: float | None = None
) -> Upstream:
    """An encoder as an upstream, put into eval mode; exposes: which of its insides; normalisation: see Upstream."""
    network.eval().requires_grad_(False)
    dims = network.dims

    def compute(waves: Tensor, lengths: Tensor) -> States:
        return shown(network(normalised(waves, lengths, normalisation), lengths), dims, exposes)

    width = dims.prediction_width if "prediction" in exposes else dims.width
    stride, names, parameters = shown_stride(dims, exposes), _shown_names(dims, exposes), parameter_count(network)
    fingerprint = weights_hash(network)
    if normalisation is not None:
        fingerprint = module_hash(network, json.dumps([asdict(dims), normalisation]))
    return Upstream(name, kind, width, stride, names, fingerprint, compute, parameters, network, normalisation)


def normalised(waves: Tensor, lengths: Tensor, normalisation: float | None) -> Tensor:
    """Waveforms (batch, samples) with each row's valid samples at zero mean and unit variance, or as they are; see
    Upstream."""
    if normalisation is None:
        return waves
    brought = torch.zeros_like(waves)
    for row, size in enumerate(lengths.tolist()):
        wave = waves[row, :size]
        brought[row, :size] = F.layer_norm(wave, wave.shape, eps=normalisation)
    return brought


def _shown_names(dims: Dims, exposes: Exposes) -> tuple[str, ...]:
    states = _state_names(dims)
    heads = tuple(f"prediction of layer {layer}" for layer in dims.predicted)
    names: dict[Exposes, tuple[str, ...]] = {
        "states": states,
        "layers": states[1:],
        "projected and layers": (PROJECTED, *states[1:]),
        "predictions": heads,
        "last prediction": heads[-1:],
    }
    return names[exposes]


def _state_names(dims: Dims) -> tuple[str, ...]:
    """What the states of an encoder are (superb-protocol 1.1)."""
    *rest, last = (f"output of layer {i + 1}" for i in range(dims.layers))
    return (INPUT_OF_LAYERS, *rest, f"{last}, after the final LayerNorm" if dims.pre_norm else last)


def parameter_count(module: nn.Module) -> int:
    """Number of trainable and frozen values of a module, buffers left out."""
    return sum(parameter.numel() for parameter in module.parameters())


def from_checkpoint(path: Path, name: str | None = None) -> Upstream:
    """A checkpoint of this harness as an upstream: a student, or the teacher that `harness pretrain` writes.

    name: in place of the network's. Raises CheckpointError if it cannot be used.
    """
    network, info = load_checkpoint(path)
    upstream = from_network(name or info.name, "student" if info.name in STUDENTS else "teacher", network, info.exposes)
    distillation = info.history.get("distillation")
    objective = distillation.get("objective") if isinstance(distillation, dict) else None
    return replace(upstream, teacher=info.history.get("teacher"), objective=objective)


def mini_teacher() -> Upstream:
    """mini-hubert, the small HuBERT that ships with the project."""
    return from_checkpoint(MINI_TEACHER)


def untrained(student: str, size: Size, seed: int) -> Upstream:
    """The control `random:NAME`: a student's network with random weights."""
    preset = STUDENTS[student]()
    torch.manual_seed(seed)
    return from_network(f"random:{student}", "random", SpeechEncoder(preset.dims(size)), preset.exposes)


def fbank() -> Upstream:
    """s3prl's baseline front end: 80 log mel energies every 10 ms (Kaldi's), first and second differences over 5
    frames, each dimension normalised to zero mean and unit variance over the utterance: 240 dimensions."""

    def compute(waves: Tensor, lengths: Tensor) -> States:
        features = [_fbank(wave[:size]) for wave, size in zip(waves, lengths.tolist(), strict=True)]
        frames = torch.tensor([len(feature) for feature in features])
        return [pad_sequence(features, batch_first=True)], frames

    return Upstream("fbank", "fbank", 240, 160, ("log mel filterbank",), "kaldi-80-delta2-cmvn", compute)


def _fbank(wave: Tensor) -> Tensor:
    from torchaudio.compliance import kaldi
    from torchaudio.functional import compute_deltas

    static = kaldi.fbank(wave[None], num_mel_bins=80, frame_length=25.0, frame_shift=10.0)
    first = compute_deltas(static.T).T
    full = torch.cat([static, first, compute_deltas(first.T).T], dim=1)
    spread = full.std(0) if len(full) > 1 else torch.zeros_like(full[0])
    return (full - full.mean(0)) / (spread + 1e-10)
