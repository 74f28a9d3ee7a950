"""Where hidden states stay between uses, within a budget; what finds no room is computed again."""

import hashlib
import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

GIB = 2**30
CHECKSUM = 16  # bytes
ADDRESS = "address.txt"
KILLED_AFTER = 3600  # seconds: who has not finished a file by then never will


class StateCache(Protocol):
    """Tensors by name, budget bytes at most. What is put may be gone, or never have been kept, when it is asked for."""

    budget: int

    def get(self, name: str) -> Tensor | None:
        """The tensor of that name, or None."""

    def put(self, name: str, states: Tensor) -> None:
        """Keep the tensor if there is room."""

    def keep(self, names: Collection[str]) -> None:
        """Only these names will be asked for in the near future."""


class MemoryCache:
    """States in memory, `budget` bytes at most."""

    def __init__(self, budget: int = 3 * GIB // 2) -> None:
        self.budget = budget
        self.used = 0
        self._states: dict[str, Tensor] = {}

    def get(self, name: str) -> Tensor | None:
        """The tensor of that name, or None."""
        return self._states.get(name)

    def put(self, name: str, states: Tensor) -> None:
        """Keep the tensor if there is room."""
        size = states.numel() * states.element_size()
        if name not in self._states and self.used + size <= self.budget:
            self._states[name] = states
            self.used += size

    def keep(self, names: Collection[str]) -> None:
        """Drop everything else."""
        wanted = set(names)
        for name in [name for name in self._states if name not in wanted]:
            states = self._states.pop(name)
            self.used -= states.numel() * states.element_size()


class DiskCache:
    """States on disk, one checked file each, `budget` bytes at most.

    address: what decides the states beside the utterance (upstream weights, corpus, audio chain, dtype); it names the
    folder. When the budget is spent, folders of other addresses go, those unused for the longest time first. A file
    that is cut or altered fails its checksum, is removed and counts as absent.
    """

    def __init__(self, root: Path, budget: int, address: str) -> None:
        self.root, self.budget = root, budget
        self.folder = root / hashlib.sha256(address.encode()).hexdigest()[:32]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ADDRESS).write_text(address + "\n", encoding="utf-8")
        os.utime(self.folder)
        for left in self.folder.glob("*.tmp"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > KILLED_AFTER:
                    left.unlink()
        self.used = sum(map(_size, _ours(root)))

    def get(self, name: str) -> Tensor | None:
        """The tensor of that name, or None."""
        path = self._path(name)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        checksum, array = content[:CHECKSUM], content[CHECKSUM:]
        if checksum != _checksum(array):
            path.unlink(missing_ok=True)
            self.used -= len(content)
            return None
        return torch.from_numpy(np.load(BytesIO(array), allow_pickle=False))

    def put(self, name: str, states: Tensor) -> None:
        """Keep the tensor if there is room; a full disk only means that it is not kept."""
        path = self._path(name)
        # A header of NumPy's has 128 bytes or a few more.
        size = states.numel() * states.element_size() + 256
        if path.exists() or not self._make_room(size):
            return
        buffer = BytesIO()
        np.save(buffer, states.numpy())
        array = buffer.getvalue()
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            partial.write_bytes(_checksum(array) + array)
            partial.replace(path)
            self.used += CHECKSUM + len(array)
        except OSError:
            with suppress(OSError):
                partial.unlink()

    def keep(self, names: Collection[str]) -> None:
        """Nothing to do: what is on disk may serve the next run."""

    def _path(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.states"

    def _make_room(self, size: int) -> bool:
        if size > self.budget:
            return False
        if self.used + size > self.budget:
            for other in sorted(set(_ours(self.root)) - {self.folder}, key=_last_use):
                freed = _size(other)
                shutil.rmtree(other, ignore_errors=True)
                self.used -= freed
                if self.used + size <= self.budget:
                    break
        return self.used + size <= self.budget


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=CHECKSUM).digest()


def _ours(root: Path) -> list[Path]:
    """The folders of states under root; whatever else the user keeps there is never counted nor removed."""
    return [path for path in _listed(root) if (path / ADDRESS).is_file()]


# Another process may write or remove any of these files meanwhile.


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _size(folder: Path) -> int:
    total = 0
    for path in _listed(folder):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
