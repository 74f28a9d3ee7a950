"""VoxCeleb1 for speaker identification (superb-protocol 2.5)."""

from pathlib import Path

from tasks.audio import AudioError, num_samples
from tasks.base import Item, Splits
from tasks.corpora.findings import Findings

LIST = "iden_split.txt"
OFFICIAL_COUNTS = {"train": 138_361, "dev": 6_904, "test": 8_251}  # utterances, not stretches of them
LAYOUT = f"VoxCeleb1/{{dev,test}}/wav/<speaker>/<video>/<nnnnn>.wav and VoxCeleb1/{LIST} with lines 'k path'"
CROP = 128_000  # samples: longer training utterances are cut to 8 s
CROPS = 4
_PARTS = {"1": "train", "2": "dev", "3": "test"}
_HEADER_BYTES = 44


def voxceleb1_identification(root: Path) -> list[Splits]:
    """All speakers of both archives, split by the official identification list; labels are speaker ids.

    A training utterance longer than 8 s is given as four stretches of 8 s, evenly spaced from its start to its end; the
    protocol cuts a random one at every access. Raises CorpusError that names everything missing: list, folders, audio
    without a line in the list, lines without audio or not of the form 'k path', utterances listed twice, speakers
    without training.
    """
    findings = Findings("VoxCeleb1", root, LAYOUT)
    folder = root / "VoxCeleb1"
    lines = findings.lines(folder / LIST)
    archives = [folder / name / "wav" for name in ("dev", "test") if findings.folder(folder / name / "wav")]
    audio = {path.relative_to(wav).as_posix(): path for wav in archives for path in wav.glob("*/*/[!.]*.wav")}
    splits: Splits = {part: [] for part in _PARTS.values()}
    listed, twice, unreadable = set(), [], []
    for line in lines:
        number, _, relative = line.partition(" ")
        if number not in _PARTS or not relative:
            unreadable.append(line)
            continue
        if relative in listed:
            twice.append(relative)
        listed.add(relative)
        if relative in audio:
            item = Item(relative, audio[relative], relative.split("/")[0])
            splits[_PARTS[number]] += _crops(item) if number == "1" else [item]
    findings.names(f"unreadable lines in {LIST}", unreadable)
    findings.names(f"utterances listed twice in {LIST}", twice)
    findings.names(f"utterances of {LIST} without audio", listed - audio.keys())
    findings.names(f"audio files that {LIST} does not list", audio.keys() - listed if lines else ())
    speakers = {part: {item.label for item in items} for part, items in splits.items()}
    strangers = (speakers["dev"] | speakers["test"]) - speakers["train"]
    findings.names("speakers of dev and test without training utterances", strangers if splits["train"] else ())
    findings.raise_if_any()
    return [splits]


def _crops(item: Item) -> list[Item]:
    """The utterance itself, or evenly spaced stretches of it if it is longer than CROP."""
    try:
        # The archive is 16-bit PCM: the file's size rules out most utterances without opening them.
        if item.path.stat().st_size <= 2 * CROP + _HEADER_BYTES:
            return [item]
        length = num_samples(item.path)
    except (OSError, AudioError):  # set aside, with its name, when it is to be read
        return [item]
    if length <= CROP:
        return [item]
    starts = [round(k * (length - CROP) / (CROPS - 1)) for k in range(CROPS)]
    return [Item(f"{item.id}@{start}", item.path, item.label, start, CROP) for start in starts]
