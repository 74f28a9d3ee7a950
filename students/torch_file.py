"""Files that torch.save wrote, read without running any code that they hold."""

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from students.upstreams import UpstreamError, one_line


class _Inert:
    """Takes the place of an object that nobody reads; holds its attributes and does nothing."""


# What fairseq's own files hold beside tensors and plain values. Its dictionary of labels is not needed.
_HARMLESS: list[Any] = [argparse.Namespace, (_Inert, "fairseq.data.dictionary.Dictionary")]


def read_torch_file(file: Path) -> dict[str, Any]:
    """The mapping that a file holds, on the CPU.

    Raises UpstreamError if the file cannot be read, holds an object other than tensors and plain values, whose class it
    names with the command that converts the file, or is no mapping.
    """
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever damaged bytes make the unpickler raise
        refused = re.search(r"GLOBAL (\S+) (?:was not|whose module)", str(error))
        if refused:
            raise UpstreamError(
                f"{file} holds a {refused[1]}, which could run code: expected tensors and plain values; type the same "
                f"model as hf:OWNER/NAME or, if you trust the file, {conversion(file)}"
            ) from error
        raise UpstreamError(
            f"cannot read {file}: {one_line(error)}; expected a file written by torch.save: get it again"
        ) from error
    if not isinstance(content, dict):
        raise UpstreamError(f"{file} holds a {type(content).__name__}: expected a state dict or a checkpoint")
    return content


def conversion(file: Path) -> str:
    """The command that makes a file of tensors and plain values of one that holds more, to be given in its place; a
    Hugging Face folder knows it by its name alone."""
    plain = file.with_name(f"{file.stem}-plain{file.suffix}")
    command = shlex.join(["harness", "convert", str(file), "--out", str(plain), "--trust-pickle"])
    return f"{command} && {shlex.join(['mv', str(plain), str(file)])}" if file.name == "pytorch_model.bin" else command


def state_dict(source: str, content: Any) -> dict[str, Tensor]:
    """Weights by name, as they are. Raises UpstreamError for anything but a mapping of names to tensors."""
    entries = content.items() if isinstance(content, dict) else [(type(content).__name__, content)]
    odd = [str(key) for key, value in entries if not (isinstance(key, str) and isinstance(value, Tensor))]
    if odd:
        raise UpstreamError(f"{source} holds {odd[0]!r} where weights are looked for: expected names with tensors")
    return dict(entries)
