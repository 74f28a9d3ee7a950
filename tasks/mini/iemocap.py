"""Acted emotions laid out as IEMOCAP: five sessions of one woman and one man each, moods heard in the prosody."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from tasks.audio import SAMPLE_RATE, num_samples
from tasks.mini.acoustics import Scene, draw_scene
from tasks.mini.calibration import (
    EMOTION_LEVEL_DB,
    EMOTION_LEVEL_SPREAD_DB,
    EMOTION_STYLES,
    EMOTION_TILT_SPREAD_DB,
    EMOTIONS,
    Emotion,
    Sizes,
    actor,
)
from tasks.mini.espeak import Voice
from tasks.mini.grammar import sentence
from tasks.mini.plan import CorpusPlan, draw_seed, write_lines
from tasks.mini.render import Utterance

_DIALOGS = ("F_impro01", "M_impro01", "F_script01_1", "M_script01_1")  # in every session of the official corpus
_MOODS = "neu ang sad hap exc neu ang sad fru neu ang hap exc neu sad ang neu xxx".split()  # dealt out in turn
_WOMEN, _MEN = ("f1", "f2", "f3", "f4", "f5"), ("m1", "m2", "m3", "m4", "m7")  # eSpeak's plain variants, by session
_SHORTEST, _LONGEST = 4, 6  # words


def plan(root: Path, sizes: Sizes, rng: np.random.Generator) -> CorpusPlan:
    """The corpus under root/IEMOCAP_full_release; a sentence's words say nothing about its label."""
    folder = root / "IEMOCAP_full_release"
    voices, utterances, labels = {}, [], []
    for session in range(1, 6):
        actors = {"F": actor(_WOMEN[session - 1], rng), "M": actor(_MEN[session - 1], rng)}
        voices.update({f"Ses{session:02d}{sex}": voice for sex, voice in actors.items()})
        for dialog in _DIALOGS[: sizes.dialogs]:
            name = f"Ses{session:02d}{dialog}"
            moods = [_MOODS[i % len(_MOODS)] for i in range(sizes.turns)]
            for turn, mood in enumerate(rng.permutation(moods)):
                sex = "FM"[turn % 2]
                path = folder / f"Session{session}" / "sentences" / "wav" / name / f"{name}_{sex}{turn // 2:03d}.wav"
                utterances.append(_acted(path, actors[sex], EMOTION_STYLES[mood], rng))
                labels.append(str(mood))
    return CorpusPlan(voices, utterances, partial(_write_evaluations, folder, utterances, labels))


def _acted(path: Path, actor: Voice, emotion: Emotion, rng: np.random.Generator) -> Utterance:
    text = sentence(rng, _SHORTEST, _LONGEST)
    voice = EMOTIONS.vary(emotion.colour(actor), rng)
    return Utterance(path, text, voice, _coloured(draw_scene(rng, EMOTIONS.snr_db), emotion, rng), draw_seed(rng))


def _coloured(scene: Scene, emotion: Emotion, rng: np.random.Generator) -> Scene:
    """The scene with level and tilt around the emotion's own."""
    level = EMOTION_LEVEL_DB + emotion.level_db + EMOTION_LEVEL_SPREAD_DB * rng.uniform(-1, 1)
    tilt = emotion.tilt_db + EMOTION_TILT_SPREAD_DB * rng.uniform(-1, 1)
    return replace(scene, level_db=round(float(level), 1), tilt_db=round(float(tilt), 1))


def _write_evaluations(folder: Path, utterances: list[Utterance], labels: list[str]) -> None:
    """One file per dialog: the label lines as in the official corpus, between lines that readers have to skip."""
    dialogs: dict[Path, list[str]] = {}
    clock: dict[Path, float] = {}
    for utterance, label in zip(utterances, labels, strict=True):
        name, session = utterance.path.parent.name, utterance.path.parents[3].name
        path = folder / session / "dialog" / "EmoEvaluation" / f"{name}.txt"
        lines = dialogs.setdefault(path, ["% [START - END] TURN EMOTION [VALENCE, ACTIVATION, DOMINANCE]", ""])
        start = clock.get(path, 1.0)
        end = start + num_samples(utterance.path) / SAMPLE_RATE
        clock[path] = end + 0.5
        lines.append(f"[{start:.4f} - {end:.4f}]\t{utterance.path.stem}\t{label}\t[2.5000, 2.5000, 2.5000]")
        lines += [f"C-E1:\t{label};\t(synthetic)", ""]
    for path, lines in dialogs.items():
        write_lines(path, lines)
