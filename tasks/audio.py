"""The one door through which audio enters: any file libsndfile reads, as 16 kHz mono float32."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

SAMPLE_RATE = 16_000
_UNKNOWN_SIZE = 2**32 - 1
SILENCE_LEVEL = 0.001  # of full scale
SILENCE_HOLD = SAMPLE_RATE // 10  # samples
_LEVEL_WINDOW = SAMPLE_RATE // 50  # samples


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file and the reason."""


def read_audio(path: Path) -> np.ndarray:
    """Samples (num_samples,) of one file in float32, mixed to mono and resampled to 16 kHz.

    Integer formats are scaled to [-1, 1]; the level is left as it is (superb-protocol 1.3).
    Raises AudioError if the file is absent, unreadable, cut short, empty or holds a value that is not finite.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        missing = _missing_bytes(path)
    except (OSError, RuntimeError) as error:  # soundfile.LibsndfileError is a RuntimeError
        reason = "no such file" if not Path(path).exists() else str(error).rsplit(":", 1)[-1].strip()
        raise AudioError(f"cannot read {path}: {reason}") from error
    if missing:
        raise AudioError(f"cannot use {path}: it is cut short, {missing} bytes that its header announces are missing")
    wave = samples.mean(axis=1)
    if not len(wave):
        raise AudioError(f"cannot use {path}: it holds no samples")
    if not np.isfinite(wave).all():
        raise AudioError(f"cannot use {path}: it holds values that are not finite")
    return wave if rate == SAMPLE_RATE else _resample(wave, rate)


def num_samples(path: Path) -> int:
    """Length of a file in samples at 16 kHz, from its header alone. Raises AudioError if it cannot be read."""
    info = _info(path)
    return -(-info.frames * SAMPLE_RATE // info.samplerate)


def sampling_rate(path: Path) -> int:
    """Samples per second in the file itself, from its header alone. Raises AudioError if it cannot be read."""
    return int(_info(path).samplerate)


def trim_silence(wave: np.ndarray) -> np.ndarray:
    """The samples (num_samples,) without silence, as sox's effect "silence 1 0.1 0.1% -1 0.1 0.1%" cuts it.

    A sample is loud if the RMS of the last 20 ms up to it exceeds 0.1 % of full scale. Everything before the first
    0.1 s that are loud throughout is dropped; then everything is kept up to the next 0.1 s that are quiet throughout;
    those are dropped, and the search for loud samples starts anew behind them, with an empty window. Shorter quiet
    stretches stay, at the end too. All silence gives an empty array. Source: superb-protocol 1.3, 2.6 (in ASV it
    follows the gain).
    """
    kept, rest = [wave[:0]], wave
    while len(rest):
        loud = _is_loud(rest)
        start = _first_run(loud)
        stop = start + SILENCE_HOLD + _first_run(~loud[start + SILENCE_HOLD :])
        kept.append(rest[start:stop])
        rest = rest[stop + SILENCE_HOLD :]
    return np.concatenate(kept)


def write_audio(path: Path, wave: np.ndarray, rate: int = SAMPLE_RATE) -> None:
    """Write mono samples as 16-bit PCM, WAV or FLAC by the file's suffix; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype="PCM_16")


def _info(path: Path) -> Any:
    try:
        return soundfile.info(path)
    except (OSError, RuntimeError) as error:
        raise AudioError(f"cannot read {path}: {error}") from error


def _is_loud(wave: np.ndarray) -> np.ndarray:
    """Whether the RMS of the window that ends with each sample exceeds SILENCE_LEVEL; zeros before the first one."""
    total = np.cumsum(np.concatenate([np.zeros(_LEVEL_WINDOW), wave.astype(np.float64) ** 2]))
    return total[_LEVEL_WINDOW:] - total[:-_LEVEL_WINDOW] > _LEVEL_WINDOW * SILENCE_LEVEL**2


def _first_run(flags: np.ndarray) -> int:
    """Where the first SILENCE_HOLD true flags in a row start; the number of flags if there are none."""
    count = np.cumsum(np.concatenate([[0], flags]))
    starts = np.flatnonzero(count[SILENCE_HOLD:] - count[:-SILENCE_HOLD] == SILENCE_HOLD)
    return int(starts[0]) if len(starts) else len(flags)


def _missing_bytes(path: Path) -> int:
    """How many bytes of audio a WAV file lacks; libsndfile reads what is there and says nothing."""
    with Path(path).open("rb") as file:
        if file.read(4) != b"RIFF":
            return 0
        file.seek(12)
        while len(header := file.read(8)) == 8:
            size = int.from_bytes(header[4:], "little")
            if header[:4] == b"data":
                # A writer to a pipe cannot go back to fill in the size and leaves all ones.
                return 0 if size == _UNKNOWN_SIZE else max(size - (Path(path).stat().st_size - file.tell()), 0)
            file.seek(size + size % 2, 1)
    return 0


def _resample(wave: np.ndarray, rate: int) -> np.ndarray:
    import torch
    from torchaudio.functional import resample

    return resample(torch.from_numpy(wave), rate, SAMPLE_RATE).numpy()
