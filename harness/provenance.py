"""Where a number comes from: commit, versions, machine and hashes."""

import hashlib
import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchaudio", "accelerate", "lhotse", "numpy", "scikit-learn", "jiwer", "espeakng-loader")


def commit() -> tuple[str | None, bool | None]:
    """Commit of this package's own checkout and whether it has uncommitted changes; (None, None) if installed
    from a wheel."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None, None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that decide scores."""
    own = {"python": platform.python_version(), "star-harness": version("star-harness")}
    return own | {name: version(name) for name in PACKAGES}


def device_name(device: str) -> str:
    """The device in words, with the number of threads of a CPU."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def config_hash(config: dict[str, Any]) -> str:
    """A short hash of a resolved configuration, the same for equal settings."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:16]
