"""Short utterances by the same speakers in several sessions, laid out as VoxCeleb1 with its identification list."""

from functools import partial
from pathlib import Path

import numpy as np

from tasks.corpora.voxceleb import LIST
from tasks.mini.acoustics import draw_scene
from tasks.mini.calibration import CELEBRITIES, Sizes
from tasks.mini.espeak import draw_voices
from tasks.mini.grammar import sentence
from tasks.mini.plan import CorpusPlan, draw_seed, write_lines
from tasks.mini.render import Utterance

ARCHIVES = {"dev": 10001, "test": 10270}  # first speaker number of each archive, as in the official one
_SHORTEST, _LONGEST = 4, 7  # words


def plan(root: Path, sizes: Sizes, rng: np.random.Generator) -> CorpusPlan:
    """The corpus under root/VoxCeleb1: every video has its own recording conditions and belongs to one part only."""
    folder = root / "VoxCeleb1"
    names = {
        f"id{first + i}": archive
        for (archive, first), count in zip(ARCHIVES.items(), sizes.celebrities, strict=True)
        for i in range(count)
    }
    voices = dict(zip(names, draw_voices(len(names), rng), strict=True))
    utterances, lines = [], []
    for speaker, archive in names.items():
        for video, numbers, part in _videos(sizes):
            scene = draw_scene(rng, CELEBRITIES.snr_db)
            for number in numbers:
                relative = f"{speaker}/{speaker[2:]}-{video:05d}/{number:05d}.wav"
                lines.append(f"{part} {relative}")
                text = sentence(rng, _SHORTEST, _LONGEST)
                voice = CELEBRITIES.vary(voices[speaker], rng)
                path = folder / archive / "wav" / relative
                utterances.append(Utterance(path, text, voice, scene, draw_seed(rng)))
    return CorpusPlan(voices, utterances, partial(write_lines, folder / LIST, lines))


def _videos(sizes: Sizes) -> list[tuple[int, range, int]]:
    """(video number, utterance numbers, part 1 to 3) of one speaker."""
    videos: list[tuple[int, range, int]] = []
    for part, (count, clips) in enumerate(zip(sizes.videos, sizes.celebrity_clips, strict=True), start=1):
        for i in range(count):
            share = clips // count + (i < clips % count)
            videos.append((len(videos) + 1, range(1, share + 1), part))
    return videos
