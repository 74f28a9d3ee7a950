"""Trials of VoxCeleb1 on a hand-made tree, silence as sox trims it, and the mini trials read back."""

import shutil
from collections import Counter

import numpy as np
import pytest

from tasks.audio import AudioError, read_audio, trim_silence, write_audio
from tasks.base import Trial
from tasks.corpora.voxceleb_verification import voxceleb1_verification
from tasks.mini import voxceleb
from tasks.mini.calibration import Sizes


@pytest.fixture
def celebrities(tmp_path, audio_file):
    folder = tmp_path / "VoxCeleb1"
    for name in ("id10002/def/00001", "id10001/abc/00002", "id10001/abc/00001"):
        audio_file(folder / f"dev/wav/{name}.wav")
    for name in ("id10270/ghi/00001", "id10270/jkl/00001", "id10271/mno/00001"):
        audio_file(folder / f"test/wav/{name}.wav")
    (folder / "veri_test.txt").write_text(
        "1 id10270/jkl/00001.wav id10270/ghi/00001.wav\n\n0 id10270/jkl/00001.wav id10271/mno/00001.wav\n"
    )
    return tmp_path


def test_training_speakers_and_trials(celebrities):
    (fold,) = voxceleb1_verification(celebrities)
    assert list(fold) == ["train", "test"]
    assert [(item.id, item.label) for item in fold["train"]] == [
        ("id10001/abc/00001.wav", "id10001"),
        ("id10001/abc/00002.wav", "id10001"),
        ("id10002/def/00001.wav", "id10002"),
    ]
    test = celebrities / "VoxCeleb1/test/wav"
    left, right = test / "id10270/jkl/00001.wav", test / "id10271/mno/00001.wav"
    name = "id10270/jkl/00001.wav id10271/mno/00001.wav"
    assert [item.label for item in fold["test"]] == ["1", "0"]
    assert fold["test"][1] == Trial(id=name, path=left, label="0", other=right)


def test_short_files_stay_and_8_khz_is_resampled(celebrities, audio_file):
    audio_file(celebrities / "VoxCeleb1/dev/wav/id10001/abc/00001.wav", 80, 8_000)
    (fold,) = voxceleb1_verification(celebrities)
    assert [len(read_audio(item.path)) for item in fold["train"]] == [160] * 3


def test_corrupt_audio_is_named(celebrities):
    (fold,) = voxceleb1_verification(celebrities)
    fold["test"][0].other.write_bytes(b"RIFFnonsense")
    with pytest.raises(AudioError, match=r"id10270/ghi/00001\.wav"):
        read_audio(fold["test"][0].other)


def test_empty_folder_is_one_error(tmp_path, corpus_error):
    message = corpus_error(voxceleb1_verification, tmp_path)
    for absent in ("folder VoxCeleb1/dev/wav", "folder VoxCeleb1/test/wav", "file VoxCeleb1/veri_test.txt"):
        assert f"no {absent}" in message


def test_everything_missing_is_told_at_once(celebrities, corpus_error):
    folder = celebrities / "VoxCeleb1"
    shutil.rmtree(folder / "dev/wav/id10001")
    shutil.rmtree(folder / "dev/wav/id10002")
    (folder / "test/wav/id10270/jkl/00001.wav").unlink()
    with (folder / "veri_test.txt").open("a") as file:
        file.write("2 id10270/ghi/00001.wav id10271/mno/00001.wav\n1 id10270/ghi/00001.wav\n")
    message = corpus_error(voxceleb1_verification, celebrities)
    assert "nothing in dev/wav" in message
    assert "1 utterances of veri_test.txt without audio (id10270/jkl/00001.wav)" in message
    lines = "1 id10270/ghi/00001.wav, 2 id10270/ghi/00001.wav id10271/mno/00001.wav"
    assert f"2 unreadable lines in veri_test.txt ({lines})" in message


def test_a_list_without_trials_is_an_error(celebrities, corpus_error):
    (celebrities / "VoxCeleb1/veri_test.txt").write_text("\n")
    assert "nothing in VoxCeleb1/veri_test.txt" in corpus_error(voxceleb1_verification, celebrities)


def test_paths_that_leave_the_archive_are_refused(celebrities, corpus_error):
    absolute = celebrities / "VoxCeleb1/dev/wav/id10001/abc/00001.wav"
    outside = "../../dev/wav/id10001/abc/00001.wav"
    with (celebrities / "VoxCeleb1/veri_test.txt").open("a") as file:
        file.write(f"1 {outside} {absolute}\n")
    message = corpus_error(voxceleb1_verification, celebrities)
    assert "2 paths in veri_test.txt that leave the test archive (" in message
    assert outside in message
    assert str(absolute) in message
    assert "without audio" not in message


