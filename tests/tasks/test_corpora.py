"""Readers of the official layouts on small hand-made trees whose totals are counted by hand."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.audio import AudioError, read_audio, write_audio
from tasks.base import CorpusError
from tasks.corpora.iemocap import DIALOGS, iemocap, train_dev_split
from tasks.corpora.librispeech import librispeech
from tasks.corpora.speech_commands import CLASSES, official_part, speech_commands
from tasks.corpora.voxceleb import voxceleb1_identification


def audio(path: Path, samples: int = 160) -> Path:
    write_audio(path, np.zeros(samples, dtype=np.float32))
    return path


def ids(items) -> list[str]:
    return [item.id for item in items]


def error(reader, root: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        reader(root)
    message = str(caught.value)
    assert "\n" not in message
    assert str(root) in message
    assert "Expected" in message
    assert message.endswith(f"harness doctor --corpora {root}")
    return message


READERS = (librispeech, speech_commands, voxceleb1_identification, iemocap)


@pytest.mark.parametrize("reader", READERS)
def test_empty_folder_is_one_error(reader, tmp_path):
    assert "no folder" in error(reader, tmp_path)


CORPORA = {
    "read_speech": librispeech,
    "commands": speech_commands,
    "celebrities": voxceleb1_identification,
    "emotions": iemocap,
}


@pytest.mark.parametrize("corpus", CORPORA)
def test_corrupt_audio_and_another_rate_are_the_audio_doors_business(corpus, request):
    root = request.getfixturevalue(corpus)
    item = CORPORA[corpus](root)[0]["train"][0]
    soundfile.write(item.path, np.zeros(800), 8_000, subtype="PCM_16")
    assert len(read_audio(item.path)) == 1600
    item.path.write_bytes(b"RIFF not audio at all" + bytes(600_000))
    assert item.path in {other.path for other in CORPORA[corpus](root)[0]["train"]}
    with pytest.raises(AudioError, match=f"cannot read .*{item.path.name}"):
        read_audio(item.path)


# LibriSpeech


@pytest.fixture
def read_speech(tmp_path):
    for part, names in {
        "train-clean-100": ["1-2-0001", "1-2-0000", "1-3-0000"],
        "dev-clean": ["4-5-0000"],
        "test-clean": ["6-7-0000", "6-7-0001"],
    }.items():
        for name in names:
            speaker, chapter, _ = name.split("-")
            folder = tmp_path / "LibriSpeech" / part / speaker / chapter
            audio(folder / f"{name}.flac")
            with (folder / f"{speaker}-{chapter}.trans.txt").open("a") as file:
                file.write(f"{name} it's said by {speaker}\n")
    return tmp_path


def test_librispeech_parts_ids_and_transcripts(read_speech):
    (fold,) = librispeech(read_speech)
    assert {part: ids(items) for part, items in fold.items()} == {
        "train": ["1-2-0000", "1-2-0001", "1-3-0000"],
        "dev": ["4-5-0000"],
        "test": ["6-7-0000", "6-7-0001"],
    }
    item = fold["train"][2]
    assert item.label == "IT'S SAID BY 1"
    assert item.path == read_speech / "LibriSpeech/train-clean-100/1/3/1-3-0000.flac"
    assert (item.start, item.samples) == (0, None)


def test_librispeech_tells_everything_missing_at_once(read_speech):
    folder = read_speech / "LibriSpeech"
    shutil.rmtree(folder / "test-clean")
    (folder / "dev-clean/4/5/4-5.trans.txt").write_text("".join(f"4-5-{i:04d} A\n" for i in range(1, 8)))
    message = error(librispeech, read_speech)
    assert "no folder LibriSpeech/test-clean" in message
    assert "7 transcripts of dev-clean without audio (4-5-0001, 4-5-0002, 4-5-0003, 4-5-0004, 4-5-0005, ...)" in message
    assert "1 audio files of dev-clean without transcript (4-5-0000)" in message
    assert "train-clean-100 without" not in message


def test_librispeech_part_without_files_is_an_error(read_speech):
    shutil.rmtree(read_speech / "LibriSpeech/dev-clean/4")
    assert "nothing in dev-clean" in error(librispeech, read_speech)


# Speech Commands


def test_a_corrupt_background_file_is_left_to_the_audio_door(commands):
    path = commands / "speech_commands_v0.01/_background_noise_/long.wav"
    path.write_bytes(b"RIFF")
    (item,) = [item for item in speech_commands(commands)[0]["dev"] if item.path == path]
    assert (item.label, item.start, item.samples) == ("_silence_", 0, 16_000)


def percentage(key: str) -> float:
    """The rule as the corpus's authors give it: SHA-1 of the speaker's key, modulo 2^27, in percent of 2^27 - 1."""
    return (int.from_bytes(hashlib.sha1(key.encode()).digest(), "big") % 134_217_728) * (100.0 / 134_217_727)


KEYS = [f"{i:08x}" for i in range(200)]
TRAIN_KEY = next(key for key in KEYS if percentage(key) >= 20)
DEV_KEY = next(key for key in KEYS if percentage(key) < 10)
DISCARDED_KEY = next(key for key in KEYS if 10 <= percentage(key) < 20)


@pytest.fixture
def commands(tmp_path):
    main, test = tmp_path / "speech_commands_v0.01", tmp_path / "speech_commands_test_set_v0.01"
    words = (
        "yes no up down left right on off stop go bed bird cat dog eight five four happy house marvin nine one seven "
        "sheila six three tree two wow zero"
    )
    for word in words.split():
        audio(main / word / f"{TRAIN_KEY}_nohash_0.wav")
    for name in (f"{DEV_KEY}_nohash_0.wav", f"{DEV_KEY}_nohash_1.wav", f"{DISCARDED_KEY}_nohash_0.wav"):
        audio(main / "yes" / name)
        audio(main / "zero" / name)
    audio(main / "_background_noise_" / "long.wav", 36_000)
    audio(main / "_background_noise_" / "short.wav", 16_000)
    (main / "_background_noise_" / "README.md").write_text("not audio")
    for label in CLASSES:
        audio(test / label / "0.wav")
    audio(test / "yes" / "1.wav")
    return tmp_path


def test_split_rule_by_hashlib():
    for key in KEYS:
        expected = "dev" if percentage(key) < 10 else "discarded" if percentage(key) < 20 else "train"
        assert official_part(f"{key}_nohash_3.wav") == expected


def test_speech_commands_parts_and_classes(commands):
    (fold,) = speech_commands(commands)
    silence = [
        f"_background_noise_/{name}" for name in ("long.wav@0", "long.wav@8000", "long.wav@16000", "short.wav@0")
    ]
    assert ids(fold["train"])[30:] == ids(fold["dev"])[4:] == silence
    assert ids(fold["dev"])[:4] == [f"{word}/{DEV_KEY}_nohash_{n}.wav" for word in ("yes", "zero") for n in (0, 1)]
    assert [item.label for item in fold["dev"]] == ["yes", "yes", "_unknown_", "_unknown_"] + ["_silence_"] * 4
    labels = [item.label for item in fold["train"]]
    assert [labels.count(label) for label in CLASSES] == [1] * 10 + [20, 4]
    assert {(item.start, item.samples) for item in fold["train"][:30]} == {(0, None)}
    assert [(item.start, item.samples) for item in fold["train"][30:]] == [
        (0, 16_000),
        (8_000, 16_000),
        (16_000, 16_000),
        (0, 16_000),
    ]
    assert ids(fold["test"])[:3] == ["yes/0.wav", "yes/1.wav", "no/0.wav"]
    assert [item.label for item in fold["test"]] == ["yes", *CLASSES]


def test_speech_commands_class_order_is_the_protocols():
    assert " ".join(CLASSES) == "yes no up down left right on off stop go _unknown_ _silence_"


def test_speech_commands_tells_everything_missing_at_once(commands):
    main = commands / "speech_commands_v0.01"
    shutil.rmtree(main / "bird")
    shutil.rmtree(commands / "speech_commands_test_set_v0.01")
    (main / "cat" / f"{TRAIN_KEY}_nohash_0.wav").unlink()
    audio(main / "backward" / "a_nohash_0.wav")
    message = error(speech_commands, commands)
    assert "no folder speech_commands_v0.01/bird" in message
    assert "1 folders of speech_commands_v0.01 without any .wav (cat)" in message
    assert "1 folders in speech_commands_v0.01 that v0.01 does not have (backward)" in message
    assert "no folder speech_commands_test_set_v0.01" in message


# VoxCeleb1


@pytest.fixture
def celebrities(tmp_path):
    folder = tmp_path / "VoxCeleb1"
    audio(folder / "dev/wav/id10001/abc/00001.wav", 160_000)
    audio(folder / "dev/wav/id10001/abc/00002.wav", 128_000)
    audio(folder / "dev/wav/id10001/def/00001.wav", 160_000)
    audio(folder / "test/wav/id10001/ghi/00001.wav")
    (folder / "iden_split.txt").write_text(
        "1 id10001/abc/00001.wav\n1 id10001/abc/00002.wav\n2 id10001/def/00001.wav\n3 id10001/ghi/00001.wav\n"
    )
    return tmp_path


def test_voxceleb_parts_speakers_and_stretches(celebrities):
    (fold,) = voxceleb1_identification(celebrities)
    # 10 s hold four stretches of 8 s from 0 to 32 000 in equal steps; exactly 8 s is one, and so are dev and test.
    stretch = [(item.id, item.start, item.samples) for item in fold["train"]]
    assert stretch == [
        ("id10001/abc/00001.wav@0", 0, 128_000),
        ("id10001/abc/00001.wav@10667", 10_667, 128_000),
        ("id10001/abc/00001.wav@21333", 21_333, 128_000),
        ("id10001/abc/00001.wav@32000", 32_000, 128_000),
        ("id10001/abc/00002.wav", 0, None),
    ]
    assert [(item.id, item.samples) for item in fold["dev"]] == [("id10001/def/00001.wav", None)]
    assert [item.label for part in fold.values() for item in part] == ["id10001"] * 7
    assert fold["test"][0].path == celebrities / "VoxCeleb1/test/wav/id10001/ghi/00001.wav"


def test_voxceleb_tells_everything_wrong_at_once(celebrities):
    folder = celebrities / "VoxCeleb1"
    shutil.rmtree(folder / "test")
    audio(folder / "dev/wav/id10001/def/00009.wav")
    with (folder / "iden_split.txt").open("a") as file:
        file.write("4 id10001/abc/00003.wav\n")
    message = error(voxceleb1_identification, celebrities)
    assert "no folder VoxCeleb1/test/wav" in message
    assert "1 unreadable lines in iden_split.txt (4 id10001/abc/00003.wav)" in message
    assert "1 utterances of iden_split.txt without audio (id10001/ghi/00001.wav)" in message
    assert "1 audio files that iden_split.txt does not list (id10001/def/00009.wav)" in message


def test_voxceleb_without_its_list_is_an_error(celebrities):
    (celebrities / "VoxCeleb1/iden_split.txt").unlink()
    message = error(voxceleb1_identification, celebrities)
    assert "no file VoxCeleb1/iden_split.txt" in message
    assert "does not list" not in message


# IEMOCAP

LABELS = {"F_script02_2": ["neu", "exc"], "F_impro07": ["ang", "xxx", "sad"]}  # official order; not the alphabet's


@pytest.fixture
def emotions(tmp_path):
    for session in range(1, 6):
        folder = tmp_path / "IEMOCAP_full_release" / f"Session{session}"
        for dialog, labels in LABELS.items():
            name = f"Ses{session:02d}{dialog}"
            lines = ["% [START - END] TURN EMOTION [V, A, D]", ""]
            for turn, label in reversed(list(enumerate(labels))):
                audio(folder / "sentences/wav" / name / f"{name}_F{turn:03d}.wav")
                lines += [f"[1.0 - 2.0]\t{name}_F{turn:03d}\t{label}\t[2.5, 2.5, 2.5]", f"C-E2:\t{label};\t()"]
            path = folder / "dialog/EmoEvaluation" / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines))
        (folder / "dialog/EmoEvaluation" / "._hidden.txt").write_bytes(b"\xff\xfe")
    return tmp_path


def official_order(session: int) -> list[str]:
    """Utterances of the four classes in one session of the tree, in the order of the official dialogs."""
    found = [dialog for dialog in DIALOGS[session].split() if dialog in LABELS]
    kept = {"F_script02_2": ["F000", "F001"], "F_impro07": ["F000", "F002"]}
    return [f"Ses{session:02d}{dialog}_{turn}" for dialog in found for turn in kept[dialog]]


def test_iemocap_folds_order_and_labels(emotions):
    folds = iemocap(emotions)
    assert len(folds) == 5
    assert ids(folds[0]["test"]) == [
        "Ses01F_script02_2_F000",
        "Ses01F_script02_2_F001",
        "Ses01F_impro07_F000",
        "Ses01F_impro07_F002",
    ]
    assert [item.label for item in folds[0]["test"]] == ["neu", "hap", "ang", "sad"]
    for session, fold in enumerate(folds, start=1):
        assert ids(fold["test"]) == official_order(session)
        others = [name for k in range(1, 6) if k != session for name in official_order(k)]
        assert len(fold["train"]) == 12  # int(0.8 x 16)
        assert sorted(ids(fold["train"] + fold["dev"])) == sorted(others)


def test_iemocap_split_is_torchs_random_split_of_the_ordered_list(emotions):
    import torch

    ordered = [name for k in (2, 3, 4, 5) for name in official_order(k)]
    train, dev = torch.utils.data.random_split(ordered, [12, 4], torch.Generator().manual_seed(0))
    fold = iemocap(emotions)[0]
    assert ids(fold["train"]) == list(train)
    assert ids(fold["dev"]) == list(dev)


@pytest.mark.parametrize(
    ("size", "train", "first"),
    [
        (4_446, 3_556, [224, 1110, 4359, 1515, 2505]),
        (4_508, 3_606, [2020, 562, 1771, 1243, 3815]),
        (4_380, 3_504, [4004, 4247, 685, 3129, 2991]),
        (4_500, 3_600, [44, 3198, 3747, 771, 2711]),
        (4_290, 3_432, [4124, 1899, 1847, 3405, 2103]),
    ],
)
def test_split_of_the_official_list_sizes(size, train, first):
    """Sizes and first indices of the five folds as superb-protocol 2.10 gives them."""
    chosen, rest = train_dev_split(range(size))
    assert (len(chosen), len(rest)) == (train, size - train)
    assert chosen[:5] == first


def test_dialog_lists_have_the_official_lengths():
    # 151 dialogs in all; session 5 alone has script01_1b, session 3 alone impro05a/b and impro08a/b.
    assert [len(set(DIALOGS[k].split())) for k in range(1, 6)] == [28, 30, 32, 30, 31]
    assert all(len(names.split()) == len(set(names.split())) for names in DIALOGS.values())


def test_iemocap_tells_everything_wrong_at_once(emotions):
    folder = emotions / "IEMOCAP_full_release"
    shutil.rmtree(folder / "Session5")
    audio(folder / "Session1/sentences/wav/Ses01F_impro99/Ses01F_impro99_F000.wav")
    (folder / "Session2/sentences/wav/Ses02F_impro07/Ses02F_impro07_F000.wav").unlink()
    message = error(iemocap, emotions)
    assert "no folder IEMOCAP_full_release/Session5/sentences/wav" in message
    assert "no folder IEMOCAP_full_release/Session5/dialog/EmoEvaluation" in message
    assert "1 dialogs of Session1 unknown to the official lists (Ses01F_impro99)" in message
    assert "1 audio files of Session1 without label (Ses01F_impro99_F000)" in message
    assert "1 labels of Session2 without audio (Ses02F_impro07_F000)" in message


def test_iemocap_session_without_files_is_an_error(emotions):
    session = emotions / "IEMOCAP_full_release/Session3"
    shutil.rmtree(session / "sentences/wav")
    shutil.rmtree(session / "dialog/EmoEvaluation")
    (session / "sentences/wav").mkdir()
    (session / "dialog/EmoEvaluation").mkdir()
    assert "nothing in Session3" in error(iemocap, emotions)


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_shadow_files_of_a_mac_are_no_audio(corpus, request):
    root = request.getfixturevalue(corpus)
    before = CORPORA[corpus](root)
    for path in [path for pattern in ("*.wav", "*.flac") for path in root.rglob(pattern)]:
        path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")
    assert CORPORA[corpus](root) == before
