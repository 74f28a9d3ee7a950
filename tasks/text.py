"""Phonemes and characters of the recognition tasks: vocabularies, lexicon, encoding and decoding."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from tasks.base import CorpusError

_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()
# superb-protocol 2.1: blank first; the 69 ARPAbet symbols keep their stress.
PHONEMES = (
    *("<pad>", "<eos>", "<unk>", "SIL", "SPN"),
    *sorted([vowel + stress for vowel in _VOWELS for stress in "012"] + _CONSONANTS),
)
# superb-protocol 2.2: blank first.
CHARACTERS = ("<s>", "<pad>", "</s>", "<unk>", *"|ETAONIHSRDLUMCWFGYPBVK'XJQZ")
LEXICON_FILES = ("librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt")

_SHOWN = 10
_PHONEME_INDEX = {symbol: i for i, symbol in enumerate(PHONEMES)}
_CHARACTER_INDEX = {symbol: i for i, symbol in enumerate(CHARACTERS)}


class Lexicon:
    """Pronunciations of words in upper case, one for each: the first that was read."""

    def __init__(self, pronunciations: Mapping[str, Sequence[str]]) -> None:
        self._pronunciations = pronunciations

    @classmethod
    def read(cls, folder: Path) -> "Lexicon":
        """The two lexicon files of the LibriSpeech folder, lines 'WORD phones', in LEXICON_FILES's order.

        Raises CorpusError if a file is missing or a line holds a symbol that is not one of PHONEMES.
        """
        absent = [name for name in LEXICON_FILES if not (folder / name).is_file()]
        if absent:
            expected = "Expected S3PRL's two lexicon files with lines 'WORD phones'"
            raise CorpusError(
                f"cannot read the lexicon in {folder}: no file {' and '.join(absent)}. {expected}. "
                f"Put them there, then type: harness doctor --corpora {folder.parent}",
                [f"no file {folder.name}/{name}" for name in absent],
                f"{expected}. Put them into {folder}",
            )
        pronunciations: dict[str, list[str]] = {}
        for name in LEXICON_FILES:
            for number, line in enumerate(
                (folder / name).read_text(encoding="utf-8", errors="replace").splitlines(), start=1
            ):
                word, *phones = line.split() or [""]
                strange = [phone for phone in phones if phone not in _PHONEME_INDEX]
                if strange or (word and not phones) or "\ufffd" in word:
                    raise CorpusError(
                        f"cannot use line {number} of {folder / name}: {line!r}. Expected a word and ARPAbet phones "
                        f"with stress digits, in UTF-8. Correct or remove the line."
                    )
                pronunciations.setdefault(word, phones)
        return cls(pronunciations)

    def transcribe(self, text: str) -> str:
        """The phonemes of a transcript, separated by blanks. Raises CorpusError for words that are not listed."""
        self.check([text])
        return " ".join(phone for word in text.upper().split() for phone in self._pronunciations[word])

    def check(self, texts: Iterable[str]) -> None:
        """Raises CorpusError with all words of these transcripts that are not listed."""
        missing = sorted({word for text in texts for word in text.upper().split()} - self._pronunciations.keys())
        if missing:
            shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
            raise CorpusError(
                f"the lexicon has no pronunciation for {len(missing)} words ({shown}). Every word of the corpus must "
                f"be listed (superb-protocol 2.1). Add lines 'WORD phones' to {LEXICON_FILES[1]}."
            )


def encode_phonemes(phonemes: str) -> list[int]:
    """Indices into PHONEMES of symbols separated by blanks, then <eos>; strange symbols become <unk>."""
    unknown = _PHONEME_INDEX["<unk>"]
    return [_PHONEME_INDEX.get(symbol, unknown) for symbol in phonemes.split()] + [_PHONEME_INDEX["<eos>"]]


def decode_phonemes(indices: Sequence[int]) -> str:
    """The phonemes in the arg-max indices of all frames, separated by blanks, without <eos>."""
    symbols = (PHONEMES[index] for index in collapse(indices))
    return " ".join(symbol for symbol in symbols if symbol != "<eos>")


def encode_characters(text: str) -> list[int]:
    """Indices into CHARACTERS of the upper-cased text: "|" after every word, then </s>; strange ones become <unk>."""
    spelt = "".join(f"{word}|" for word in text.upper().split())
    unknown = _CHARACTER_INDEX["<unk>"]
    return [_CHARACTER_INDEX.get(symbol, unknown) for symbol in spelt] + [_CHARACTER_INDEX["</s>"]]


def decode_characters(indices: Sequence[int]) -> str:
    """The words in the arg-max indices of all frames, separated by single blanks, without </s>."""
    symbols = (CHARACTERS[index] for index in collapse(indices))
    return " ".join("".join(symbol for symbol in symbols if symbol != "</s>").replace("|", " ").split())


def collapse(indices: Sequence[int], blank: int = 0) -> list[int]:
    """Best-path CTC decoding: equal neighbours merged, then blanks dropped."""
    return [index for index, _ in groupby(indices) if index != blank]
