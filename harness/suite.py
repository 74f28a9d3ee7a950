"""The corpora of a suite, how their probes are trained, and what identifies their data."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from harness.cache import DiskCache
from harness.config import UsageError
from harness.progress import Stages
from students.upstreams import Upstream
from tasks.base import CorpusError, Item, ProbeSettings, Splits, Task, Trial
from tasks.mini.settings import MINI_PROBES
from tasks.mini.suite import ensure_suite, suite_fingerprint

STATES_VERSION = 1  # of how audio becomes hidden states: raised when they change
Folds = dict[str, list[Splits]]  # by task


@dataclass(frozen=True)
class Store:
    """Where hidden states stay on disk: a folder, and its budget in bytes."""

    folder: Path
    budget: int


@dataclass(frozen=True)
class Suite:
    """name: "mini" or "superb"; corpora: their folder; fingerprint: of all files of the mini suite, else None; store:
    for hidden states, None to keep them in memory."""

    name: str
    corpora: Path
    fingerprint: str | None
    store: Store | None

    def probe(self, task: Task) -> ProbeSettings:
        """How the task's probe is trained: as officially, or scaled down for the mini suite."""
        return MINI_PROBES[task.name] if self.name == "mini" else task.official

    def read(self, tasks: Sequence[Task]) -> Folds:
        """The items of every task. Raises CorpusError that tells of all tasks whose corpora cannot be read."""
        folds, problems = {}, []
        for task in tasks:
            try:
                folds[task.name] = task.folds(self.corpora)
            except CorpusError as error:
                problems.append(str(error))
                continue
            empty = {part for fold in folds[task.name] for part, some in fold.items() if not some}
            for part in sorted(empty):
                if not part.startswith("other "):
                    problems.append(
                        f"nothing in {part} of {task.corpus} in {self.corpora}: expected some examples; type harness "
                        f"doctor --corpora {self.corpora}"
                    )
        if problems:
            raise CorpusError("\n".join(dict.fromkeys(problems)))
        return folds

    def data_fingerprint(self, folds: list[Splits]) -> str:
        """What identifies the data of a task: the suite's files, or the names, labels and sizes of its items."""
        if self.fingerprint is not None:
            return self.fingerprint
        items = ((part, item) for fold in folds for part, some in fold.items() for item in some)
        return _digest(f"{part} {item.id} {item.label} {_file(item)}" for part, item in items)

    def cache(self, upstream: Upstream, folds: list[Splits]) -> DiskCache:
        """The folder where the upstream's states for a task's items stay; the suite has a store."""
        assert self.store is not None
        audio = self.fingerprint or _digest(
            sorted({_file(item, dated=True) for fold in folds for s in fold.values() for item in s})
        )
        address = (
            f"{upstream.name} {upstream.fingerprint} {len(upstream.states)} states, audio {audio}, float32, "
            f"version {STATES_VERSION}, torch {version('torch')}"
        )
        return DiskCache(self.store.folder, self.store.budget, address)


def open_suite(name: str, corpora: Path | None, store: Store | None, stages: Stages) -> Suite:
    """The suite of that name; the mini suite is written first if it is not there.

    corpora: the mini suite's folder (None: in the user's cache), or that of the official corpora (None: $SUPERB_ROOT).
    Raises UsageError if the folder of the official corpora is not known, CorpusError if the mini suite cannot be read.
    """
    if name == "mini":
        with stages.counted("mini (synthetic speech)") as done:
            folder = ensure_suite(corpora, done)
        return Suite(name, folder, suite_fingerprint(folder), store)
    root = corpora or (Path(value) if (value := os.environ.get("SUPERB_ROOT")) else None)
    if root is None or not root.is_dir():
        raise UsageError(
            f"no folder of the official corpora ({root or 'none given'}): expected one with LibriSpeech, VoxCeleb1 and "
            f"the others; give it with --corpora or SUPERB_ROOT, and see what it holds with `harness doctor --corpora`"
        )
    return Suite(name, root, None, store)


def default_store() -> Path:
    """Where hidden states go unless another folder is given: star-harness/states in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "star-harness" / "states"


def _file(item: Item, dated: bool = False) -> str:
    """Name and size of the file or files of an item, wherever the corpus lies; dated: and when each was last written,
    for what must not outlive a change that leaves the size."""
    paths = (item.path, item.other) if isinstance(item, Trial) else (item.path,)
    return " ".join(_described(path, dated) for path in paths)


@lru_cache(maxsize=2**20)
def _described(path: Path, dated: bool) -> str:
    size, written = 0, 0
    with suppress(OSError):
        size, written = (facts := path.stat()).st_size, facts.st_mtime_ns
    return f"{'/'.join(path.parts[-4:])} {size}" + (f" {written}" if dated else "")


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\0")
    return digest.hexdigest()
