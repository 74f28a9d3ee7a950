"""Fluent Speech Commands: the reader on a hand-made tree, and the mini corpus read back by it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.audio import AudioError, num_samples, read_audio, write_audio
from tasks.base import CorpusError, Item
from tasks.corpora.fluent_speech_commands import OFFICIAL_COUNTS, fluent_speech_commands, slot_values
from tasks.mini import fluent_speech_commands as mini
from tasks.mini.calibration import Sizes
from tasks.mini.render import render

HEADER = ",path,speakerId,transcription,action,object,location"
ROWS = {
    "train": [
        "0,wavs/speakers/s1/b.wav,s1,Turn on the lights in the kitchen,activate,lights,kitchen",
        '1,wavs/speakers/s1/a.wav,s1,"Well, bring me socks",bring,socks,none',
        "2,wavs/speakers/s2/c.wav,s2,Use German,change language,German,none",
    ],
    "valid": ["0,wavs/speakers/s3/d.wav,s3,Lights in the kitchen,activate,lights,kitchen"],
    "test": [
        "0,wavs/speakers/s4/e.wav,s4,Socks,bring,socks,none",
        "1,wavs/speakers/s4/f.wav,s4,Bring,bring,German,none",
    ],
}


def write_list(root: Path, split: str, rows: list[str], header: str = HEADER) -> None:
    path = root / "fluent_speech_commands_dataset/data" / f"{split}_data.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


@pytest.fixture
def requests(tmp_path):
    for split, rows in ROWS.items():
        write_list(tmp_path, split, rows)
        for row in rows:
            write_audio(tmp_path / "fluent_speech_commands_dataset" / row.split(",")[1], np.zeros(160, np.float32))
    return tmp_path


def error(root: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        fluent_speech_commands(root)
    message = str(caught.value)
    assert "\n" not in message
    assert "Expected fluent_speech_commands_dataset/wavs" in message
    assert message.endswith(f"harness doctor --corpora {root}")
    return message


def test_lists_in_their_order(requests):
    (fold,) = fluent_speech_commands(requests)
    assert {part: [(item.id, item.label) for item in items] for part, items in fold.items()} == {
        "train": [("b", "activate,lights,kitchen"), ("a", "bring,socks,none"), ("c", "change language,German,none")],
        "dev": [("d", "activate,lights,kitchen")],
        "test": [("e", "bring,socks,none"), ("f", "bring,German,none")],
    }
    assert fold["train"][0].path == requests / "fluent_speech_commands_dataset/wavs/speakers/s1/b.wav"
    assert slot_values(fold["train"]) == (
        ("activate", "bring", "change language"),
        ("lights", "socks", "German"),
        ("kitchen", "none"),
    )


def test_slot_values_by_hand():
    items = [Item(str(i), Path(), label) for i, label in enumerate(["b,x,u", "a,x,v", "b,y,u"])]
    assert slot_values(items) == (("b", "a"), ("x", "y"), ("u", "v"))
    assert slot_values([]) == ((), (), ())


def test_official_counts_are_the_protocols():
    assert OFFICIAL_COUNTS == {"train": 23_132, "dev": 3_118, "test": 3_793}


def test_byte_order_mark_is_no_part_of_a_column(requests):
    path = requests / "fluent_speech_commands_dataset/data/test_data.csv"
    path.write_text("\ufeffpath,action,object,location\nwavs/speakers/s4/e.wav,bring,socks,none\n", encoding="utf-8")
    assert [item.id for item in fluent_speech_commands(requests)[0]["test"]] == ["e"]


def test_empty_folder_is_one_error(tmp_path):
    message = error(tmp_path)
    for name in ("train", "valid", "test"):
        assert f"no file fluent_speech_commands_dataset/data/{name}_data.csv" in message


def test_everything_wrong_is_told_at_once(requests):
    more = [
        "3,/etc/passwd.wav,s9,Away,bring,socks,none",
        "4,wavs/../../x.wav,s9,Away,bring,socks,none",
        "5,wavs/speakers/s1/gone.wav,s1,Gone,bring,socks,none",
        "6,wavs/speakers/s1/a.wav,s1,Again,bring,socks,none",
        '7,wavs/speakers/s1/a.wav,s1,Comma,bring,"socks, shoes",none',
        "8,wavs/speakers/s1/a.wav,s1,Short,bring,socks",
        "9,wavs/speakers/s1/a.wav,s1,Empty,bring,,none",
    ]
    write_list(requests, "train", ROWS["train"] + more)
    write_list(requests, "valid", [row.replace("lights", "lamp") for row in ROWS["valid"]])
    write_list(requests, "test", [row.replace("bring", "fetch") for row in ROWS["test"]])
    message = error(requests)
    assert "3 rows of train_data.csv in which a value is missing or holds a comma (row 10, row 8, row 9)" in message
    assert (
        "2 paths in train_data.csv that lead out of fluent_speech_commands_dataset (/etc/passwd.wav, wavs/../../x.wav)"
        in message
    )
    assert "1 paths in train_data.csv without audio (wavs/speakers/s1/gone.wav)" in message
    assert "1 ids that occur more than once (a)" in message
    assert "1 values in valid_data.csv that train_data.csv lacks (object lamp)" in message
    assert "1 values in test_data.csv that train_data.csv lacks (action fetch)" in message


def test_missing_columns_and_empty_lists_are_named(requests):
    write_list(requests, "train", ["0,a.wav,bring"], ",path,action")
    write_list(requests, "valid", [])
    message = error(requests)
    assert "2 columns missing in train_data.csv (location, object)" in message
    assert "no rows in valid_data.csv" in message
    assert "lacks" not in message


def test_a_list_that_is_not_csv_is_named(requests):
    write_list(requests, "valid", ['0,"' + "x" * 200_000])
    assert "valid_data.csv cannot be read as CSV (field larger than field limit (131072))" in error(requests)


def test_corrupt_audio_is_one_clear_error_when_it_is_read(requests):
    item = fluent_speech_commands(requests)[0]["train"][0]
    item.path.write_bytes(b"RIFF no audio")
    with pytest.raises(AudioError, match=r"cannot read .*b\.wav"):
        read_audio(item.path)


def test_audio_of_another_rate_is_read_at_16_khz(requests):
    item = fluent_speech_commands(requests)[0]["train"][0]
    soundfile.write(item.path, np.zeros(800), 8_000)
    assert len(read_audio(item.path)) == 1_600


# The mini corpus


def test_mini_has_the_official_label_space():
    assert len(mini.INTENTS) == 31
    assert [len(set(values)) for values in zip(*mini.INTENTS, strict=True)] == [6, 14, 4]
    phrases = [phrase for phrases in mini.INTENTS.values() for phrase in phrases]
    assert len(set(phrases)) == len(phrases) == 31 * 4
    assert not any("*" in phrase or "," in phrase for phrase in phrases)


def test_mini_is_read_back(tmp_path):
    plan = mini.plan(tmp_path, Sizes(), np.random.default_rng(0))
    for utterance in plan.utterances:
        write_audio(utterance.path, np.zeros(160, np.float32))
    plan.finish()
    (fold,) = fluent_speech_commands(tmp_path)
    assert {part: len(items) for part, items in fold.items()} == {"train": 400, "dev": 90, "test": 150}
    assert [len(values) for values in slot_values(fold["train"])] == [6, 14, 4]
    # 400 = 31 x 12 + 28
    assert Counter(Counter(item.label for item in fold["train"]).values()) == {13: 28, 12: 3}
    speakers = [{item.path.parent.name for item in items} for items in fold.values()]
    assert [len(names) for names in speakers] == [16, 4, 4]
    assert len(set.union(*speakers)) == len(plan.voices) == 24
    said = {utterance.path: utterance.text for utterance in plan.utterances}
    assert all(
        said[item.path] in mini.INTENTS[tuple(item.label.split(","))] for items in fold.values() for item in items
    )


@pytest.mark.slow
def test_mini_lasts_as_long_as_the_official_corpus(tmp_path):
    plan = mini.plan(tmp_path, Sizes(), np.random.default_rng(0))
    render(plan.utterances[::4])
    seconds = [num_samples(utterance.path) / 16_000 for utterance in plan.utterances[::4]]
    assert 1.5 < np.mean(seconds) < 2.5
    assert min(seconds) > 0.5
    assert max(seconds) < 4.0
