"""Text encoders and CTC decoding on drawn inputs."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tasks.text import (
    CHARACTERS,
    PHONEMES,
    collapse,
    decode_characters,
    decode_phonemes,
    encode_characters,
    encode_phonemes,
)

SPOKEN = st.lists(st.sampled_from(PHONEMES[2:]), max_size=8)
WRITTEN = st.lists(st.text("ABCXYZ'", min_size=1, max_size=5), max_size=4)
FRAMES = st.lists(st.integers(0, 3), max_size=20)


@st.composite
def paths(draw: st.DrawFn, target: list[int]) -> list[int]:
    """Frames that CTC takes for the target: repeats, and blanks anywhere, at least between equal neighbours."""
    frames = [0] * draw(st.integers(0, 2))
    for before, index in pairwise([None, *target]):
        frames += [0] * draw(st.integers(int(before == index), 2))
        frames += [index] * draw(st.integers(1, 3))
    return frames + [0] * draw(st.integers(0, 2))


@given(SPOKEN, st.data())
def test_phonemes_come_back_from_every_path(phonemes: list[str], data: st.DataObject) -> None:
    target = encode_phonemes(" ".join(phonemes))
    assert len(target) == len(phonemes) + 1 and target[-1] == PHONEMES.index("<eos>")
    assert decode_phonemes(data.draw(paths(target))) == " ".join(phonemes)


@given(WRITTEN, st.data())
def test_words_come_back_from_every_path(words: list[str], data: st.DataObject) -> None:
    target = encode_characters("  ".join(words).lower())
    assert len(target) == sum(len(word) + 1 for word in words) + 1
    assert decode_characters(data.draw(paths(target))) == " ".join(words)


@given(st.text(max_size=30))
def test_any_text_is_encoded_and_what_is_strange_is_unknown(text: str) -> None:
    spelt = "".join(f"{word}|" for word in text.upper().split())
    *indices, last = encode_characters(text)
    assert CHARACTERS[last] == "</s>" and len(indices) == len(spelt)
    for symbol, index in zip(spelt, indices, strict=True):
        assert CHARACTERS[index] == (symbol if symbol in "|ABCDEFGHIJKLMNOPQRSTUVWXYZ'" else "<unk>")
    *indices, last = encode_phonemes(text)
    assert PHONEMES[last] == "<eos>" and len(indices) == len(text.split())
    for symbol, index in zip(text.split(), indices, strict=True):
        assert PHONEMES[index] == (symbol if symbol in PHONEMES else "<unk>")


@given(FRAMES)
def test_collapsing_is_one_frame_after_another(frames: list[int]) -> None:
    expected, before = [], 0
    for frame in frames:
        if frame not in (0, before):
            expected.append(frame)
        before = frame
    assert collapse(frames) == expected
    assert len(collapse(frames)) <= len(frames) and 0 not in collapse(frames)


@given(FRAMES, st.integers(0, 20), st.integers(0, 20))
def test_repeats_and_blanks_between_others_change_nothing(frames: list[int], place: int, other: int) -> None:
    place, other = min(place, len(frames)), min(other, len(frames))
    repeated = [*frames[: other + 1], *frames[other:]]
    assert collapse(repeated) == collapse(frames)
    if place in (0, len(frames)) or frames[place - 1] != frames[place]:
        assert collapse([*frames[:place], 0, *frames[place:]]) == collapse(frames)
    elif frames[place]:
        assert len(collapse([*frames[:place], 0, *frames[place:]])) == len(collapse(frames)) + 1
