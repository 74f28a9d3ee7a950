"""Checkpoints of this harness for other people's tools: Hugging Face, s3prl and ONNX."""

import json
from html import escape
from pathlib import Path
from typing import Any

from students.checkpoints import CheckpointInfo, load_checkpoint
from students.export_folder import MARKER, new_folder
from students.export_hf import write_huggingface
from students.export_onnx import shortest_length, write_onnx
from students.export_s3prl import write_s3prl
from students.upstreams import MINI_TEACHER, Upstream, from_network

_SYNTHETIC = """
**Synthetic speech only.** This network has only ever heard speech from a synthesiser. It serves tests and
demonstrations; nothing measured with it says anything about real speech.
"""


def export(checkpoint: str, form: str, out: Path) -> None:
    """Write a checkpoint's network into the folder `out`, with a card that says what it is and how to load it.

    checkpoint: a folder of this harness, or mini-hubert. form: one of EXPORT_FORMATS. Raises CheckpointError for a
    checkpoint that cannot be used and ExportError for a network, a format or a folder that do not go together.
    """
    path = MINI_TEACHER if checkpoint == MINI_TEACHER.name else Path(checkpoint)
    with new_folder(out) as folder:
        network, info = load_checkpoint(path)
        upstream = from_network(info.name, "upstream", network, info.exposes)
        if form == "hf":
            usage = write_huggingface(folder, network, info)
        elif form == "s3prl":
            usage = write_s3prl(folder, path, info)
        else:
            usage = write_onnx(folder, network, info, upstream.states)
        facts = {"format": form, "name": info.name, "sha256": info.sha256, "history": info.history}
        (folder / MARKER).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(_card(upstream, info, usage), encoding="utf-8")


def _card(upstream: Upstream, info: CheckpointInfo, usage: str) -> str:
    assert upstream.network is not None
    dims = info.dims
    rows: dict[str, Any] = {
        "Parameters": f"{upstream.parameters:,}",
        "Layers": dims.layers,
        "Width, heads, FFN": f"{dims.width}, {dims.heads}, {dims.ffn}",
        "Features": f"{len(upstream.states)} of {upstream.dim} dimensions every {upstream.stride} samples",
        "The first, the last": f"{upstream.states[0]}, {upstream.states[-1]}",
        "Input": f"16 kHz mono, not normalised, at least {shortest_length(upstream.network)} samples",
        "Checkpoint": f"SHA-256 {info.sha256}",
    }
    plain = {key: value for key, value in info.history.items() if isinstance(value, str | int | float)}
    training = info.history.get("distillation") or {}
    plain |= {key: training[key] for key in ("objective", "steps", "learning_rate", "batch_seconds") if key in training}
    versions = info.history.get("versions") or {}
    rows |= {key.replace("_", " ").capitalize(): value for key, value in plain.items()}
    rows |= {"Versions": ", ".join(f"{name} {version}" for name, version in versions.items())} if versions else {}
    table = "\n".join(f"| {escape(str(key))} | {escape(str(value))} |" for key, value in rows.items())
    synthetic = info.name == MINI_TEACHER.name or info.history.get("suite") == "mini"
    return f"""# {escape(info.name)}

A speech encoder, exported from a checkpoint of the STaR harness. `{MARKER}` holds its whole history.
{_SYNTHETIC if synthetic else ""}
| | |
|---|---|
{table}

## Load

FOLDER stands for the place of this folder.

{usage}"""
