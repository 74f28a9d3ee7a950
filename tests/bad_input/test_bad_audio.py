"""Files that are no audio, or none that can be used: one line says which and why, and nothing is written."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)


def written(path: Path, wave: np.ndarray = TONE, rate: int = 16_000, subtype: str | None = None) -> bytes:
    soundfile.write(path, wave, rate, subtype=subtype)
    return path.read_bytes()


def cut(path: Path, kept: float) -> None:
    content = written(path, np.tile(TONE, 10))
    path.write_bytes(content[: int(kept * len(content))])


def flip(path: Path) -> None:
    content = bytearray(written(path))
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def with_value(path: Path, value: float) -> None:
    wave = TONE.copy()
    wave[7] = value
    written(path, wave, subtype="FLOAT")


def at_rate(path: Path, rate: int) -> None:
    content = bytearray(written(path))
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)


def of_unknown_length(path: Path) -> None:
    content = bytearray(written(path))
    content[21] &= 0xF0  # the last 36 of STREAMINFO's bits before the checksum: the number of samples (RFC 9639)
    content[22:26] = bytes(4)
    path.write_bytes(content)


CASES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no file": ("a.wav", lambda path: None, "cannot read {}: no such file"),
    "an empty file": ("a.wav", lambda path: path.touch(), "cannot read {}: the file is empty"),
    "a text": ("a.wav", lambda path: path.write_text("hello\n" * 99), "cannot read {}: Format not recognised."),
    "a folder": ("a.wav", Path.mkdir, "cannot read {}: not a regular file"),
    "a pipe": ("a.wav", os.mkfifo, "cannot read {}: not a regular file"),
    "a link to itself": ("a.wav", lambda path: path.symlink_to(path), "cannot read {}: no such file"),
    "bare samples": (
        "a.raw",
        lambda path: path.write_bytes(bytes(99)),
        "cannot read {}: bare samples, without a header that tells their rate",
    ),
    "a corrupt header": (
        "a.wav",
        lambda path: path.write_bytes(b"RIFF no audio" + bytes(99)),
        "cannot read {}: Format not recognised.",
    ),
    "a flipped byte": ("a.flac", flip, "cannot read {}: flac decoder lost sync."),
    "a WAV file cut short": (
        "a.wav",
        lambda path: cut(path, 0.75),
        "cannot use {}: it is cut short, 80011 bytes that its header announces are missing",
    ),
    "a FLAC file cut short": ("a.flac", lambda path: cut(path, 0.75), "cannot read {}: flac decoder lost sync."),
    "an Ogg file cut short": (
        "a.ogg",
        lambda path: cut(path, 0.99),
        "cannot use {}: it is cut short, the last page of its Ogg stream is missing",
    ),
    "an AIFF file cut short": (
        "a.aiff",
        lambda path: cut(path, 0.5),
        "cannot use {}: it is cut short, 160027 bytes that its header announces are missing",
    ),
    "no samples": ("a.wav", lambda path: written(path, TONE[:0]), "cannot use {}: it holds no samples"),
    "less than a frame": (
        "a.wav",
        lambda path: written(path, TONE[:399]),
        "cannot use {}: 399 samples from 0, fewer than a frame's 400",
    ),
    "NaN": ("a.wav", lambda path: with_value(path, np.nan), "cannot use {}: it holds values that are not finite"),
    "infinity": ("a.wav", lambda path: with_value(path, -np.inf), "cannot use {}: it holds values that are not finite"),
    "a flipped exponent": (
        "a.wav",
        lambda path: with_value(path, -1.7e38),
        "cannot use {}: it holds the value 1.7e+38, where full scale is 1",
    ),
    "an hour": (
        "a.flac",
        lambda path: written(path, np.zeros(8_000 * 3_600, np.int16), 8_000),
        "cannot use {}: it lasts 3600 s, more than the 180 s that are read: cut it into shorter files",
    ),
    "a length that the header keeps to itself": (
        "a.flac",
        of_unknown_length,
        "cannot use {}: its header does not tell its length: write it again, to a file",
    ),
    "an odd rate": (
        "a.wav",
        lambda path: at_rate(path, 15_999),
        "cannot use {}: its 15999 Hz have no simple ratio to 16000 Hz: resample it, or correct its header",
    ),
    "a rate of zero": ("a.wav", lambda path: at_rate(path, 0), "cannot read {}: SF_INFO struct incomplete."),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_cannot_be_used_is_one_line(case, tmp_path, harness):
    name, spoil, message = CASES[case]
    path, out = tmp_path / name, tmp_path / "out.npz"
    spoil(path)
    result = harness("features", path, "--upstream", "fbank", "--out", out)
    assert (result.exit_code, result.stderr) == (2, f"Error: {message.format(path)}\n")
    assert not list(tmp_path.glob("out*"))


def test_an_hour_is_refused_by_the_header_alone(tmp_path, harness, monkeypatch):
    written(tmp_path / "a.flac", np.zeros(8_000 * 181, np.int16), 8_000)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("the samples were read"))
    result = harness("features", tmp_path / "a.flac", "--upstream", "fbank", "--out", tmp_path / "out.npz")
    assert result.exit_code == 2 and "it lasts 181 s, more than the 180 s that are read" in result.stderr


@pytest.mark.parametrize(
    ("name", "rate", "subtype"),
    [
        ("a.wav", 8_000, "PCM_16"),
        ("a.wav", 44_100, "PCM_24"),
        ("a.wav", 16_000, "FLOAT"),
        ("a.wav", 16_000, "PCM_U8"),
        ("a.flac", 22_050, "PCM_24"),
        ("a.ogg", 48_000, "VORBIS"),
        ("a.ogg", 16_000, "OPUS"),
    ],
)
def test_what_is_only_unusual_is_used(name, rate, subtype, tmp_path, harness):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    soundfile.write(tmp_path / name, np.stack([tone, tone], axis=1), rate, subtype=subtype)
    result = harness("features", tmp_path / name, "--upstream", "fbank", "--out", tmp_path / "out.npz")
    assert (result.exit_code, result.stderr) == (0, "")
    assert np.load(tmp_path / "out.npz")["state_00"].shape == (98, 240)  # 1 + (16000 - 400) // 160 frames
