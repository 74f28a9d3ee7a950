"""Text to 16 kHz speech with eSpeak NG, whose library and voices come in the espeakng-loader package."""

import ctypes
from dataclasses import dataclass

import numpy as np
from scipy.signal import resample_poly

SAMPLE_RATE = 16_000
_ESPEAK_RATE = 22_050
_SYNCHRONOUS, _DONT_EXIT, _CHARS_UTF8, _POSITION_CHARACTER = 2, 0x8000, 1, 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4

ACCENTS = (
    "en-us",
    "en",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
# Variants whose speech is intelligible and not robotic; whispers and croaks are left out.
VARIANTS = (
    "adam Andy f1 f2 m3 steph Reed Mike f3 f5 m1 m7 Alex Annie aunty belinda linda grandma ed iven2 max Nguyen "
    "zac quincy Gene Lee Michael Storm caleb edward rob shelby travis Alicia anika steph2 f4 m2 m4 m5 m6 m8"
).split()
FEMALE_VARIANTS = frozenset("f1 f2 f3 f4 f5 steph steph2 Annie aunty belinda linda grandma Alicia anika".split())


@dataclass(frozen=True)
class Voice:
    """One speaker: accent, timbre and speaking style.

    pitch, pitch_range: eSpeak's 0..100 scales. rate: words per minute. tract: factor on all formants
    (and on pitch and tempo), 1.0 for eSpeak's own; above 1 a shorter vocal tract.
    """

    accent: str
    variant: str
    pitch: int
    pitch_range: int
    rate: int
    tract: float


class Synthesiser:
    """eSpeak NG in this process.

    The library keeps hidden state from one utterance to the next (vibrato phase, for one), so the same text can
    come out slightly different later. Reproducible audio therefore needs a fresh process and a fixed order.
    """

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DONT_EXIT)
        if rate != _ESPEAK_RATE:
            raise RuntimeError(f"eSpeak NG started with sample rate {rate}, expected {_ESPEAK_RATE}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # breath noise is seeded with the time otherwise
        self._chunks: list[np.ndarray] = []
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = prototype(self._receive)  # kept alive: the library holds only a pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, wave: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if wave and count > 0:
            self._chunks.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
        return 0

    def speak(self, text: str, voice: Voice) -> np.ndarray:
        """Speech for one sentence: float32 samples at 16 kHz in [-1, 1], silence at both ends cut to 50 ms.

        Raises ValueError if eSpeak NG lacks the voice, RuntimeError if it makes no sound.
        """
        name = f"{voice.accent}+{voice.variant}"
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {name!r}")
        settings = ((_RATE, voice.rate), (_VOLUME, 70), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range))
        for parameter, value in settings:
            self._library.espeak_SetParameter(parameter, int(value), 0)
        self._chunks.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._chunks:
            raise RuntimeError(f"eSpeak NG made no sound for {text!r} with voice {name!r}")
        wave = np.concatenate(self._chunks).astype(np.float32) / 32768
        # 320/441 takes 22.05 kHz to 16 kHz; another denominator also scales the spectrum.
        wave = resample_poly(wave, 320, round(441 * voice.tract)).astype(np.float32)
        return _trim(wave)


def _trim(wave: np.ndarray, threshold: float = 1e-3, margin: int = 800) -> np.ndarray:
    loud = np.flatnonzero(np.abs(wave) > threshold)
    if not len(loud):
        return wave
    return wave[max(loud[0] - margin, 0) : loud[-1] + margin]


def draw_voices(count: int, rng: np.random.Generator) -> list[Voice]:
    """Distinct voices spanning all accents and variants, each with its own pitch, range, rate and tract."""
    variants = [VARIANTS[i % len(VARIANTS)] for i in rng.permutation(max(count, len(VARIANTS)))[:count]]
    return [
        Voice(
            accent=ACCENTS[i % len(ACCENTS)],
            variant=variant,
            pitch=int(rng.integers(25, 80)),
            pitch_range=int(rng.integers(30, 75)),
            rate=int(rng.integers(150, 215)),
            tract=round(float(rng.uniform(0.9, 1.12)), 3),
        )
        for i, variant in enumerate(variants)
    ]
