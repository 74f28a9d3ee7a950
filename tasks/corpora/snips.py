"""Audio SNIPS for slot filling (superb-protocol 2.9)."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tasks.base import Item, Splits
from tasks.corpora.findings import Findings
from tasks.slots import LETTERS, UNKNOWN

FOLDERS = {"train": "train", "dev": "valid", "test": "test"}
VOICES = {
    "train": ("Ivy", "Joanna", "Joey", "Justin", "Kendra", "Kimberly", "Matthew", "Salli"),
    "dev": ("Aditi", "Amy", "Geraint", "Nicole"),
    "test": ("Brian", "Emma", "Raveena", "Russell"),
}
TEXTS, SLOTS = "all.iob.snips.txt", "slots.txt"
NO_SLOT = "O"
OFFICIAL_COUNTS = {"train": 104_672, "dev": 2_800, "test": 2_800}  # of the official voices
LAYOUT = (
    f"SNIPS/{{{','.join(FOLDERS.values())}}}/<Voice>-snips-<split>-<n>.wav of the 16 official voices, SNIPS/{TEXTS} "
    f"with lines 'id BOS words EOS<TAB>O slots intent', and SNIPS/{SLOTS} with one slot per line after {NO_SLOT!r}"
)
_SKIPPED = "?!.,;-"


def snips(root: Path) -> list[Splits]:
    """The official voices of each split, in the order of ids; labels are tagged texts as tasks.slots spells them.

    An audio file is used if its id is in the text file and begins with a voice of its split; others are left out, as
    in the official recipe. Raises CorpusError that names everything wrong: folders or files missing, lines of the used
    voices that lack audio, contradict one another or whose words and slots do not match, slots that slots.txt does not
    list.
    """
    findings = Findings("Audio SNIPS", root, LAYOUT)
    folder = root / "SNIPS"
    listed = _slots(folder, findings)
    lines = _lines(folder, findings)
    splits, strange = {}, set()
    for part, name in FOLDERS.items():
        audio = {path.stem: path for path in folder.joinpath(name).glob("[!.]*.wav")}
        present = findings.folder(folder / name)
        used = {id for id in lines if id.split("-")[0] in VOICES[part]}
        expected = {id for id in used if id.split("-")[2:3] == [name]}
        findings.names(f"lines of {TEXTS} without audio in {name}", expected - audio.keys() if present else ())
        if present and lines and not used & audio.keys():
            findings.add(f"no utterance of {', '.join(VOICES[part])} in {name}")
        pairs = {id: _words_and_tags(lines[id]) for id in sorted(used & audio.keys())}
        findings.names(f"lines of {TEXTS} with unequal words and slots", [id for id, pair in pairs.items() if not pair])
        sound = {id: pair for id, pair in pairs.items() if pair}
        strange |= {tag for _, tags in sound.values() for tag in tags} - {NO_SLOT, *listed}
        splits[part] = [Item(id, audio[id], tagged_text(*pair)) for id, pair in sound.items()]
    findings.names(f"slots in {TEXTS} that {SLOTS} does not list", strange if listed else ())
    findings.raise_if_any()
    return [splits]


def tagged_text(words: Sequence[str], tags: Sequence[str]) -> str:
    """The words with "B-slot" before and "E-slot" after every run of equal slots (superb-protocol 2.9, encoding).

    As in the official recipe, a word that is a piece of "?!.,;-" is skipped, "&" becomes "AND", two spans of one slot
    that touch are one, and characters other than A to Z and the apostrophe, small letters among them, are "<unk>".
    Unlike there (6.1 item 20), a span keeps both its tags where its first or last word is skipped, and a text whose
    last word is skipped ends after the last word that is not; a span of skipped words alone has no tags.
    """
    spelt = []
    for tag, run in groupby(zip(words, tags, strict=True), key=lambda pair: pair[1]):
        kept = [_spelling(word) for word, _ in run if word not in _SKIPPED]
        if kept:
            spelt += kept if tag == NO_SLOT else [f"B-{tag}", *kept, f"E-{tag}"]
    return " ".join(spelt)


def _spelling(word: str) -> str:
    return "".join(letter if letter in LETTERS else UNKNOWN for letter in ("AND" if word == "&" else word))


def _slots(folder: Path, findings: Findings) -> tuple[str, ...]:
    """The names in slots.txt after its first line; empty lines at the end are not slots."""
    if not findings.file(folder / SLOTS):
        return ()
    first, *names = findings.text(folder / SLOTS).rstrip().split("\n")
    names = [name.strip() for name in names]
    if first.strip() != NO_SLOT or not names:
        findings.add(f"{SLOTS} does not begin with the line {NO_SLOT!r} and go on with slots")
    odd = {repr(name) for name in names if len(name.split()) != 1 or names.count(name) > 1 or name == NO_SLOT}
    findings.names(f"lines of {SLOTS} that are empty, repeated or not one word", odd)
    return tuple(names)


def _lines(folder: Path, findings: Findings) -> dict[str, str]:
    """Id to the rest of its line in the text file."""
    if not findings.file(folder / TEXTS):
        return {}
    parts = (line.strip().partition(" ") for line in findings.text(folder / TEXTS).split("\n"))
    lines = findings.unique(f"ids with two lines in {TEXTS}", ((id, text) for id, _, text in parts if id))
    if not lines:
        findings.add(f"nothing in {TEXTS}")
    return lines


def _words_and_tags(line: str) -> tuple[list[str], list[str]] | None:
    """The two halves of a line without the first and last token of each, or None if they do not match."""
    halves = [half.split() for half in line.split("\t")]
    if len(halves) != 2 or len(halves[0]) != len(halves[1]) or len(halves[0]) < 2:
        return None
    return halves[0][1:-1], halves[1][1:-1]
