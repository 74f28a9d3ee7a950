"""The reader of Libri2Mix on a hand-made tree, and the mini corpus read back."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tasks.audio import AudioError, read_audio
from tasks.corpora.libri2mix import OFFICIAL_COUNTS, libri2mix
from tasks.mini import render
from tasks.mini.calibration import Sizes
from tasks.mini.libri2mix import plan, speech_stretches

LISTS = {
    "wav.scp": "b-1_a-1 wav16k/b.wav\na-1_b-1 wav16k/with blank.wav\n",
    "segments": (
        "b-1_a-1_000500_009000 b-1_a-1 0.50 9.00\n"
        "b-1_a-1_010000_011000 b-1_a-1 10.00 11.00\n"
        "b-1_a-1_000250_001250 b-1_a-1 0.250 1.250\n"
        "a-1_b-1_000000_002000 a-1_b-1 0.00 2.00\n"
    ),
    # Both speakers of the second recording speak from 0 to 2 s, under one name.
    "utt2spk": (
        "b-1_a-1_000500_009000 b\nb-1_a-1_010000_011000 b\nb-1_a-1_000250_001250 a\n"
        "a-1_b-1_000000_002000 b\na-1_b-1_000000_002000 a\n"
    ),
    "rttm": (
        "SPKR-INFO b-1_a-1 1 <NA> <NA> <NA> unknown b <NA>\n"
        "SPEAKER b-1_a-1 1 10.00 1.00 <NA> <NA> b <NA>\n"
        "SPEAKER b-1_a-1 1 0.50 8.50 <NA> <NA> b <NA>\n"
        "SPEAKER b-1_a-1 1 0.25 1.00 <NA> <NA> a <NA>\n"
        "SPEAKER a-1_b-1 1 0.0 2.01 <NA> <NA> a <NA>\n"
        "SPEAKER a-1_b-1 1 0.0 2.0 <NA> <NA> b <NA>\n"
    ),
}


@pytest.fixture
def mixtures(tmp_path, audio_file):
    folder = tmp_path / "Libri2Mix"
    audio_file(folder / "wav16k/b.wav")
    audio_file(folder / "wav16k/with blank.wav")
    for part in ("train", "dev", "test"):
        (folder / "sd" / part).mkdir(parents=True)
        for name, text in LISTS.items():
            (folder / "sd" / part / name).write_text(text)
    return tmp_path


def replace(root: Path, name: str, old: str, new: str) -> None:
    path = root / "Libri2Mix/sd/dev" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_recordings_paths_and_who_speaks_when(mixtures):
    (fold,) = libri2mix(mixtures)
    assert list(fold) == ["train", "dev", "test"]
    for items in fold.values():
        assert [(item.id, item.label) for item in items] == [
            ("a-1_b-1", "a 0.00 2.00\nb 0.00 2.00"),
            ("b-1_a-1", "a 0.250 1.250\nb 0.50 9.00\nb 10.00 11.00"),
        ]
        assert items[0].path == mixtures / "Libri2Mix/wav16k/with blank.wav"


def test_official_counts_are_the_protocols():
    assert OFFICIAL_COUNTS == {"train": 13900, "dev": 3000, "test": 3000}


def test_8_khz_audio_comes_in_at_16_khz(mixtures, audio_file):
    audio_file(mixtures / "Libri2Mix/wav16k/b.wav", 80, 8_000)
    (fold,) = libri2mix(mixtures)
    assert [len(read_audio(item.path)) for item in fold["train"]] == [160, 160]


def test_corrupt_audio_is_named(mixtures):
    (fold,) = libri2mix(mixtures)
    fold["test"][1].path.write_bytes(b"RIFFnonsense")
    with pytest.raises(AudioError, match=r"b\.wav"):
        read_audio(fold["test"][1].path)


def test_absolute_paths_below_the_corpora_are_taken(mixtures, audio_file):
    path = audio_file(mixtures / "elsewhere/b.wav")
    replace(mixtures, "wav.scp", "wav16k/b.wav", str(path))
    (fold,) = libri2mix(mixtures)
    assert fold["dev"][1].path == path


@pytest.mark.parametrize("name", ["../../secret.wav", "{root}/../secret.wav", "{parent}/secret.wav"])
def test_paths_that_leave_the_corpora_are_refused(mixtures, corpus_error, audio_file, name):
    root = mixtures / "corpora"
    root.mkdir()
    (mixtures / "Libri2Mix").rename(root / "Libri2Mix")
    audio_file(mixtures / "secret.wav")
    replace(root, "wav.scp", "wav16k/b.wav", name.format(root=root, parent=mixtures))
    message = corpus_error(libri2mix, root)
    assert "1 recordings whose path in dev/wav.scp leaves the corpora folder (b-1_a-1)" in message
    assert "without audio" not in message


def test_empty_folder_is_one_error(tmp_path, corpus_error):
    message = corpus_error(libri2mix, tmp_path)
    assert "no folder Libri2Mix/sd/train; no folder Libri2Mix/sd/dev; no folder Libri2Mix/sd/test" in message


def test_everything_missing_is_told_at_once(mixtures, corpus_error):
    folder = mixtures / "Libri2Mix"
    shutil.rmtree(folder / "sd/train")
    (folder / "wav16k/b.wav").unlink()
    (folder / "sd/test/rttm").unlink()
    (folder / "sd/test/segments").write_text("")
    message = corpus_error(libri2mix, mixtures)
    assert "no folder Libri2Mix/sd/train" in message
    assert "1 recordings in dev/wav.scp without audio (b-1_a-1)" in message
    assert "no file Libri2Mix/sd/test/rttm" in message
    assert "nothing in Libri2Mix/sd/test/segments" in message
    assert "without segments" not in message
    assert "differs" not in message


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("wav.scp", "a-1_b-1 wav", "x wav", "1 recordings in dev/segments that wav.scp lacks (a-1_b-1)"),
        ("wav.scp", "a-1_b-1 wav", "x wav", "1 recordings in dev/wav.scp without segments (x)"),
        ("wav.scp", "wav16k/b.wav", "sox b.wav - |", "1 recordings in dev/wav.scp without audio (b-1_a-1)"),
        ("segments", " 2.00", "", "1 unreadable lines in dev/segments (a-1_b-1_000000_002000 a-1_b-1 0.00)"),
        ("segments", "0.00 2.00", "2.00 2.00", "1 stretches in dev/segments that are not 0 <= start < end"),
        ("segments", "0.00 2.00", "-1 2.00", "1 stretches in dev/segments that are not 0 <= start < end"),
        ("segments", "0.00 2.00", "0.00 inf", "1 stretches in dev/segments that are not 0 <= start < end"),
        ("segments", "0.00 2.00", "0.00 two", "1 stretches in dev/segments that are not 0 <= start < end"),
        ("utt2spk", "b-1_a-1_000250", "x", "1 utterances in dev/segments that utt2spk lacks (b-1_a-1_000250_001250)"),
        ("utt2spk", "11000 b", "11000 c", "1 recordings in dev/segments with more than 2 speakers (b-1_a-1)"),
        ("utt2spk", "11000 b", "11000", "1 unreadable lines in dev/utt2spk (b-1_a-1_010000_011000)"),
        ("rttm", "0.50 8.50", "0.50 8.53", "1 recordings whose dev/rttm differs from dev/segments (b-1_a-1)"),
        ("rttm", "0.25 1.00", "0.28 1.00", "1 recordings whose dev/rttm differs from dev/segments (b-1_a-1)"),
        ("rttm", "<NA> a <NA>", "<NA> b <NA>", "2 recordings whose dev/rttm differs from dev/segments"),
        ("rttm", "SPEAKER a-1_b-1", "NOISE a-1_b-1", "1 recordings whose dev/rttm differs from dev/segments (a-1_b-1)"),
        ("rttm", "0.50 8.50", "0.50 long", "1 unreadable lines in dev/rttm (SPEAKER b-1_a-1 1 0.50 long"),
        ("rttm", "0.50 8.50 <NA> <NA> b <NA>", "0.50", "1 unreadable lines in dev/rttm (SPEAKER b-1_a-1 1 0.50)"),
    ],
)
def test_files_that_contradict_one_another_are_told(mixtures, corpus_error, name, old, new, problem):
    replace(mixtures, name, old, new)
    message = corpus_error(libri2mix, mixtures)
    assert problem in message
    assert "train/" not in message


# The mini corpus


def tone(seconds: float, level: float = 0.1) -> np.ndarray:
    return level * np.sin(0.3 * np.arange(round(16_000 * seconds)))


def test_speech_stretches_are_cut_at_long_pauses():
    pause = np.zeros(3_200)  # 0.2 s
    wave = np.concatenate([np.zeros(1_600), tone(0.5), pause, tone(0.3), pause, np.zeros(160), tone(0.4), np.zeros(80)])
    assert speech_stretches(wave) == [(0.1, 1.1), (1.31, 1.71)]
    # 39 dB below the loudest frame is speech, 41 dB is not
    quiet = np.concatenate([tone(0.5), tone(0.5, 0.1 * 10 ** (-39 / 20)), tone(0.5, 0.1 * 10 ** (-41 / 20))])
    assert speech_stretches(quiet) == [(0.0, 1.0)]


def test_full_plan_keeps_speakers_apart_and_varies_who_speaks_longer(tmp_path):
    utterances = plan(tmp_path, Sizes(), np.random.default_rng(0)).utterances
    assert len(utterances) == 2 * (60 + 12 + 24)
    speakers: dict[str, set[str]] = {}
    for utterance in utterances:
        part = utterance.path.parts[-3]
        speakers.setdefault(part, set()).update(half.split("-")[0] for half in utterance.path.stem.split("_"))
    assert {part: len(names) for part, names in speakers.items()} == {"train-100": 16, "dev": 4, "test": 6}
    assert len(set.union(*speakers.values())) == 26
    first, second = utterances[::2], utterances[1::2]
    assert all(a.voice.variant != b.voice.variant for a, b in zip(first, second, strict=True))
    longer = [len(a.text.split()) > len(b.text.split()) for a, b in zip(first, second, strict=True)]
    assert 0.3 < np.mean(longer) < 0.7


def test_mini_corpus_is_read_back(monkeypatch, tmp_path):
    monkeypatch.setattr(render, "SHARDS", 1)
    sizes = Sizes(mixture_speakers=(2, 2, 2), mixtures=(2, 1, 1))
    corpus = plan(tmp_path, sizes, np.random.default_rng(1))
    render.render(corpus.utterances, workers=1)
    corpus.finish()
    (fold,) = libri2mix(tmp_path)
    assert {part: len(items) for part, items in fold.items()} == {"train": 2, "dev": 1, "test": 1}
    for item in (item for items in fold.values() for item in items):
        speakers = sorted(half.split("-")[0] for half in item.id.split("_"))
        lines = [line.split() for line in item.label.split("\n")]
        assert sorted({speaker for speaker, _, _ in lines}) == speakers
        assert len(lines) > 2  # each speaker pauses between two sentences
        wave = read_audio(item.path)
        heard = np.zeros(len(wave), dtype=bool)
        for _, start, end in lines:
            assert float(end) <= len(wave) / 16_000
            heard[round(16_000 * float(start)) : round(16_000 * float(end))] = True
        assert np.mean(wave[heard] ** 2) > 3 * np.mean(wave[~heard] ** 2)
    kaldi = tmp_path / "Libri2Mix/sd/train"
    by_speaker = [line.split() for line in (kaldi / "spk2utt").read_text().splitlines()]
    pairs = sorted(f"{utterance} {speaker}" for speaker, *said in by_speaker for utterance in said)
    assert pairs == sorted((kaldi / "utt2spk").read_text().splitlines())
    seconds = dict(line.split() for line in (kaldi / "reco2dur").read_text().splitlines())
    assert {item.id: f"{len(read_audio(item.path)) / 16_000:.4f}" for item in fold["train"]} == seconds
