"""How large and how hard the mini suite is: every number that calibrates it stands here."""

from dataclasses import dataclass, replace

import numpy as np

from tasks.mini.espeak import VARIANTS, Voice, draw_voices

SEED = 20_261_123


@dataclass(frozen=True)
class Sizes:
    """Speakers and utterances of each corpus; triples are (train, dev, test).

    keyword_takes, other_takes: clips per speaker of each of the ten keywords and of each of the twenty other words.
    command_test_clips: test clips per class. celebrities: speakers in the (dev, test) archive. videos, celebrity_clips:
    sessions and utterances per speaker. trials: pairs of test utterances to verify. dialogs, turns: dialogs per
    session, turns per dialog. intent_speakers, intent_clips: of Fluent Speech Commands; no part may have more clips
    than training. tagged_sentences: of SNIPS, dealt out to the voices of each part. archive_speakers, documents: voices
    and files searched (a multiple of three, so that every clause is said thrice). query_speakers, queries: voices and
    queries of each of (dev, test). foreign_documents, foreign_queries: entries of another language, the queries for
    each of (dev, test). mixture_speakers, mixtures: voices and two-speaker files.
    """

    read_speakers: tuple[int, int, int] = (16, 4, 4)
    read_sentences: tuple[int, int, int] = (440, 60, 110)
    command_speakers: tuple[int, int, int] = (16, 4, 4)
    keyword_takes: int = 2
    other_takes: int = 1
    discarded_clips: int = 10
    command_test_clips: int = 20
    celebrities: tuple[int, int] = (20, 8)
    videos: tuple[int, int, int] = (3, 1, 1)
    celebrity_clips: tuple[int, int, int] = (10, 3, 5)
    dialogs: int = 4
    turns: int = 18
    intent_speakers: tuple[int, int, int] = (16, 4, 4)
    intent_clips: tuple[int, int, int] = (400, 90, 150)
    tagged_sentences: tuple[int, int, int] = (288, 60, 120)
    trials: int = 600
    archive_speakers: int = 8
    documents: int = 72
    query_speakers: int = 4
    queries: int = 16
    foreign_documents: int = 6
    foreign_queries: int = 3
    mixture_speakers: tuple[int, int, int] = (16, 4, 6)
    mixtures: tuple[int, int, int] = (60, 12, 24)


@dataclass(frozen=True)
class Conditions:
    """How much the recordings of one corpus differ.

    snr_db: range of the signal-to-noise ratio. pitch, pitch_range: largest change from one utterance of a speaker to
    the next, on eSpeak's 0..100 scales; rate: largest relative change of tempo.
    """

    snr_db: tuple[float, float]
    pitch: int
    pitch_range: int
    rate: float

    def vary(self, voice: Voice, rng: np.random.Generator) -> Voice:
        """The same speaker in another utterance: pitch, intonation and tempo drawn evenly within the limits."""
        return replace(
            voice,
            pitch=_scale(voice.pitch + int(rng.integers(-self.pitch, self.pitch + 1))),
            pitch_range=_scale(voice.pitch_range + int(rng.integers(-self.pitch_range, self.pitch_range + 1))),
            rate=round(voice.rate * rng.uniform(1 - self.rate, 1 + self.rate)),
        )


READ_SPEECH = Conditions(snr_db=(15.0, 30.0), pitch=8, pitch_range=15, rate=0.1)
COMMANDS = Conditions(snr_db=(10.0, 30.0), pitch=8, pitch_range=15, rate=0.12)
CELEBRITIES = Conditions(snr_db=(15.0, 30.0), pitch=5, pitch_range=12, rate=0.08)
EMOTIONS = Conditions(snr_db=(15.0, 30.0), pitch=6, pitch_range=8, rate=0.08)
REQUESTS = Conditions(snr_db=(10.0, 30.0), pitch=8, pitch_range=15, rate=0.12)
TTS_VOICES = Conditions(snr_db=(15.0, 30.0), pitch=2, pitch_range=4, rate=0.05)  # synthetic voices hardly vary
ARCHIVE = Conditions(snr_db=(15.0, 30.0), pitch=8, pitch_range=15, rate=0.1)
MIXTURES = Conditions(snr_db=(10.0, 25.0), pitch=8, pitch_range=15, rate=0.1)
MIXTURE_LEVEL_DB = (-30.0, -22.0)  # of each speaker, drawn evenly; the noise is relative to their sum


# Every part of a corpus of words hears these accents equally often; cmudict's phonemes are American.
WORD_ACCENTS = ("en-us", "en-us-nyc", "en-us", "en-gb-x-rp")
UNCLEAR_VARIANTS = frozenset({"caleb", "zac"})  # a third more phoneme errors than the others


def draw_readers(count: int, rng: np.random.Generator) -> list[Voice]:
    """Distinct clear voices for the corpora whose words are to be recognised, 40 at most."""
    clear = [voice for voice in draw_voices(len(VARIANTS), rng) if voice.variant not in UNCLEAR_VARIANTS]
    return [replace(voice, accent=WORD_ACCENTS[i % len(WORD_ACCENTS)]) for i, voice in enumerate(clear[:count])]


@dataclass(frozen=True)
class Emotion:
    """What a speaker's mood does to the voice, on average: shifts of pitch and pitch range (eSpeak's scales),
    factors on tempo and on the formants (a smile shortens the vocal tract), and shifts of loudness (dB) and spectral
    tilt (dB per octave)."""

    pitch: int = 0
    pitch_range: int = 0
    rate: float = 1.0
    tract: float = 1.0
    level_db: float = 0.0
    tilt_db: float = 0.0

    def colour(self, voice: Voice) -> Voice:
        """The voice in this mood."""
        return replace(
            voice,
            pitch=_scale(voice.pitch + self.pitch),
            pitch_range=_scale(voice.pitch_range + self.pitch_range),
            rate=round(voice.rate * self.rate),
            tract=round(voice.tract * self.tract, 3),
        )


EMOTION_STYLES = {
    "neu": Emotion(),
    "hap": Emotion(pitch=18, pitch_range=35, rate=1.1, tract=1.05, level_db=1.0, tilt_db=0.5),
    "exc": Emotion(pitch=24, pitch_range=45, rate=1.18, tract=1.07, level_db=2.0, tilt_db=0.8),
    "ang": Emotion(pitch=2, pitch_range=15, rate=1.25, level_db=6.0, tilt_db=2.5),
    "sad": Emotion(pitch=-18, pitch_range=-30, rate=0.75, tract=0.95, level_db=-6.0, tilt_db=-2.0),
    "fru": Emotion(pitch=2, pitch_range=6, rate=1.05, level_db=2.0, tilt_db=0.6),
    "xxx": Emotion(),
}
EMOTION_LEVEL_DB = -24.0
EMOTION_LEVEL_SPREAD_DB, EMOTION_TILT_SPREAD_DB = 2.0, 0.8  # even spreads, plus or minus


def actor(variant: str, rng: np.random.Generator) -> Voice:
    """A voice near the middle of all scales, so that moods stand out from the differences between actors."""
    return Voice(
        accent="en-us",
        variant=variant,
        pitch=int(rng.integers(42, 54)),
        pitch_range=int(rng.integers(40, 51)),
        rate=int(rng.integers(168, 189)),
        tract=round(float(rng.uniform(0.97, 1.03)), 3),
    )


def _scale(value: int) -> int:
    return min(max(value, 0), 99)
