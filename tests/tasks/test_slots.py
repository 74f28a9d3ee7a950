"""Slot filling: vocabulary, encoding and scores, by hand and against S3PRL's encoder and metrics."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.slot_metrics import slot_type_f1, slot_value_edits
from tasks.slots import decode, encode, vocabulary

SLOTS = ("artist", "playlist", "playlist_owner")


def levenshtein(first: str, second: str) -> int:
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        above = row
        row = [i]
        for j, b in enumerate(second, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]


@pytest.fixture(scope="module")
def s3prl():
    """S3PRL's metrics; its package for edit distances, which is not among ours, is replaced by the function above."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "editdistance", SimpleNamespace(eval=levenshtein))
        from s3prl.metric import slot_filling
    return slot_filling


# Vocabulary, encoding, decoding


def test_vocabulary_has_31_symbols_and_a_pair_for_each_slot():
    symbols = vocabulary(SLOTS)
    assert symbols[:4] == ("<pad>", "<eos>", "<unk>", " ")
    assert "".join(symbols[4:31]) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
    assert symbols[31:] == ("B-artist", "E-artist", "B-playlist", "E-playlist", "B-playlist_owner", "E-playlist_owner")
    assert len(vocabulary(tuple(f"slot{i}" for i in range(39)))) == 109


def test_encoding_by_hand():
    # blank 3, A 4, B 5, ..., apostrophe 30; the slots from 31
    assert encode("B A", SLOTS) == [5, 3, 4, 1]
    assert encode("B B-artist A A E-artist B-playlist C' E-playlist", SLOTS) == [
        5,
        3,
        31,
        4,
        3,
        4,
        32,
        3,
        33,
        6,
        30,
        34,
        1,
    ]
    assert encode("A<unk>B a é", SLOTS) == [4, 2, 5, 3, 2, 3, 2, 1]
    assert encode("", SLOTS) == [1]


def test_tag_of_an_unknown_slot_is_refused():
    with pytest.raises(
        ValueError, match=r"cannot encode 'B-track' in 'B-track A E-track': expected tags of the slots ar"
    ):
        encode("B-track A E-track", SLOTS)


def test_decoding_by_hand():
    # repeats merged before blanks go, so that "A" twice needs a blank of CTC between
    assert decode([0, 4, 4, 0, 4, 3, 0, 3, 31, 31, 5, 32, 1, 1, 0], SLOTS) == "AA B-artist B E-artist"
    # <eos> in the middle is dropped, a tag without its partner stays, blanks at the ends go; "B-x" brings the blank
    # after it and "E-x" the one before it, the others are outputs of their own
    assert decode([3, 34, 4, 1, 5, 33, 3], SLOTS) == "E-playlistABB-playlist"
    assert decode([2, 4], SLOTS) == "<unk>A"
    assert decode([0, 1, 0], SLOTS) == ""


WORDS = st.lists(st.sampled_from([*"ABEOZ'", "<unk>"]), min_size=1, max_size=6).map("".join)
PHRASES = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
SPANS = st.tuples(st.sampled_from(SLOTS), PHRASES).map(lambda span: f"B-{span[0]} {span[1]} E-{span[0]}")
LABELS = st.lists(PHRASES | SPANS, max_size=5).map(" ".join)


@given(LABELS)
@example("B-artist A E-artist B-artist A E-artist")
def test_frames_of_the_target_decode_to_the_label(label):
    frames = [index for target in encode(label, SLOTS) for index in (target, target, 0)]
    assert decode(frames, SLOTS) == label


SPELT = st.text("ABZ'aé1-&", min_size=1, max_size=4).filter(lambda word: word != "-")  # "-" alone is skipped


@given(st.lists(st.tuples(SPELT, st.sampled_from(["O", *SLOTS])), min_size=1))
@example([("&", "artist")])
def test_encoding_and_decoding_are_s3prls(pairs):
    from s3prl.downstream.ctc.text import CharacterTextSlotEncoder

    from tasks.corpora.snips import tagged_text

    words, tags = zip(*pairs, strict=True)
    symbols = vocabulary(SLOTS)
    official = CharacterTextSlotEncoder(list(symbols[3:31]), list(symbols[31:]))
    targets = official.encode(f"BOS {' '.join(words)} EOS\tO {' '.join(tags)} intent")
    label = tagged_text(words, tags)
    assert encode(label, SLOTS) == targets
    assert official.decode(targets) == label


# Scores

