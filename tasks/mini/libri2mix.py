"""Two speakers at once in noise, laid out as Libri2Mix (16 kHz, max mode, mix_both) with its Kaldi-style folders."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from tasks.audio import SAMPLE_RATE, read_audio, write_audio
from tasks.corpora.libri2mix import FOLDER, PARTS
from tasks.mini.acoustics import coloured_noise, draw_scene
from tasks.mini.calibration import MIXTURE_LEVEL_DB, MIXTURES, Sizes, draw_readers
from tasks.mini.espeak import Voice
from tasks.mini.grammar import sentence
from tasks.mini.plan import CorpusPlan, draw_seed, write_lines
from tasks.mini.render import Utterance

_FIRST_SPEAKERS = (9301, 9401, 9501)  # of each part; the official numbers end below 9000
_AUDIO = dict(zip(PARTS, ("train-100", "dev", "test"), strict=True))
_WORDS = ((5, 8), (8, 12))  # of each of the two sentences that the one and the other speaker says
_LEAD = (0.1, 0.6)  # seconds before a speaker starts, as in read utterances; the synthesiser starts at once
_CLEAN_SNR_DB = 70.0
_FRAME = SAMPLE_RATE // 100
_QUIET_DB = -40.0  # below the loudest frame
_PAUSE = 20  # frames: a longer pause ends a stretch of speech


@dataclass(frozen=True)
class Mixture:
    """One file to mix: its path, the clean utterances of its speakers, the silence before each of them in samples,
    and the noise over them."""

    path: Path
    sources: tuple[Utterance, Utterance]
    speakers: tuple[str, str]
    leads: tuple[int, int]
    noise: str
    snr_db: float
    seed: int


def plan(root: Path, sizes: Sizes, rng: np.random.Generator) -> CorpusPlan:
    """The corpus under root/Libri2Mix; no speaker is in two parts.

    The clean utterances are rendered into the official folders s1 and s2, but not padded as there, and then mixed.
    """
    folder = root / FOLDER
    drawn = iter(draw_readers(sum(sizes.mixture_speakers), rng))
    voices: dict[str, Voice] = {}
    mixtures: dict[str, list[Mixture]] = {}
    counts = zip(sizes.mixture_speakers, sizes.mixtures, strict=True)
    for part, first, (speakers, count) in zip(PARTS, _FIRST_SPEAKERS, counts, strict=True):
        names = [str(first + i) for i in range(speakers)]
        voices.update(zip(names, drawn, strict=False))
        audio = folder / "wav16k" / "max" / _AUDIO[part]
        mixtures[part] = [_mixture(audio, number, names, voices, rng) for number in range(count)]
    utterances = [source for part in mixtures.values() for mixture in part for source in mixture.sources]
    return CorpusPlan(voices, utterances, partial(_finish, folder, mixtures))


def _mixture(audio: Path, number: int, names: list[str], voices: dict[str, Voice], rng: np.random.Generator) -> Mixture:
    """Two speakers drawn from the names, the first or the second of them with the longer sentences."""
    left, right = (names[i] for i in rng.permutation(len(names))[:2])
    recording = f"{left}-{left}1-{number:04d}_{right}-{right}1-{number:04d}"
    sources = []
    for speaker, side, words in zip((left, right), ("s1", "s2"), rng.permutation(_WORDS), strict=True):
        text = f"{sentence(rng, *words)}. {sentence(rng, *words).capitalize()}"  # eSpeak ends a sentence at a capital
        level = round(float(rng.uniform(*MIXTURE_LEVEL_DB)), 1)
        scene = replace(draw_scene(rng), rt60=0.0, snr_db=_CLEAN_SNR_DB, level_db=level)
        voice = MIXTURES.vary(voices[speaker], rng)
        sources.append(Utterance(audio / side / f"{recording}.wav", text, voice, scene, draw_seed(rng)))
    scene = draw_scene(rng, MIXTURES.snr_db)
    leads = (_draw_lead(rng), _draw_lead(rng))
    path = audio / "mix_both" / f"{recording}.wav"
    return Mixture(path, (sources[0], sources[1]), (left, right), leads, scene.noise, scene.snr_db, draw_seed(rng))


def _draw_lead(rng: np.random.Generator) -> int:
    return round(rng.uniform(*_LEAD) * SAMPLE_RATE)


def _finish(folder: Path, mixtures: dict[str, list[Mixture]]) -> None:
    """The mixtures and, of every part, the Kaldi-style lists."""
    for part, found in mixtures.items():
        lists: dict[str, list[str]] = {name: [] for name in ("wav.scp", "reco2dur", "segments", "utt2spk", "rttm")}
        utterances: dict[str, list[str]] = {}
        for mixture in sorted(found, key=lambda mixture: mixture.path):
            recording = mixture.path.stem
            sources = zip(mixture.sources, mixture.leads, strict=True)
            waves = [np.pad(read_audio(source.path), (lead, 0)) for source, lead in sources]
            lists["wav.scp"].append(f"{recording} {mixture.path.relative_to(folder).as_posix()}")
            lists["reco2dur"].append(f"{recording} {max(map(len, waves)) / SAMPLE_RATE:.4f}")
            write_audio(mixture.path, _mixed(mixture, waves))
            for speaker, wave in zip(mixture.speakers, waves, strict=True):
                for start, end in speech_stretches(wave):
                    utterance = f"{recording}_{round(1000 * start):06d}_{round(1000 * end):06d}"
                    lists["segments"].append(f"{utterance} {recording} {start:.2f} {end:.2f}")
                    lists["utt2spk"].append(f"{utterance} {speaker}")
                    times = f"{start:.2f} {end - start:.2f}"
                    lists["rttm"].append(f"SPEAKER {recording} 1 {times} <NA> <NA> {speaker} <NA>")
                    utterances.setdefault(speaker, []).append(utterance)
        lists["spk2utt"] = [f"{speaker} {' '.join(said)}" for speaker, said in sorted(utterances.items())]
        for name, lines in lists.items():
            write_lines(folder / "sd" / part / name, lines)


def speech_stretches(clean: np.ndarray) -> list[tuple[float, float]]:
    """Start and end, in seconds, of the speech in clean audio (num_samples,), cut at pauses of more than 0.2 s.

    Frames of 10 ms are speech if their RMS is within 40 dB of that of the loudest one.
    """
    frames = clean[: len(clean) // _FRAME * _FRAME].reshape(-1, _FRAME).astype(np.float64)
    level = np.sqrt(np.mean(frames**2, axis=1))
    speech = np.flatnonzero(level > level.max() * 10 ** (_QUIET_DB / 20))
    pauses = np.flatnonzero(np.diff(speech) > _PAUSE + 1)
    starts, ends = speech[np.r_[0, pauses + 1]], speech[np.r_[pauses, len(speech) - 1]] + 1
    return [(float(start) / 100, float(end) / 100) for start, end in zip(starts, ends, strict=True)]


def _mixed(mixture: Mixture, waves: list[np.ndarray]) -> np.ndarray:
    """The sum of the waves, both from the start, and of noise over the length of the longer."""
    rng = np.random.default_rng(mixture.seed)
    wave = np.zeros(max(map(len, waves)))
    for source in waves:
        wave[: len(source)] += source
    wave += coloured_noise(len(wave), mixture.noise, rng) * np.sqrt(np.mean(wave**2)) * 10 ** (-mixture.snr_db / 20)
    return (wave * min(1.0, 0.99 / np.abs(wave).max())).astype(np.float32)
