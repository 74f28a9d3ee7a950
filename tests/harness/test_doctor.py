"""The environment as it is and with one thing wrong, and folders of corpora whose counts follow from their sizes."""

import json
import shutil
import sys
from collections import namedtuple
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from harness import doctor
from harness.cli import main
from harness.doctor import Check, check_corpora, check_environment, lines
from harness.progress import Stages
from tasks.corpora import iemocap, librispeech, speech_commands, voxceleb, voxceleb_verification
from tasks.mini import render
from tasks.mini.calibration import Sizes
from tasks.mini.suite import write_suite
from tasks.registry import TASKS


@pytest.fixture(scope="module")
def small(tiny_sizes) -> Sizes:
    return replace(
        tiny_sizes,
        read_sentences=(4, 3, 2),
        discarded_clips=1,
        celebrities=(4, 2),
        celebrity_clips=(3, 1, 1),
        trials=6,
        intent_clips=(4, 3, 2),
        mixtures=(1, 2, 1),
    )


@pytest.fixture(scope="module")
def suite(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite") / "mini"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "SHARDS", 2)
        write_suite(folder, small, workers=2)
    return folder


@pytest.fixture
def official(suite, tmp_path):
    """The same files in a folder that does not say that they are synthetic."""
    return shutil.copytree(suite, tmp_path / "corpora", ignore=shutil.ignore_patterns("mini.json"))


def corpora(root, status=None):
    """What the doctor says about each task, in its order."""
    checks = check_corpora(root, Stages())[1:]
    return [(check.about.split()[0], check.found) for check in checks if status in (None, check.status)]


def named(checks):
    return {check.about: check for check in checks}


# Environment


def test_environment_of_the_tests():
    checks = named(check_environment())
    assert [check for check in checks.values() if check.status == "problem"] == []
    assert [checks[name].found for name in ("click", "numpy")] == [version("click"), version("numpy")]
    assert {"Python", "torch", "torch, torchaudio", "eSpeak NG", "machine", "disk", "CUDA"} <= checks.keys()
    assert "pytest" not in checks


def test_packages_that_are_absent_or_of_another_version(monkeypatch):
    declared = ["no-such-package>=1", "click>=8.1,<8.2", "rich", 'no-such-extra>=1; extra == "dev"']
    monkeypatch.setattr(doctor, "requires", lambda name: declared)
    monkeypatch.setattr(doctor, "version", lambda name: {"click": "7.0", "rich": "15.0"}.get(name) or version(name))
    checks = named(check_environment())
    assert checks["no-such-package"] == Check(
        "no-such-package", "problem", "not installed, expected >=1", "pip install 'no-such-package>=1'"
    )
    assert checks["click"].found == "7.0, expected <8.2,>=8.1" and checks["click"].status == "problem"
    assert checks["rich"] == Check("rich", "ok", "15.0")
    assert "no-such-extra" not in checks


def test_python_of_another_version(monkeypatch):
    monkeypatch.setattr(doctor, "metadata", lambda name: {"Requires-Python": ">=3.11,<3.13"})
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.10.2")
    check = named(check_environment())["Python"]
    assert check.status == "problem" and check.found == "3.10.2, expected >=3.11,<3.13"
    assert check.cure.startswith("install a Python >=3.11,<3.13")


@pytest.mark.parametrize(("torchaudio", "status"), [("2.11.0+cu130", "ok"), ("2.11.0+cpu", "problem")])
def test_torch_and_torchaudio_of_two_builds(monkeypatch, torchaudio, status):
    monkeypatch.setattr("torch.__version__", "2.11.0+cu130")
    monkeypatch.setattr("torchaudio.__version__", torchaudio)
    assert named(check_environment())["torch, torchaudio"].status == status


def test_libraries_that_do_not_load(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    monkeypatch.setattr("espeakng_loader.get_library_path", lambda: str(tmp_path / "libespeak-ng.so"))
    checks = named(check_environment())
    assert "torchaudio" in checks["torch, torchaudio"].found and checks["torch, torchaudio"].status == "problem"
    assert "libespeak-ng.so" in checks["eSpeak NG"].found and checks["eSpeak NG"].cure == doctor.REPAIR


def test_espeak_without_voices(monkeypatch, tmp_path):
    monkeypatch.setattr("espeakng_loader.get_data_path", lambda: str(tmp_path / "voices"))
    assert named(check_environment())["eSpeak NG"].found == f"no voices in {tmp_path / 'voices'}"


def test_a_full_disk_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not there yet"))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: namedtuple("Usage", "total used free")(0, 0, 2**29))
    check = named(check_environment())["disk"]
    assert (check.status, check.found) == ("warning", f"0.5 GiB free in {tmp_path}")


# Corpora


def test_the_mini_suite_passes(suite):
    result = CliRunner().invoke(main, ["doctor", "--corpora", str(suite)])
    assert result.exit_code == 0, result.stdout
    assert f"{suite} (mini (synthetic speech): not compared with the official counts)" in result.stdout
    assert result.stdout.endswith("0 problems, 0 warnings\n")
    assert "read er: IEMOCAP" in result.stderr
    # Of an emotion dialog's nine turns one has a label that is dropped: four sessions of 8 are split into 25 and 7.
    assert [found for found in corpora(suite) if found[0] not in ("ks", "asv")] == [
        ("pr", "train 4, dev 3, test 2"),
        ("asr", "as for pr"),
        ("qbe", "documents 3, dev queries 1, test queries 1"),
        ("qbe", "3 of 3 files tried are at 8000 Hz: resampled to 16000 Hz"),
        ("sid", "train 18, dev 6, test 6"),
        ("sd", "train 1, dev 2, test 1"),
        ("ic", "train 4, dev 3, test 2"),
        ("sf", "train 8, dev 4, test 4"),
        ("er", "train 25 25 25 25 25, dev 7 7 7 7 7, test 8 8 8 8 8"),
    ]


def test_stretches_of_one_file_are_one_example_and_trials_are_counted(suite, small):
    found = dict(corpora(suite))
    words = len(list((suite / "speech_commands_v0.01").glob("[!_]*/*.wav")))
    noises = len(list((suite / "speech_commands_v0.01/_background_noise_").glob("*.wav")))
    parts = dict(part.rsplit(" ", 1) for part in found["ks"].split(", "))
    assert int(parts["train"]) + int(parts["dev"]) == words - small.discarded_clips + 2 * noises
    assert int(parts["test"]) == 12 * small.command_test_clips
    # Of the four speakers with five files each two are held out, which gives all pairs of ten files.
    assert found["asv"] == "train 10, dev trials 45, test trials 6"


def test_json_has_counts_and_no_text(suite):
    checks = json.loads(CliRunner().invoke(main, ["doctor", "--corpora", str(suite), "--json"]).stdout)
    found = {check["about"].split()[0]: check["counts"] for check in checks if check["counts"]}
    assert set(found) == set(TASKS)
    assert found["pr"] == found["asr"] == [{"train": 4, "dev": 3, "test": 2}]
    assert found["er"] == [{"train": 25, "dev": 7, "test": 8}] * 5
    assert all(check["status"] == "ok" for check in checks)


def test_other_counts_than_the_official_are_warnings(official):
    result = CliRunner().invoke(main, ["doctor", "--corpora", str(official)])
    assert result.exit_code == 0
    assert f"{official} (compared with the official corpora)" in result.stdout
    assert doctor.OTHER_SIZE in result.stdout and "0 problems, 43 warnings" in result.stdout
    told = corpora(official, "warning")
    words = len(list((official / "speech_commands_v0.01").glob("[!_]*/*.wav")))
    for warning in (
        ("pr", "4 in train, officially 28539"),
        ("asr", "as for pr"),
        ("ks", "24 in test, officially 3081"),
        ("ks", f"{words} clips in the main archive, officially 64721"),
        ("sid", "6 speakers in train, officially 1251"),
        ("asv", "4 speakers in train and dev, officially 1211"),
        ("qbe", "3 in documents, officially 2438"),
        ("sid", "18 in train, officially 138361"),
        ("asv", "6 in test, officially 37720"),
        ("sf", "8 in train, officially 104672"),
        ("er", "fold 5: 8 in test, officially 1241"),
    ):
        assert warning in told
    assert len([task for task, _ in told if task == "er"]) == 15


def test_everything_missing_is_told_once_with_its_cure(official):
    for name in ("LibriSpeech/dev-clean", "speech_commands_test_set_v0.01", "VoxCeleb1/test", "SNIPS/valid"):
        shutil.rmtree(official / name)
    for name in ("LibriSpeech/librispeech-lexicon-200k-g2p.txt", "VoxCeleb1/veri_test.txt", "SNIPS/slots.txt"):
        (official / name).unlink()
    problems = corpora(official, "problem")
    unheard = next(found for _, found in problems if "iden_split.txt" in found)
    assert unheard.startswith("10 utterances of iden_split.txt without audio (")  # two speakers with five files each
    assert problems == [
        ("pr", "no file LibriSpeech/librispeech-lexicon-200k-g2p.txt"),
        ("asr", "no folder LibriSpeech/dev-clean"),
        ("ks", "no folder speech_commands_test_set_v0.01"),
        ("sid", "no folder VoxCeleb1/test/wav"),
        ("sid", unheard),
        ("asv", "no file VoxCeleb1/veri_test.txt"),
        ("asv", "as for sid"),
        ("sf", "no file SNIPS/slots.txt"),
        ("sf", "no folder SNIPS/valid"),
    ]
    result = CliRunner().invoke(main, ["doctor", "--corpora", str(official)])
    assert result.exit_code == 2 and "9 problems" in result.stdout
    for layout in (librispeech.LAYOUT, speech_commands.LAYOUT, voxceleb.LAYOUT, voxceleb_verification.LAYOUT):
        assert result.stdout.count(f"-> Expected {layout}. Unpack the official archives in {official}\n") == 1
    assert f"with lines 'WORD phones'. Put them into {official / 'LibriSpeech'}" in result.stdout


def test_a_broken_mini_suite_is_to_be_written_again(suite, tmp_path):
    copy = shutil.copytree(suite, tmp_path / "mini")
    shutil.rmtree(copy / "IEMOCAP_full_release/Session2/sentences")
    (check,) = [check for check in check_corpora(copy, Stages()) if check.status == "problem"]
    assert check == Check(
        "er (IEMOCAP)", "problem", "no folder IEMOCAP_full_release/Session2/sentences/wav", doctor.SUITE_CURE
    )


def test_audio_that_cannot_be_used_or_has_another_rate(official):
    first = sorted((official / "LibriSpeech/test-clean").rglob("*.flac"))[0]
    first.write_bytes(b"fLaC and no more")
    other = sorted((official / "LibriSpeech/dev-clean").rglob("*.flac"))[0]
    soundfile.write(other, np.full(44_100, 0.1), 44_100, subtype="PCM_16")
    shown = corpora(official)
    (broken,) = [found for task, found in shown if task == "pr" and str(first) in found]
    assert broken.startswith("cannot read")
    assert ("pr", "1 of 3 files tried are at 44100 Hz: resampled to 16000 Hz") in shown
    assert [task for task, _ in corpora(official, "problem")] == ["pr", "asr"]
    result = CliRunner().invoke(main, ["doctor", "--corpora", str(official)])
    assert result.exit_code == 2 and f"-> {doctor.ARCHIVE_CURE}\n" in result.stdout


def test_a_list_that_is_no_text_is_a_problem(official):
    path = next((official / "LibriSpeech/train-clean-100").rglob("*.trans.txt"))
    path.write_bytes(b"\xff\xfe\x00")
    problems = corpora(official, "problem")
    assert [task for task, _ in problems] == ["pr", "pr", "pr", "asr"] and "transcript" in problems[0][1]
    assert problems[2][1].startswith("1 text files that are not UTF-8 (LibriSpeech/train-clean-100/")
    assert problems[3] == ("asr", "as for pr")


def test_a_library_missing_for_one_task_leaves_the_others(suite, monkeypatch):
    def missing(root):
        raise ImportError("No module named 'torch'")

    load = doctor.load_task
    monkeypatch.setattr(
        doctor, "load_task", lambda name: replace(load(name), folds=missing) if name == "er" else load(name)
    )
    assert corpora(suite, "problem") == [("er", "not read: No module named 'torch'")]


def test_a_library_missing_for_all(suite, monkeypatch):
    monkeypatch.setitem(sys.modules, "tasks.mini.suite", None)
    (check,) = check_corpora(suite, Stages())
    assert check.status == "problem" and check.found.startswith(f"{suite} is not read: ") and check.cure


def test_a_folder_that_is_not_there(tmp_path):
    result = CliRunner().invoke(main, ["doctor", "--corpora", str(tmp_path / "none")])
    assert (
        result.exit_code == 2 and "expected the one that holds LibriSpeech, VoxCeleb1 and the others" in result.stderr
    )


def test_official_counts_are_the_protocols():
    assert librispeech.OFFICIAL_COUNTS == {"train": 28_539, "dev": 2_703, "test": 2_620}
    assert voxceleb.OFFICIAL_COUNTS == {"train": 138_361, "dev": 6_904, "test": 8_251}
    assert voxceleb_verification.OFFICIAL_COUNTS == {"test": 2 * 18_860}
    assert speech_commands.OFFICIAL_COUNTS == {"test": 3_081}
    folds = iemocap.OFFICIAL_COUNTS
    assert [fold["train"] + fold["dev"] for fold in folds] == [4_446, 4_508, 4_380, 4_500, 4_290]
    assert all(fold["train"] == int(0.8 * (fold["train"] + fold["dev"])) for fold in folds)
    assert sum(fold["test"] for fold in folds) == 5_531 and all(sum(fold.values()) == 5_531 for fold in folds)


def test_a_cure_is_shown_once_for_neighbours():
    checks = [
        Check("a", "problem", "no x", "do x"),
        Check("a", "problem", "no y", "do x"),
        Check("bb", "problem", "no z", "do x"),
        Check("bb", "warning", "few"),
        Check("bb", "ok", "fine"),
    ]
    assert lines(checks) == [
        "problem  a   no x",
        "problem  a   no y",
        "             -> do x",
        "problem  bb  no z",
        "             -> do x",
        "warning  bb  few",
        "ok       bb  fine",
        "3 problems, 1 warnings",
    ]
