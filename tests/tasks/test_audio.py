"""The audio door: formats, rates and channels that come in, and the files it refuses."""

import wave as stdlib_wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from tasks.audio import AudioError, num_samples, read_audio, write_audio


def tone(rate: int, seconds: float = 0.5, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize(
    ("name", "subtype", "step"),
    [
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "PCM_24", 2**-23),
        ("a.wav", "FLOAT", 2**-24),
        ("a.flac", "PCM_16", 2**-15),
    ],
)
def test_sample_formats_come_in_at_their_own_level(tmp_path, name, subtype, step):
    soundfile.write(tmp_path / name, tone(16_000), 16_000, subtype=subtype)
    wave = read_audio(tmp_path / name)
    assert wave.dtype == np.float32
    assert np.abs(wave - tone(16_000)).max() <= step + 2**-24


def test_channels_are_averaged(tmp_path):
    left, right = tone(16_000), tone(16_000, frequency=1000.0)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)


def test_24_bit_stereo_is_what_pythons_own_reader_finds(tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.2 * rng.standard_normal((800, 2)), 16_000, subtype="PCM_24")
    with stdlib_wave.open(str(tmp_path / "a.wav"), "rb") as file:
        assert (file.getsampwidth(), file.getnchannels()) == (3, 2)
        frames = file.readframes(800)
    values = [int.from_bytes(frames[i : i + 3], "little", signed=True) / 2**23 for i in range(0, len(frames), 3)]
    expected = np.array(values).reshape(800, 2).mean(axis=1)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), expected, atol=2**-24)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_is_heard_as_it_was_written(tmp_path, subtype):
    rng = np.random.default_rng(0)
    spoken = 0.1 * np.convolve(rng.standard_normal(16_000), np.hanning(16), "same")  # low frequencies, as in speech
    soundfile.write(tmp_path / "a.ogg", spoken, 16_000, subtype=subtype)
    heard = read_audio(tmp_path / "a.ogg")
    assert len(heard) == 16_000
    assert np.corrcoef(heard[800:-800], spoken[800:-800])[0, 1] > 0.95
    assert 0.9 < heard.std() / spoken.std() < 1.1


def test_clipped_audio_comes_in_as_it_is(tmp_path):
    clipped = np.clip(4 * tone(16_000), -1, 1 - 2**-15)
    soundfile.write(tmp_path / "a.wav", clipped, 16_000, subtype="PCM_16")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), clipped, atol=2**-15)


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_other_rates_are_resampled(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(rate), rate, subtype="FLOAT")
    wave = read_audio(tmp_path / "a.wav")
    assert len(wave) == num_samples(tmp_path / "a.wav") == 8_000
    middle = slice(800, 7_200)  # filters differ at the ends
    np.testing.assert_allclose(wave[middle], tone(16_000)[middle], atol=5e-3)
    np.testing.assert_allclose(wave[middle], resample_poly(tone(rate), 16_000, rate)[middle], atol=5e-3)


@pytest.mark.parametrize(
    ("frames", "rate", "expected"), [(16_001, 16_000, 16_001), (4_001, 8_000, 8_002), (100, 44_100, 37)]
)
def test_header_length_is_the_length_read(tmp_path, frames, rate, expected):
    soundfile.write(tmp_path / "a.wav", np.zeros(frames), rate)
    assert num_samples(tmp_path / "a.wav") == expected == len(read_audio(tmp_path / "a.wav"))


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_written_audio_is_read_back(tmp_path, suffix):
    path = tmp_path / "new" / f"a.{suffix}"
    write_audio(path, tone(16_000).astype(np.float32))
    assert soundfile.info(path).samplerate == 16_000
    assert soundfile.info(path).subtype == "PCM_16"
    assert np.abs(read_audio(path) - tone(16_000)).max() <= 2**-15


def refused(path: Path, reason: str) -> None:
    with pytest.raises(AudioError, match=reason) as caught:
        read_audio(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_file_is_refused(tmp_path):
    refused(tmp_path / "none.wav", "no such file")
    with pytest.raises(AudioError, match=r"none.wav"):
        num_samples(tmp_path / "none.wav")


@pytest.mark.parametrize("content", [b"", b"not audio at all"])
def test_file_that_is_not_audio_is_refused(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    refused(tmp_path / "a.wav", "cannot read")


def test_audio_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    refused(tmp_path / "a.wav", "no samples")


@pytest.mark.parametrize(("name", "kept"), [("a.flac", 0.5), ("a.wav", 0.001)])
def test_truncated_file_is_refused(tmp_path, name, kept):
    write_audio(tmp_path / name, tone(16_000))
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(kept * len(content))])
    refused(tmp_path / name, "cannot read")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    wave = tone(16_000)
    wave[7] = value
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    refused(tmp_path / "a.wav", "not finite")


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_wav_cut_after_its_header_is_refused(tmp_path, subtype):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(16_000), 16_000, subtype=subtype)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AudioError, match="cut short, 100 bytes that its header announces are missing"):
        read_audio(path)


@pytest.mark.parametrize("size", [b"\xff\xff\xff\xff", b"\x00\xf0\xff\x7f"], ids=["all ones", "as sox leaves it"])
def test_wav_written_to_a_pipe_has_no_size_to_keep(size, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(16_000), 16_000, subtype="PCM_16")
    content = path.read_bytes()
    at = content.index(b"data") + 4
    path.write_bytes(content[:at] + size + content[at + 4 :])
    assert len(read_audio(path)) == 8_000
