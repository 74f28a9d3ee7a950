"""A tiny upstream and tiny recordings, on which probes train in moments."""

import runpy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from students.upstreams import Upstream
from tasks.audio import write_audio
from tasks.base import Item
from tasks.mini.calibration import Sizes
from tasks.mini.suite import write_suite

FRAME, STRIDE, DIM, STATES = 400, 320, 64, 3


@pytest.fixture(scope="session")
def corpora(tiny_sizes: Sizes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mini suite of a few utterances."""
    small = replace(
        tiny_sizes,
        read_sentences=(8, 3, 3),
        command_speakers=(2, 1, 1),
        discarded_clips=1,
        command_test_clips=1,
        celebrities=(4, 2),
        videos=Sizes().videos,
        celebrity_clips=(3, 1, 1),
        trials=6,
        archive_speakers=2,
        documents=6,
        queries=2,
        mixtures=(2, 2, 2),
    )
    folder = tmp_path_factory.mktemp("suite") / "mini"
    write_suite(folder, small)
    return folder


@pytest.fixture(scope="module")
def short() -> Iterator[None]:
    """Probes and distillation of a few updates, for the module."""
    shorten = runpy.run_path(str(Path(__file__).with_name("short_run.py")))["shorten"]
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch.setattr)
        yield


@pytest.fixture
def projection() -> Upstream:
    """Three states of 64 dimensions, each a fixed random projection of frames of 400 samples every 320."""
    weights = torch.randn(STATES, FRAME, DIM, generator=torch.Generator().manual_seed(1)) / 4

    def compute(waves: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        frames = waves.unfold(1, FRAME, STRIDE)
        return [(frames @ weight).tanh() for weight in weights], (lengths - FRAME) // STRIDE + 1

    names = tuple(f"projection {i + 1}" for i in range(STATES))
    return Upstream("projection", "random", DIM, STRIDE, names, "fixed", compute)


@pytest.fixture
def recording(tmp_path: Path) -> Callable[..., Item]:
    """Writes a noisy tone of so many frames and gives it as an item; label and pitch (Hz) are up to the caller."""

    def write(name: str, label: str, frames: int, pitch: float = 200.0) -> Item:
        rng = np.random.default_rng([ord(letter) for letter in name])
        samples = FRAME + (frames - 1) * STRIDE
        tone = 0.3 * np.sin(2 * np.pi * pitch / 16_000 * np.arange(samples))
        path = tmp_path / f"{name}.wav"
        write_audio(path, (tone + 0.05 * rng.standard_normal(samples)).astype(np.float32))
        return Item(name, path, label)

    return write
