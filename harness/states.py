"""The state of a training in progress, kept in a file so that a stopped run can go on."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch

CHECKSUM = 16  # bytes at the end of the file, over all before them


@dataclass(frozen=True)
class StateFile:
    """Where a state is kept. config: plain values that decide the training; one made with others does not fit.

    tell: gets one line about a state that cannot be used.
    """

    path: Path
    config: dict[str, Any]
    tell: Callable[[str], None]

    def write(self, state: dict[str, Any]) -> None:
        """Keep tensors and plain values, in place of what was kept; the file appears whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                hashing = _Hashing(file)
                hashing.save({"config": self.config, "state": state})
                file.write(hashing.digest.digest())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def read(self) -> dict[str, Any] | None:
        """What was kept; None if there is nothing, or nothing that fits, which is told."""
        try:
            content = _content(self.path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self.tell(f"{self.path} cannot be used ({error}): starting again from the beginning")
            return None
        if content["config"] != self.config:
            self.tell(f"{self.path} was made with other settings: starting again from the beginning")
            return None
        state: dict[str, Any] = content["state"]
        return state


def kept_config(path: Path) -> dict[str, Any] | None:
    """The settings that a state was made with; None if there is no file, or it is damaged."""
    try:
        config: dict[str, Any] = _content(path)["config"]
    except (OSError, ValueError):
        return None
    return config


class _Hashing:
    """A file that is hashed as it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.blake2b(digest_size=CHECKSUM)
        self.error: BaseException | None = None  # a signal may stop a write too

    def write(self, content: bytes) -> int:
        try:
            self.digest.update(content)
            return self.file.write(content)
        except BaseException as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()

    def save(self, content: dict[str, Any]) -> None:
        stream: Any = self
        try:
            torch.save(content, stream)
        except RuntimeError:
            if self.error is None:  # else PyTorch hides why it could not write
                raise
            raise self.error from None


def _content(path: Path) -> dict[str, Any]:
    """Raises ValueError if the file is cut or altered, or was never one of these."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size - CHECKSUM
        digest, left = hashlib.blake2b(digest_size=CHECKSUM), max(size, 0)
        while some := file.read(min(left, 2**20)):
            digest.update(some)
            left -= len(some)
        if file.read() != digest.digest():
            raise ValueError("it is damaged")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError) as error:
        raise ValueError("PyTorch cannot read it") from error
    if not (isinstance(content, dict) and {"config", "state"} <= content.keys()):
        raise ValueError("it holds something else")
    return content
