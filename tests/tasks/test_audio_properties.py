"""The audio door on drawn files: whole ones come in as they are, others are refused, nothing else happens."""

from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.audio import SAMPLE_RATE, AudioError, num_samples, read_audio

# Subtypes with their step; None where values are not kept as they are.
SUBTYPES = {"PCM_16": 2.0**-15, "PCM_24": 2.0**-23, "PCM_32": 2.0**-24, "FLOAT": 2.0**-24, "PCM_U8": 2.0**-7}
RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000)
FORMATS = [("WAV", name) for name in SUBTYPES] + [("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("AIFF", "PCM_16")]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    return tmp_path_factory.mktemp("door") / "drawn.wav"


@settings(max_examples=60)
@given(
    st.sampled_from(FORMATS),
    st.sampled_from(RATES),
    st.integers(1, 3),
    st.integers(1, 700),
    st.integers(0, 2**32 - 1),
)
def test_what_is_written_comes_in(
    path: Path, kind: tuple[str, str], rate: int, channels: int, frames: int, seed: int
) -> None:
    samples = np.random.default_rng(seed).uniform(-0.95, 0.95, (frames, channels))
    soundfile.write(path, samples, rate, format=kind[0], subtype=kind[1])
    wave = read_audio(path)
    assert wave.dtype == np.float32 and wave.shape == (num_samples(path),)
    assert len(wave) == -(-frames * SAMPLE_RATE // rate)
    if rate == SAMPLE_RATE:
        np.testing.assert_allclose(wave, samples.mean(1), rtol=0, atol=1.5 * SUBTYPES[kind[1]])


KINDS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), *((name, None) for name in ("FLAC", "OGG", "AIFF", "AU", "CAF"))]


@cache
def whole(kind: str, subtype: str | None, frames: int) -> bytes:
    """A file of stereo samples."""
    buffer = BytesIO()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (frames, 2))
    soundfile.write(buffer, samples, SAMPLE_RATE, format=kind, subtype=subtype)
    return buffer.getvalue()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file with some bytes changed, most of them in its header, and perhaps cut or with bytes put in."""
    content = bytearray(whole(*draw(st.sampled_from(KINDS)), draw(st.sampled_from([300, 300, 0]))))
    if draw(st.booleans()):
        place = draw(st.integers(0, len(content) // 4))
        content[4 * place : 4 * place + 8] = b"\xff" * len(content[4 * place : 4 * place + 8])  # NaN in a float file
    changes = st.tuples(st.integers(0, 90) | st.integers(0), st.integers(0, 255))
    for place, value in draw(st.lists(changes, max_size=3)) if content else ():
        content[place % len(content)] = value
    if draw(st.booleans()):
        del content[draw(st.integers(0, len(content))) :]
    if draw(st.booleans()):
        place = draw(st.integers(0, len(content)))
        content[place:place] = draw(st.binary(max_size=8))
    return bytes(content)


@settings(max_examples=200)
@given(st.binary(max_size=80) | damaged())
@example(b"")
@example(b"RIFF")
@example(b"RIFF\x00\x00\x00\x00WAVEdata")
def test_any_file_gives_samples_or_an_audio_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        wave = read_audio(path)
    except AudioError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert wave.dtype == np.float32 and wave.ndim == 1 and len(wave) and np.isfinite(wave).all()
    try:
        assert num_samples(path) >= 0
    except AudioError as error:
        assert str(path) in str(error) and "\n" not in str(error)
