"""Short utterances by the same speakers in several sessions, laid out as VoxCeleb1 with both of its lists."""

from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np

from tasks.corpora.voxceleb import LIST
from tasks.corpora.voxceleb_verification import LIST as TRIAL_LIST
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
    test = folder / "test" / "wav"
    names_of_test = [u.path.relative_to(test).as_posix() for u in utterances if u.path.is_relative_to(test)]
    trials = _trials(names_of_test, sizes.trials, rng)
    return CorpusPlan(voices, utterances, partial(_write_lists, folder, lines, trials))


def _trials(utterances: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Lines of the trial list, half of them (or all there are) with the same speaker in both files."""
    pairs: dict[str, list[tuple[str, str]]] = {"1": [], "0": []}
    for left, right in combinations(utterances, 2):
        pairs["1" if left.split("/")[0] == right.split("/")[0] else "0"].append((left, right))
    half = min(count // 2, *map(len, pairs.values()))
    chosen = [(label, found[i]) for label, found in pairs.items() for i in rng.permutation(len(found))[:half]]
    return [f"{label} {left} {right}" for label, (left, right) in chosen]


def _write_lists(folder: Path, identification: list[str], trials: list[str]) -> None:
    write_lines(folder / LIST, identification)
    write_lines(folder / TRIAL_LIST, trials)


def _videos(sizes: Sizes) -> list[tuple[int, range, int]]:
    """(video number, utterance numbers, part 1 to 3) of one speaker."""
    videos: list[tuple[int, range, int]] = []
    for part, (count, clips) in enumerate(zip(sizes.videos, sizes.celebrity_clips, strict=True), start=1):
        for i in range(count):
            share = clips // count + (i < clips % count)
            videos.append((len(videos) + 1, range(1, share + 1), part))
    return videos