# Silence. At 16 kHz, 0.1 s are 1600 samples and the level is taken over 320.


def square(samples: int, level: float) -> np.ndarray:
    """A square wave, whose RMS is its level."""
    return np.where(np.arange(samples) % 2, level, -level).astype(np.float32)


def test_silence_leaves_nothing():
    for wave in (np.zeros(0, np.float32), np.zeros(50_000, np.float32), square(50_000, 0.0009)):
        trimmed = trim_silence(wave)
        assert trimmed.shape == (0,)
        assert trimmed.dtype == np.float32


def test_loud_audio_stays_but_for_the_first_window_to_fill():
    # At level 0.0021 the energy in the window passes 320e-6 with the 73rd sample: 72 hold 317.5e-6, 73 hold 321.9e-6.
    wave = square(5_000, 0.0021)
    np.testing.assert_array_equal(trim_silence(wave), wave[72:])
    # One sample of 0.1 is enough: 0.01 / 320 > 1e-6.
    wave = square(5_000, 0.1)
    np.testing.assert_array_equal(trim_silence(wave), wave)


def test_leading_audio_is_dropped_until_loud_for_a_tenth_of_a_second():
    # A click of one sample is loud for 320; a burst of 1 280 samples for 1 599, which is one short; 1 281 are enough.
    click = np.concatenate([square(1, 0.1), np.zeros(4_000, np.float32)])
    short = np.concatenate([square(1_280, 0.1), np.zeros(4_000, np.float32)])
    enough = np.concatenate([square(1_281, 0.1), np.zeros(4_000, np.float32)])
    assert len(trim_silence(click)) == 0
    assert len(trim_silence(short)) == 0
    assert len(trim_silence(np.concatenate([click, short, square(2_000, 0.1)]))) == 2_000
    # Kept: the loud samples and the 319 after them in which the window is still loud.
    np.testing.assert_array_equal(trim_silence(enough), enough[:1_600])


def test_later_silence_goes_if_it_lasts_a_tenth_of_a_second():
    speech = square(2_000, 0.1)
    # The window stays loud for 319 samples after the speech: 1 918 zeros hold 1 599 quiet samples, 1 919 hold 1 600.
    for zeros in (100, 1_918):
        kept = np.concatenate([speech, np.zeros(zeros, np.float32), speech])
        np.testing.assert_array_equal(trim_silence(kept), kept)
    for zeros in (1_919, 10_000):
        cut = np.concatenate([speech, np.zeros(zeros, np.float32), speech])
        expected = np.concatenate([speech, np.zeros(319, np.float32), speech])
        np.testing.assert_array_equal(trim_silence(cut), expected)


def test_quiet_end_stays_if_short():
    wave = np.concatenate([square(2_000, 0.1), np.zeros(1_000, np.float32)])
    np.testing.assert_array_equal(trim_silence(wave), wave)


def test_trimming_is_the_sample_by_sample_machine():
    rng = np.random.default_rng(0)
    levels = (0.0, 0.0003, 0.0009, 0.0011, 0.002, 0.1)
    for _ in range(5):
        wave = np.concatenate([rng.choice(levels) * rng.standard_normal(rng.integers(100, 4_000)) for _ in range(8)])
        np.testing.assert_array_equal(trim_silence(wave), wave[one_by_one(wave.tolist())])


def one_by_one(wave: list[float]) -> list[int]:
    """Indices that remain: the effect as a machine that sees one sample at a time and holds back what it may drop."""
    kept: list[int] = []
    held: list[int] = []
    window: list[float] = []
    copying = False
    for i, sample in enumerate(wave):
        window = [*window[-319:], sample]
        loud = sum(x * x for x in window) / 320 > 0.001**2
        if loud != copying:
            held.append(i)
        else:
            kept += [*held, i] if copying else []
            held = []
        if len(held) == 1_600:
            kept += [] if copying else held
            window = [] if copying else window
            held, copying = [], not copying
    return kept + held if copying else kept


# The mini trials


def test_mini_trials_are_half_target_and_distinct(tmp_path):
    plan = voxceleb.plan(tmp_path, Sizes(celebrities=(2, 4)), np.random.default_rng(0))
    for utterance in plan.utterances:
        write_audio(utterance.path, np.zeros(16, np.float32))
    plan.finish()
    (fold,) = voxceleb1_verification(tmp_path)
    trials = fold["test"]
    assert Counter(trial.label for trial in trials) == {"1": 300, "0": 300}
    assert len({frozenset(trial.id.split()) for trial in trials}) == 600
    for trial in trials:
        left, right = (name.split("/")[0] for name in trial.id.split())
        assert trial.label == ("1" if left == right else "0")
        assert trial.path != trial.other
    assert {item.label for item in fold["train"]}.isdisjoint(trial.path.parts[-3] for trial in trials)
