"""Single words laid out as Speech Commands v0.01 and its separate test set, with six files of background noise."""

from functools import partial
from pathlib import Path

import numpy as np

from tasks.audio import SAMPLE_RATE, read_audio, write_audio
from tasks.corpora.speech_commands import (
    BACKGROUND,
    KEYWORDS,
    MAIN,
    OTHER_WORDS,
    SILENCE,
    TEST,
    UNKNOWN,
    official_part,
)
from tasks.mini.acoustics import coloured_noise, draw_scene
from tasks.mini.calibration import COMMANDS, Sizes, draw_readers
from tasks.mini.plan import CorpusPlan, draw_seed
from tasks.mini.render import Utterance

_BACKGROUND_SECONDS = 6
_BABBLE_VOICES = {"babble_near": 4, "babble_far": 12}  # files of speech heard at once


def plan(root: Path, sizes: Sizes, rng: np.random.Generator) -> CorpusPlan:
    """The corpus: training, development and a few discarded speakers in the main archive, others in the test set."""
    train, dev, test = sizes.command_speakers
    keys = [_speaker_key("train", rng) for _ in range(train)] + [_speaker_key("dev", rng) for _ in range(dev)]
    dropped = _speaker_key("discarded", rng)
    testers = [rng.bytes(4).hex() for _ in range(test)]
    names = [*keys, dropped, *testers]
    voices = dict(zip(names, draw_readers(len(names), rng), strict=True))
    takes = dict.fromkeys(KEYWORDS, sizes.keyword_takes) | dict.fromkeys(OTHER_WORDS, sizes.other_takes)
    clips = [(root / MAIN / word, word, key, n) for key in keys for word in takes for n in range(takes[word])]
    clips += [(root / MAIN / word, word, dropped, 0) for word in list(takes)[: sizes.discarded_clips]]
    clips += _test_clips(root / TEST, testers, sizes.command_test_clips)
    utterances = []
    for folder, word, key, n in clips:
        voice, scene = COMMANDS.vary(voices[key], rng), draw_scene(rng, COMMANDS.snr_db)
        samples = SAMPLE_RATE if rng.random() < 0.85 else int(rng.integers(12_000, SAMPLE_RATE))
        path = folder / f"{key}_nohash_{n}.wav"
        utterances.append(Utterance(path, word, voice, scene, draw_seed(rng), samples))
    finish = partial(_write_backgrounds, root, sizes.command_test_clips, utterances, draw_seed(rng))
    return CorpusPlan(voices, utterances, finish)


def _test_clips(folder: Path, speakers: list[str], per_class: int) -> list[tuple[Path, str, str, int]]:
    """(folder, word, speaker, take) of every spoken test clip; the take numbers make the file names differ."""
    clips = []
    for i in range(per_class):
        speaker, take = speakers[i % len(speakers)], i // len(speakers)
        clips += [(folder / word, word, speaker, take) for word in KEYWORDS]
        clips.append((folder / UNKNOWN, OTHER_WORDS[i % len(OTHER_WORDS)], speaker, take))
    return clips


def _speaker_key(part: str, rng: np.random.Generator) -> str:
    """Eight hex digits whose clips belong to the given part under the official split rule."""
    while True:
        key = rng.bytes(4).hex()
        if official_part(key) == part:
            return key


def _write_backgrounds(root: Path, test_clips: int, utterances: list[Utterance], seed: int) -> None:
    """Six files of noise, and the silence class of the test set from other noise of the same kinds."""
    rng = np.random.default_rng(seed)
    clips = [utterance.path for utterance in utterances]
    main = sorted(path for path in clips if path.is_relative_to(root / MAIN))
    test = sorted(path for path in clips if path.is_relative_to(root / TEST))
    kinds = ("white_noise", "pink_noise", "brown_noise", "pulsed_noise", *_BABBLE_VOICES)
    for kind in kinds:
        noise = _noise(kind, _BACKGROUND_SECONDS * SAMPLE_RATE, main, rng)
        write_audio(root / MAIN / BACKGROUND / f"{kind}.wav", noise)
    for i in range(test_clips):
        noise = _noise(kinds[i % len(kinds)], SAMPLE_RATE, test, rng)
        write_audio(root / TEST / SILENCE / f"{i:04d}.wav", noise)


def _noise(kind: str, samples: int, clips: list[Path], rng: np.random.Generator) -> np.ndarray:
    """Noise of one kind at a random level; babble is many clips played backwards, so that it holds no words."""
    if kind in _BABBLE_VOICES:
        wave = 0.05 * coloured_noise(samples, "pink", rng)
        for _ in range(_BABBLE_VOICES[kind] * samples // SAMPLE_RATE):
            # In float32 the mean, and with it the files, would depend on the version of NumPy.
            clip = read_audio(clips[int(rng.integers(len(clips)))])[::-1].astype(np.float64)
            start = int(rng.integers(samples))
            at = (start + np.arange(len(clip))) % samples
            wave[at] += clip / np.sqrt(np.mean(clip**2))
    elif kind == "pulsed_noise":
        beat = rng.uniform(2.0, 8.0) * np.arange(samples) / SAMPLE_RATE
        wave = coloured_noise(samples, "pink", rng) * (1.2 + np.sin(2 * np.pi * beat))
    else:
        wave = coloured_noise(samples, kind.removesuffix("_noise"), rng)
    wave *= 10 ** (rng.uniform(-45.0, -22.0) / 20) / np.sqrt(np.mean(wave**2))
    return (wave * min(1.0, 0.99 / np.abs(wave).max())).astype(np.float32)
