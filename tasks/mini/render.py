"""Many utterances to audio files, in parallel and the same every time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from tasks.audio import SAMPLE_RATE, write_audio
from tasks.mini.acoustics import Scene, record
from tasks.mini.espeak import Synthesiser, Voice
from tasks.processes import in_fresh_processes

SHARDS = 8  # fixed, whatever the number of workers: it decides which utterances share a process
BLOCK = 800  # samples; a length with a large prime factor makes the FFTs of a scene take five times as long


@dataclass(frozen=True)
class Utterance:
    """One file to make: where, the words, who says them, and where it is recorded; seed draws the noise.

    samples: length of the file where it is fixed; the speech then starts at a random point and what overhangs is cut.
    rate: sample rate of the file. block: samples that its length at 16 kHz is made a multiple of.
    """

    path: Path
    text: str
    voice: Voice
    scene: Scene
    seed: int
    samples: int | None = None
    rate: int = SAMPLE_RATE
    block: int = BLOCK


def render(utterances: Sequence[Utterance], workers: int = 2, done: Callable[[int], None] = lambda count: None) -> None:
    """Synthesise and write every utterance; done(count) is called as each shard ends.

    Each shard runs in a fresh process in a fixed order, because eSpeak NG carries state from one utterance to the
    next: so the files do not depend on the number of workers. Raises WorkerError if a process dies.
    """
    shards = [list(utterances[i::SHARDS]) for i in range(SHARDS)]
    in_fresh_processes(_render_shard, [shard for shard in shards if shard], workers, done)


def _render_shard(utterances: Sequence[Utterance]) -> int:
    synthesiser = Synthesiser()
    for utterance in utterances:
        speech = synthesiser.speak(utterance.text, utterance.voice)
        rng = np.random.default_rng(utterance.seed)
        if utterance.samples is not None:
            speech = _place(speech, utterance.samples, rng)
        speech = np.pad(speech, (0, -len(speech) % utterance.block))
        wave = record(speech, utterance.scene, rng)
        if utterance.rate != SAMPLE_RATE:
            wave = resample_poly(wave, utterance.rate, SAMPLE_RATE)
        write_audio(utterance.path, wave, utterance.rate)
    return len(utterances)


def _place(speech: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(max(samples - len(speech), 0) + 1))
    placed = np.zeros(samples, dtype=speech.dtype)
    placed[start : start + len(speech)] = speech[:samples]
    return placed
