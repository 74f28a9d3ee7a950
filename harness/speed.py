"""Real-time factor and peak memory of a network on this machine."""

import time
from pathlib import Path
from statistics import median
from typing import Any

from harness.progress import Stages
from students.presets import NETWORKS, Size
from tasks.audio import SAMPLE_RATE
from tasks.processes import in_fresh_processes

SECONDS = 10.0  # of audio, one utterance at a time
REPEATS = 5


def measured(name: str, size: Size, stages: Stages) -> dict[str, Any]:
    """Seconds of work per second of audio, and megabytes for the weights and the work, for one network or upstream.

    One utterance of 10 s in fp32 on the CPU with PyTorch's own number of threads, median of 5 after one to warm up, in
    a process of its own. Raises WorkerError if that dies.
    """
    found: list[dict[str, Any]] = []
    with stages.stage(f"measure {name}", 1) as advance:
        in_fresh_processes(_measure, [(name, size)], 1, found.append)
        advance(1)
    return found[0]


def _measure(which: tuple[str, Size]) -> dict[str, Any]:
    import torch

    from students.encoder import SpeechEncoder
    from students.resolve import resolve

    name, size = which
    network = SpeechEncoder(NETWORKS[name]().dims(size)).eval() if name in NETWORKS else resolve(name, 0).inside()
    held = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten; loading may have taken more
    idle = _resident() - held
    wave = 0.1 * torch.randn(1, int(SECONDS * SAMPLE_RATE), generator=torch.Generator().manual_seed(0))
    lengths, times = torch.tensor([wave.shape[1]]), []
    with torch.inference_mode():
        for _ in range(REPEATS + 1):
            started = time.perf_counter()
            network(wave, lengths)
            times.append(time.perf_counter() - started)
    factor, megabytes = median(times[1:]) / SECONDS, round((_peak() - idle) / 1e6)
    return {"real_time_factor": round(factor, 4), "peak_MB": megabytes, "threads": torch.get_num_threads()}


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(key: str) -> int:
    """A size out of this process's status, in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
