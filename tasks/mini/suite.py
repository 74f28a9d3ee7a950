"""The mini suite on disk: written once into the user's cache, then read by the readers of the official corpora."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from tasks.audio import SAMPLE_RATE, num_samples
from tasks.base import CorpusError
from tasks.mini import (
    fluent_speech_commands,
    iemocap,
    libri2mix,
    librispeech,
    quesst,
    snips,
    speech_commands,
    voxceleb,
)
from tasks.mini.calibration import SEED, Sizes
from tasks.mini.plan import CorpusPlan
from tasks.mini.render import Utterance, render
from tasks.processes import locked

SUITE_NAME = "mini (synthetic speech)"
SUITE_VERSION = 3
MANIFEST = "mini.json"
# New ones go to the end: a place here decides a corpus's random numbers and what its voices' hidden state has said.
CORPORA = (librispeech, speech_commands, voxceleb, iemocap, fluent_speech_commands, snips, quesst, libri2mix)

Progress = Callable[[int, int], None]


def mini_folder() -> Path:
    """Where the suite is kept: star-harness/mini-v<version> in the user's cache ($XDG_CACHE_HOME or ~/.cache)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "star-harness" / f"mini-v{SUITE_VERSION}"


def ensure_suite(folder: Path | None = None, done: Progress = lambda count, total: None) -> Path:
    """The corpora root of the mini suite, written first if it is not there yet (well under a minute on two cores).

    done(files made, files in all) is called as the work proceeds. Call it under `if __name__ == "__main__"` in a
    script: the speech is made in fresh processes. While another process writes the suite, this one waits. Raises
    CorpusError if the folder holds something else, WorkerError if a process that makes speech dies.
    """
    folder = folder or mini_folder()
    if not suite_exists(folder):
        # Of two runs one writes it; what one that was killed has left behind is of no use.
        with locked(folder.parent / f".{folder.name}.lock", wait=True) as held:
            for left in folder.parent.glob(f"{escape(_draft_prefix(folder))}*") if held else ():
                shutil.rmtree(left, ignore_errors=True)
            if not suite_exists(folder):
                write_suite(folder, Sizes(), done=done)
    version = read_manifest(folder)["version"]
    if version != SUITE_VERSION:
        raise CorpusError(
            f"{folder} holds version {version} of the mini suite; expected version {SUITE_VERSION}. "
            f"Delete that folder or give another one."
        )
    return folder


def suite_exists(folder: Path | None = None) -> bool:
    """Whether the folder (None: mini_folder()) holds anything, so that ensure_suite will not write into it."""
    folder = folder or mini_folder()
    return folder.is_dir() and any(folder.iterdir())


def read_manifest(folder: Path) -> dict[str, Any]:
    """mini.json of a finished suite: version, seed, fingerprint, minutes, voices, and one entry per file.

    Raises CorpusError if the folder holds no finished suite.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or "version" not in manifest:
            raise ValueError("it tells no version")
    except (OSError, ValueError, RecursionError) as error:
        raise CorpusError(
            f"{folder} holds no finished mini suite: {MANIFEST} cannot be read ({error}). "
            f"Delete that folder or give an empty one: the suite is then written again."
        ) from error
    return manifest


def write_suite(
    folder: Path, sizes: Sizes, workers: int | None = None, done: Progress = lambda count, total: None
) -> dict[str, Any]:
    """Write the suite into the folder, which must be absent or empty, all or nothing; returns its manifest.

    workers: processes that make speech (None: one per core); the files do not depend on it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    private = Path(tempfile.mkdtemp(prefix=_draft_prefix(folder), dir=folder.parent))
    draft = private / folder.name  # with the permissions that the user wants, which those of its parent are not
    try:
        draft.mkdir()
        plans = {
            module.__name__.rsplit(".", 1)[-1]: module.plan(draft, sizes, np.random.default_rng([SEED, i]))
            for i, module in enumerate(CORPORA)
        }
        utterances = [utterance for plan in plans.values() for utterance in plan.utterances]
        made = 0

        def report(count: int) -> None:
            nonlocal made
            made += count
            done(made, len(utterances))

        render(utterances, workers or os.cpu_count() or 1, report)
        for plan in plans.values():
            plan.finish()
        manifest = _manifest(draft, plans)
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _publish(draft, folder)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return manifest


def suite_fingerprint(folder: Path) -> str:
    """SHA-256 over the relative names and the bytes of all files but the manifest, in the order of the names."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _draft_prefix(folder: Path) -> str:
    return f".{folder.name}-draft-"


def _publish(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        # Another process may have finished the same suite meanwhile; anything else is the user's.
        if not (folder / MANIFEST).is_file():
            raise


def _manifest(root: Path, plans: dict[str, CorpusPlan]) -> dict[str, Any]:
    entries = {name: [_entry(root, utterance) for utterance in plan.utterances] for name, plan in plans.items()}
    return {
        "name": SUITE_NAME,
        "version": SUITE_VERSION,
        "seed": SEED,
        "fingerprint": suite_fingerprint(root),
        "minutes": {name: round(sum(entry["seconds"] for entry in files) / 60, 2) for name, files in entries.items()},
        "voices": {name: {who: asdict(voice) for who, voice in plan.voices.items()} for name, plan in plans.items()},
        "files": entries,
    }


def _entry(root: Path, utterance: Utterance) -> dict[str, Any]:
    return {
        "file": utterance.path.relative_to(root).as_posix(),
        "text": utterance.text,
        "voice": asdict(utterance.voice),
        "scene": asdict(utterance.scene),
        "seed": utterance.seed,
        "seconds": round(num_samples(utterance.path) / SAMPLE_RATE, 3),
    }
