"""Spoken words with slot tags: the output vocabulary of slot filling, encoding and decoding (superb-protocol 2.9).

A tagged text looks like "PLAY B-artist MADONNA E-artist NOW"; a slot's name is x in "B-x" before its first and "E-x"
after its last word. Slots are given in the order of the corpus's list of slots.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from string import ascii_uppercase

from tasks.text import collapse

UNKNOWN = "<unk>"
LETTERS = frozenset(ascii_uppercase + "'")
# The blank of CTC first; the characters of the text, the blank between words among them, after the special symbols.
SYMBOLS = ("<pad>", "<eos>", UNKNOWN, " ", *ascii_uppercase, "'")

_TOKEN = re.compile(rf"B-\S+ | E-\S+|{UNKNOWN}|.")


@lru_cache
def vocabulary(slots: tuple[str, ...]) -> tuple[str, ...]:
    """All outputs in order: SYMBOLS, then "B-x" and "E-x" of every slot; 31 + 2 x slots of them."""
    return (*SYMBOLS, *(f"{edge}-{slot}" for slot in slots for edge in "BE"))


def encode(label: str, slots: tuple[str, ...]) -> list[int]:
    """Indices into vocabulary(slots) of a tagged text, then <eos>; strange characters become <unk>.

    The blanks that set a tag off from its slot's value have no index of their own. Raises ValueError for a tag of a
    slot that is not listed.
    """
    indices = _indices(slots)
    encoded = []
    for token in _TOKEN.findall(" ".join(label.split())):
        is_tag = len(token) > 1 and token != UNKNOWN
        if is_tag and token.strip() not in indices:
            raise ValueError(
                f"cannot encode {token.strip()!r} in {label!r}: expected tags of the slots {', '.join(slots)}. "
                f"Add the slot to the corpus's slots.txt or correct the label."
            )
        encoded.append(indices.get(token.strip() if is_tag else token, indices[UNKNOWN]))
    return [*encoded, indices["<eos>"]]


def decode(indices: Sequence[int], slots: tuple[str, ...]) -> str:
    """The tagged text in the arg-max indices of all frames, with single blanks and without <eos>."""
    symbols = vocabulary(slots)
    text = "".join(_spelling(symbols[index]) for index in collapse(indices))
    return " ".join(text.split())


@lru_cache
def _indices(slots: tuple[str, ...]) -> dict[str, int]:
    return {symbol: index for index, symbol in enumerate(vocabulary(slots))}


def _spelling(symbol: str) -> str:
    if symbol == "<eos>":
        return ""
    return f"{symbol} " if symbol.startswith("B-") else f" {symbol}" if symbol.startswith("E-") else symbol
