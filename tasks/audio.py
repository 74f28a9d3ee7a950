"""The one door through which audio enters: any file libsndfile reads, as 16 kHz mono float32."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import gcd
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile

SAMPLE_RATE = 16_000
LONGEST = 180  # seconds; a SUPERB corpus has 145 at most (VoxCeleb1), and attention grows with the square
_UNKNOWN_SIZE = 0x7FFFF000
_UNKNOWN_FRAMES = 2**62
_LARGEST_SAMPLE = 2.0**31  # of any integer format, if someone forgot to scale it
_LARGEST_FILTER = 2**24  # values that resampling holds at once: 64 MiB
_OGG_PAGE = 65_307  # bytes at most
_CHUNKS: dict[bytes, tuple[Literal["little", "big"], bytes]] = {  # byte order, and the chunk that holds the audio
    b"RIFF": ("little", b"data"),
    b"FORM": ("big", b"SSND"),
}
SILENCE_LEVEL = 0.001  # of full scale
SILENCE_HOLD = SAMPLE_RATE // 10  # samples
_LEVEL_WINDOW = SAMPLE_RATE // 50  # samples


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file and the reason."""


def read_audio(path: Path) -> np.ndarray:
    """Samples (num_samples,) of one file in float32, mixed to mono and resampled to 16 kHz.

    Integer formats are scaled to [-1, 1]; the level is left as it is, clipped or not (superb-protocol 1.3).
    Raises AudioError if the file is absent, unreadable, cut short, empty, longer than LONGEST (its header tells: it is
    not read then), at a rate without a simple ratio to 16 kHz, or holds a value that is not finite or is no sample.
    """
    with _opened(path) as file:
        samples, rate = file.read(dtype="float32", always_2d=True), file.samplerate
        cut = _what_is_missing(path, file.frames - len(samples))
    if cut:
        raise AudioError(f"cannot use {path}: it is cut short, {cut}")
    if not len(samples):
        raise AudioError(f"cannot use {path}: it holds no samples")
    largest = float(np.abs(samples).max())
    if not np.isfinite(largest):
        raise AudioError(f"cannot use {path}: it holds values that are not finite")
    if largest > _LARGEST_SAMPLE:
        raise AudioError(f"cannot use {path}: it holds the value {largest:.2g}, where full scale is 1")
    wave = samples.mean(axis=1)
    return wave if rate == SAMPLE_RATE else _resample(wave, rate)


def num_samples(path: Path) -> int:
    """Length of a file in samples at 16 kHz, from its header alone. Raises AudioError if it cannot be read, or if its
    header shows that read_audio would refuse it."""
    with _opened(path) as file:
        return int(-(-file.frames * SAMPLE_RATE // file.samplerate))


def sampling_rate(path: Path) -> int:
    """Samples per second in the file itself, from its header alone. Raises AudioError as num_samples does."""
    with _opened(path) as file:
        return int(file.samplerate)


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


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, open, what its header says found good."""
    path = Path(path)
    if not path.is_file():  # a pipe or a device would be waited for
        raise AudioError(f"cannot read {path}: {'not a regular file' if path.exists() else 'no such file'}")
    try:
        if not path.stat().st_size:
            raise AudioError(f"cannot read {path}: the file is empty")
        with soundfile.SoundFile(path) as file:
            _check_header(path, file.frames, file.samplerate)
            yield file
    except TypeError as error:  # of a name that ends in .raw
        raise AudioError(f"cannot read {path}: bare samples, without a header that tells their rate") from error
    except (OSError, RuntimeError) as error:  # soundfile.LibsndfileError is a RuntimeError
        raise AudioError(f"cannot read {path}: {str(error).rsplit(':', 1)[-1].strip()}") from error


def _check_header(path: Path, frames: int, rate: int) -> None:
    if frames >= _UNKNOWN_FRAMES:
        raise AudioError(f"cannot use {path}: its header does not tell its length: write it again, to a file")
    if frames > LONGEST * rate:
        raise AudioError(
            f"cannot use {path}: it lasts {frames / rate:.0f} s, more than the {LONGEST} s that are read: cut it into "
            "shorter files"
        )
    common = gcd(rate, SAMPLE_RATE)
    if (rate // common) * (SAMPLE_RATE // common) > _LARGEST_FILTER:
        raise AudioError(
            f"cannot use {path}: its {rate} Hz have no simple ratio to {SAMPLE_RATE} Hz: resample it, or correct its "
            "header"
        )


def _is_loud(wave: np.ndarray) -> np.ndarray:
    """Whether the RMS of the window that ends with each sample exceeds SILENCE_LEVEL; zeros before the first one."""
    total = np.cumsum(np.concatenate([np.zeros(_LEVEL_WINDOW), wave.astype(np.float64) ** 2]))
    return total[_LEVEL_WINDOW:] - total[:-_LEVEL_WINDOW] > _LEVEL_WINDOW * SILENCE_LEVEL**2


def _first_run(flags: np.ndarray) -> int:
    """Where the first SILENCE_HOLD true flags in a row start; the number of flags if there are none."""
    count = np.cumsum(np.concatenate([[0], flags]))
    starts = np.flatnonzero(count[SILENCE_HOLD:] - count[:-SILENCE_HOLD] == SILENCE_HOLD)
    return int(starts[0]) if len(starts) else len(flags)


def _what_is_missing(path: Path, frames: int) -> str:
    """What a file lacks that its header or its form announces; libsndfile reads what is there and says little.

    frames: announced, but not read.
    """
    with Path(path).open("rb") as file:
        start = file.read(4)
        if start in _CHUNKS and (missing := _missing_bytes(file, *_CHUNKS[start])):
            return f"{missing} bytes that its header announces are missing"
        if start == b"OggS" and not _ends_as_ogg(file):
            return "the last page of its Ogg stream is missing"
    return f"{frames} samples that its header announces are missing" if frames > 0 else ""


def _missing_bytes(file: Any, order: Literal["little", "big"], audio: bytes) -> int:
    """How many bytes of audio a WAV or AIFF file lacks."""
    file.seek(12)
    while len(header := file.read(8)) == 8:
        size = int.from_bytes(header[4:], order)
        if header[:4] == audio:
            # A writer to a pipe cannot go back to fill in the size: it leaves all ones, or 0x7FFFF000 as sox does.
            return 0 if size >= _UNKNOWN_SIZE else max(size - (os.fstat(file.fileno()).st_size - file.tell()), 0)
        file.seek(size + size % 2, 1)
    return 0


def _ends_as_ogg(file: Any) -> bool:
    """Whether the last page of an Ogg file is whole and says that it is the last (RFC 3533)."""
    file.seek(max(file.seek(0, os.SEEK_END) - _OGG_PAGE, 0))
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return bool(lengths and page[5] & 4 and len(page) >= 27 + page[26] + sum(lengths))


def _resample(wave: np.ndarray, rate: int) -> np.ndarray:
    import torch
    from torchaudio.functional import resample

    return resample(torch.from_numpy(wave), rate, SAMPLE_RATE).numpy()
