"""The one door through which audio enters: any file libsndfile reads, as 16 kHz mono float32."""

from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 16_000


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file and the reason."""


def read_audio(path: Path) -> np.ndarray:
    """Samples (num_samples,) of one file in float32, mixed to mono and resampled to 16 kHz.

    Integer formats are scaled to [-1, 1]; the level is left as it is (superb-protocol 1.3).
    Raises AudioError if the file is absent, unreadable, empty or holds a value that is not finite.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:  # soundfile.LibsndfileError is a RuntimeError
        reason = "no such file" if not Path(path).exists() else str(error).rsplit(":", 1)[-1].strip()
        raise AudioError(f"cannot read {path}: {reason}") from error
    wave = samples.mean(axis=1)
    if not len(wave):
        raise AudioError(f"cannot use {path}: it holds no samples")
    if not np.isfinite(wave).all():
        raise AudioError(f"cannot use {path}: it holds values that are not finite")
    return wave if rate == SAMPLE_RATE else _resample(wave, rate)


def num_samples(path: Path) -> int:
    """Length of a file in samples at 16 kHz, from its header alone. Raises AudioError if it cannot be read."""
    try:
        info = soundfile.info(path)
    except (OSError, RuntimeError) as error:
        raise AudioError(f"cannot read {path}: {error}") from error
    return -(-info.frames * SAMPLE_RATE // info.samplerate)


def write_audio(path: Path, wave: np.ndarray) -> None:
    """Write 16 kHz mono samples as 16-bit PCM, WAV or FLAC by the file's suffix; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, SAMPLE_RATE, subtype="PCM_16")


def _resample(wave: np.ndarray, rate: int) -> np.ndarray:
    import torch
    from torchaudio.functional import resample

    return resample(torch.from_numpy(wave), rate, SAMPLE_RATE).numpy()
