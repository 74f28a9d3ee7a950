"""Speech Commands v0.01 for keyword spotting (superb-protocol 2.3)."""

import hashlib
from pathlib import Path

from tasks.audio import SAMPLE_RATE, AudioError, num_samples
from tasks.base import Item, Splits
from tasks.corpora.findings import Findings

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "_unknown_", "_silence_"
CLASSES = (*KEYWORDS, UNKNOWN, SILENCE)
OTHER_WORDS = tuple(
    "bed bird cat dog eight five four happy house marvin nine one seven sheila six three tree two wow zero".split()
)
BACKGROUND = "_background_noise_"
MAIN, TEST = "speech_commands_v0.01", "speech_commands_test_set_v0.01"
OFFICIAL_COUNTS = {"test": 3_081}  # superb-protocol 8 does not know those of train and dev exactly
SILENCE_HOP = SAMPLE_RATE // 2
LAYOUT = (
    f"{MAIN}/<word>/<speaker>_nohash_<n>.wav for the 30 words of v0.01, {MAIN}/{BACKGROUND}/*.wav, "
    f"and {TEST}/<label>/*.wav for the 12 labels"
)


def speech_commands(root: Path) -> list[Splits]:
    """Training and development clips by the official hash rule, and the separate test set.

    The other twenty words are "_unknown_". Each background file is given as stretches of 1 s every half second,
    labelled "_silence_", in both training and development; the protocol cuts a random one at every access. "other
    clips" are those that the hash rule discards.
    Raises CorpusError that names every folder missing, empty or not of v0.01.
    """
    findings = Findings("Speech Commands v0.01", root, LAYOUT)
    main = _folders(root / MAIN, (*KEYWORDS, *OTHER_WORDS, BACKGROUND), findings)
    test = _folders(root / TEST, CLASSES, findings)
    findings.raise_if_any()
    silence = [item for path in main.pop(BACKGROUND) for item in _stretches(path)]
    clips: Splits = {"train": [], "dev": [], "discarded": []}
    for word, paths in main.items():
        label = word if word in KEYWORDS else UNKNOWN
        for path in paths:
            clips[official_part(path.name)].append(Item(f"{word}/{path.name}", path, label))
    tests = [Item(f"{label}/{path.name}", path, label) for label, paths in test.items() for path in paths]
    return [
        {
            "train": clips["train"] + silence,
            "dev": clips["dev"] + silence,
            "test": tests,
            "other clips": clips["discarded"],
        }
    ]


def main_clips(splits: Splits) -> int:
    """How many clips of words the main archive has."""
    return sum(item.label != SILENCE for part in ("train", "dev", "other clips") for item in splits[part])


def noise_files(splits: Splits) -> int:
    """How many files of background noise it has."""
    return len({item.path for item in splits["train"] if item.label == SILENCE})


def official_part(file_name: str) -> str:
    """Where a clip of the main archive belongs: "train", "dev", or "discarded" (the archive's own test part).

    Decided by the SHA-1 of the name up to "_nohash_", so that a speaker stays in one part (superb-protocol 2.3).
    """
    key = file_name.split("_nohash_")[0]
    percentage = int(hashlib.sha1(key.encode()).hexdigest(), 16) % 2**27 * 100 / (2**27 - 1)
    return "dev" if percentage < 10 else "discarded" if percentage < 20 else "train"


def _folders(folder: Path, names: tuple[str, ...], findings: Findings) -> dict[str, list[Path]]:
    """The WAV files of each of the folders, which must be there, filled, and no others beside them."""
    if not findings.folder(folder):
        return {}
    found = {name: sorted((folder / name).glob("[!.]*.wav")) for name in names if findings.folder(folder / name)}
    findings.names(f"folders of {folder.name} without any .wav", [name for name, paths in found.items() if not paths])
    others = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")} - set(names)
    findings.names(f"folders in {folder.name} that v0.01 does not have", others)
    return found


def _stretches(path: Path) -> list[Item]:
    try:
        last = max(num_samples(path) - SAMPLE_RATE, 0)
    except AudioError:  # set aside, with its name, when it is to be read
        last = 0
    starts = range(0, last + 1, SILENCE_HOP)
    return [Item(f"{BACKGROUND}/{path.name}@{start}", path, SILENCE, start, SAMPLE_RATE) for start in starts]