# reference, hypothesis, F1 of slot types, edits in the values, characters of the reference's values
CASES = [
    ("PLAY MUSIC", "PLAY IT", 1.0, 0, 0),
    ("PLAY MUSIC", "", 1.0, 0, 0),
    ("PLAY MUSIC", "B-artist MUSIC E-artist", 0.0, 0, 0),  # spurious slots cost nothing in the CER
    ("PLAY B-artist ABBA E-artist", "", 0.0, 4, 4),
    ("PLAY B-artist ABBA E-artist", "B-artist ABBA", 0.0, 4, 4),
    ("PLAY B-artist ABBA E-artist", "B-artist ABA E-artist B-city X E-city", 2 / 3, 1, 4),
    # one of two slots found: P 1, R 1/2
    ("B-artist ABBA E-artist B-city ROME E-city", "B-artist ABBA E-artist ROME", 2 / 3, 4, 8),
    # the same slot twice is one type; both values are compared with the nearest, ROM for ROME, ROM for BONN
    ("B-city ROME E-city TO B-city BONN E-city", "B-city ROM E-city", 1.0, 1 + 3, 8),
    # several candidates: the nearest of them, wherever it stands
    ("B-city ROME E-city", "B-city BONN E-city OR B-city ROME E-city", 1.0, 0, 4),
    # a span inside another is lost, and its tags are not part of the outer value
    ("B-artist AB CD E-artist", "B-artist AB B-city CD E-city E-artist", 1.0, 0, 5),
    # blanks are collapsed before the slots are looked for
    ("B-city NEW  YORK E-city", "B-city  NEW YORK   E-city", 1.0, 0, 8),
    # an empty value is no slot
    ("B-city ROME E-city", "B-city  E-city", 0.0, 4, 4),
    # a closing tag of another slot does not close, one that only begins alike does, as in the official pattern
    ("B-playlist AB E-playlist", "B-playlist AB E-artist", 0.0, 2, 2),
    ("B-playlist AB E-playlist", "B-playlist AB E-playlist_owner", 1.0, 0, 2),
    # a letter that follows a closing tag inside a value goes with it
    ("B-artist AB E-artist", "B-artist AB E-cityCD E-artist", 1.0, 0, 2),
    # 101 edits for one character are no better than nothing; 99 are
    ("B-city A E-city", f"B-city {'B' * 101} E-city", 1.0, 1, 1),
    ("B-city A E-city", f"B-city {'B' * 99} E-city", 1.0, 99, 1),
]


@pytest.mark.parametrize(("reference", "hypothesis", "f1", "edits", "characters"), CASES)
def test_scores_by_hand(reference, hypothesis, f1, edits, characters):
    assert slot_type_f1([reference], [hypothesis]) == pytest.approx([f1])
    assert [list(values) for values in slot_value_edits([reference], [hypothesis])] == [[edits], [characters]]


def test_hand_worked_cases_are_s3prls_too(s3prl):
    references, hypotheses, f1s, edits, characters = zip(*CASES, strict=True)
    assert s3prl.slot_type_f1(list(hypotheses), list(references)) == pytest.approx(np.mean(f1s))
    assert s3prl.slot_value_cer(list(hypotheses), list(references)) == pytest.approx(sum(edits) / sum(characters))
    assert slot_type_f1(references, hypotheses).mean() == pytest.approx(np.mean(f1s))
    ours = slot_value_edits(references, hypotheses)
    assert (ours[0].tolist(), ours[1].tolist()) == (list(edits), list(characters))


PIECES = st.sampled_from([*(f"{edge}-{slot}" for slot in SLOTS for edge in "BE"), "A", "AB", "CA", "A B", "", "<unk>"])
# What a network may print: any order of tags, with or without the blanks around them.
HYPOTHESES = st.lists(st.tuples(PIECES, st.sampled_from([" ", " ", ""])).map("".join), max_size=12).map("".join)


@given(st.lists(st.tuples(LABELS, LABELS | HYPOTHESES), min_size=1, max_size=4))
def test_scores_are_s3prls(s3prl, pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    assert slot_type_f1(references, hypotheses).mean() == pytest.approx(s3prl.slot_type_f1(hypotheses, references))
    edits, characters = slot_value_edits(references, hypotheses)
    if characters.sum():
        assert edits.sum() / characters.sum() == pytest.approx(s3prl.slot_value_cer(hypotheses, references))


@pytest.mark.parametrize("score", [slot_type_f1, slot_value_edits])
@pytest.mark.parametrize(("references", "hypotheses"), [([], []), (["A"], []), (["A"], ["A", "B"])])
def test_unequal_or_no_texts_are_refused(score, references, hypotheses):
    with pytest.raises(ValueError, match=f"{len(hypotheses)} hypotheses against {len(references)} references"):
        score(references, hypotheses)
