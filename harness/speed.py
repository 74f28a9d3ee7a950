"""Real-time factor and peak memory of a network on this machine."""

import multiprocessing
import resource
import time
from statistics import median
from typing import Any

from harness.progress import Stages
from students.presets import NETWORKS, Size
from tasks.audio import SAMPLE_RATE

SECONDS = 10.0  # of audio, one utterance at a time
REPEATS = 5


def measured(name: str, size: Size, stages: Stages) -> dict[str, Any]:
    """Seconds of work per second of audio, and megabytes beyond those of an idle process, for one network or upstream.

    One utterance of 10 s in fp32 on the CPU with PyTorch's own number of threads, median of 5 after one to warm up, in
    a process of its own.
    """
    context = multiprocessing.get_context("spawn")
    with stages.stage(f"measure {name}", 1) as advance, context.Pool(1) as pool:
        found = pool.apply(_measure, (name, size))
        advance(1)
    return found


def _measure(name: str, size: Size) -> dict[str, Any]:
    import torch

    from students.encoder import SpeechEncoder
    from students.resolve import resolve

    idle = _peak()
    if name in NETWORKS:
        network = SpeechEncoder(NETWORKS[name]().dims(size)).eval()
    else:
        found = resolve(name, 0).network
        assert found is not None
        network = found
    wave = 0.1 * torch.randn(1, int(SECONDS * SAMPLE_RATE), generator=torch.Generator().manual_seed(0))
    lengths, times = torch.tensor([wave.shape[1]]), []
    with torch.inference_mode():
        for _ in range(REPEATS + 1):
            started = time.perf_counter()
            network(wave, lengths)
            times.append(time.perf_counter() - started)
    factor, megabytes = median(times[1:]) / SECONDS, round((_peak() - idle) / 1e6)
    return {"real_time_factor": round(factor, 4), "peak_MB": megabytes, "threads": torch.get_num_threads()}


def _peak() -> int:
    """The most memory that this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
