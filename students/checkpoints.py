"""Checkpoints that describe themselves: one safetensors file with its sizes, its history and its own hash."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from students.dims import Dims, dims_from
from students.encoder import SpeechEncoder
from students.presets import Exposes

FILE_NAME = "model.safetensors"
_FORMAT = "star-harness-2"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file, what is wrong and what was expected."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself. name: the network's; history: how the weights came about."""

    name: str
    dims: Dims
    exposes: Exposes
    sha256: str
    history: dict[str, Any]


def save_checkpoint(
    folder: Path,
    network: SpeechEncoder,
    name: str,
    exposes: Exposes,
    history: dict[str, Any],
    dtype: torch.dtype = torch.float32,
) -> CheckpointInfo:
    """Write the network to folder/model.safetensors, atomically, and return what it says of itself."""
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in network.state_dict().items()}
    dims = json.dumps(asdict(network.dims))
    digest = _digest(tensors, dims)
    metadata = {
        "format": _FORMAT,
        "name": name,
        "dims": dims,
        "exposes": exposes,
        "sha256": digest,
        "history": json.dumps(history),
    }
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{FILE_NAME}.partial"
    partial.write_bytes(save(tensors, metadata))  # save_file would keep it from the user's group
    partial.replace(folder / FILE_NAME)
    return CheckpointInfo(name, network.dims, exposes, digest, history)


def load_checkpoint(path: Path) -> tuple[SpeechEncoder, CheckpointInfo]:
    """The network, in eval mode and fp32, and what its file says of it; `path` is the folder or the file itself.

    Raises CheckpointError if the file is absent, damaged, of another format, or does not match its own hash.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"no checkpoint at {path}: expected a folder that holds {FILE_NAME}")
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot read checkpoint {file}: {error}") from error
    if metadata.get("format") != _FORMAT:
        found = metadata.get("format", "none")
        raise CheckpointError(f"checkpoint {file} has format {found}, expected {_FORMAT} (written by this harness)")
    if _digest(tensors, metadata["dims"]) != metadata["sha256"]:
        raise CheckpointError(f"checkpoint {file} does not match its own hash: the file is damaged, get it again")
    dims = dims_from(json.loads(metadata["dims"]))
    network = SpeechEncoder(dims)
    network.load_state_dict({key: value.float() for key, value in tensors.items()})
    history, exposes = json.loads(metadata["history"]), cast(Exposes, metadata["exposes"])
    return network.eval(), CheckpointInfo(metadata["name"], dims, exposes, metadata["sha256"], history)


def _digest(tensors: dict[str, Tensor], description: str) -> str:
    digest = hashlib.sha256(description.encode())
    for key in sorted(tensors):
        digest.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}".encode())
        digest.update(tensors[key].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def weights_hash(network: SpeechEncoder) -> str:
    """The hash that a checkpoint of this network in fp32 would carry."""
    return module_hash(network, json.dumps(asdict(network.dims)))


def module_hash(module: nn.Module, description: str) -> str:
    """SHA-256 over a module's state dict; description: what else decides its output."""
    tensors = {key: value.detach().cpu() for key, value in module.state_dict().items()}
    return _digest(tensors, description)
