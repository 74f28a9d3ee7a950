"""Checkpoints that describe themselves: one safetensors file with its sizes, its history and its own hash."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from students.dims import Dims, dims_from
from students.encoder import SpeechEncoder
from students.presets import Exposes

FILE_NAME = "model.safetensors"
_FORMAT = "star-harness-2"
_KEYS = ("name", "dims", "exposes", "sha256", "history")


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

    Raises CheckpointError if the file is absent, damaged, of another format or architecture, does not match its own
    hash, or holds weights that are not finite.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"no checkpoint at {path}: expected a folder that holds {FILE_NAME}")
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"cannot read checkpoint {file}: {error}; expected a file that this harness wrote: get it again"
        ) from error
    if metadata.get("format") != _FORMAT:
        raise CheckpointError(
            f"checkpoint {file} has format {metadata.get('format', 'none')}, expected {_FORMAT} (written by this "
            "harness); for a model of Hugging Face type hf:FOLDER"
        )
    info = _described(file, metadata)
    if _digest(tensors, metadata["dims"]) != info.sha256:
        raise CheckpointError(f"checkpoint {file} does not match its own hash: the file is damaged, get it again")
    wrong = [key for key, value in tensors.items() if not value.isfinite().all()]
    if wrong:
        raise CheckpointError(f"checkpoint {file} holds values that are not finite in {wrong[0]}: train it again")
    try:
        with torch.device("meta"):
            network = SpeechEncoder(info.dims)
        network.load_state_dict({key: value.float() for key, value in tensors.items()}, assign=True)
    except (TypeError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"checkpoint {file} holds the weights of another architecture than it says: {text}; get it again"
        ) from error
    return network.eval(), info


def _described(file: Path, metadata: dict[str, str]) -> CheckpointInfo:
    """What a checkpoint says of itself. Raises CheckpointError with everything that is missing or wrong."""
    problems = [f"no {key}" for key in _KEYS if key not in metadata]
    values: dict[str, Any] = {}
    for key in ("dims", "history"):
        try:
            values[key] = json.loads(metadata.get(key, "{}"))
        except (ValueError, RecursionError):
            values[key] = None
        if not isinstance(values[key], dict):
            problems.append(f"{key} is no JSON object")
    if metadata.get("exposes", "states") not in get_args(Exposes):
        problems.append(f"exposes is {metadata['exposes']!r}, expected {' or '.join(map(repr, get_args(Exposes)))}")
    if not problems:
        try:
            dims = dims_from(values["dims"])
            exposes = cast(Exposes, metadata["exposes"])
            return CheckpointInfo(metadata["name"], dims, exposes, metadata["sha256"], values["history"])
        except (TypeError, ValueError) as error:
            problems.append(f"dims make no network: {error}")
    raise CheckpointError(
        f"cannot use checkpoint {file}: {'; '.join(problems)}; expected what this version of the harness writes: get "
        "it again, or the version of the harness that wrote it"
    )


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
