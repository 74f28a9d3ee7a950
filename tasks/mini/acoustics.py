"""Rooms, channels and noise at known levels, so that the mini suite is not solved by clean synthetic speech."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

from tasks.mini.espeak import SAMPLE_RATE

NOISE_SLOPES = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # amplitude falls with frequency to this power


@dataclass(frozen=True)
class Scene:
    """Recording conditions: reverberation time in seconds, noise colour, signal-to-noise ratio in dB,
    spectral tilt in dB per octave around 1 kHz, and level in dB relative to full scale (RMS)."""

    rt60: float
    noise: str
    snr_db: float
    tilt_db: float
    level_db: float


def draw_scene(rng: np.random.Generator, snr_db: tuple[float, float] = (5.0, 25.0)) -> Scene:
    """Conditions drawn evenly: half the rooms dry, the others 0.15 to 0.5 s; noise in three colours."""
    return Scene(
        rt60=0.0 if rng.random() < 0.5 else round(float(rng.uniform(0.15, 0.5)), 2),
        noise=str(rng.choice(list(NOISE_SLOPES))),
        snr_db=round(float(rng.uniform(*snr_db)), 1),
        tilt_db=round(float(rng.uniform(-2.0, 2.0)), 1),
        level_db=round(float(rng.uniform(-28.0, -20.0)), 1),
    )


def coloured_noise(samples: int, colour: str, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit RMS; its amplitude spectrum falls as frequency to the power of NOISE_SLOPES[colour]."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE), 50.0)
    wave = np.fft.irfft(spectrum * frequency ** -NOISE_SLOPES[colour], samples)
    return wave / np.sqrt(np.mean(wave**2))


def record(speech: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The speech as heard in the scene: room, channel tilt, noise, level; float32, never clipped."""
    wave = speech.astype(np.float64)
    if scene.rt60:
        wave = fftconvolve(wave, _impulse_response(scene.rt60, rng))[: len(wave)]
    spectrum = np.fft.rfft(wave)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE), 60.0) / 1000.0)
    wave = np.fft.irfft(spectrum * 10 ** (scene.tilt_db * octaves / 20), len(wave))
    wave /= np.sqrt(np.mean(wave**2)) + 1e-12
    wave += coloured_noise(len(wave), scene.noise, rng) * 10 ** (-scene.snr_db / 20)
    wave *= 10 ** (scene.level_db / 20) / np.sqrt(np.mean(wave**2))
    return (wave * min(1.0, 0.99 / np.abs(wave).max())).astype(np.float32)


def _impulse_response(rt60: float, rng: np.random.Generator) -> np.ndarray:
    """Direct sound, then a noise tail that decays by 60 dB in rt60 seconds, with equal energy in both."""
    time = np.arange(int(rt60 * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    tail[: SAMPLE_RATE // 200] = 0.0  # 5 ms before the first reflection
    tail /= np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return tail
