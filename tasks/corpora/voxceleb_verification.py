"""VoxCeleb1 for speaker verification (superb-protocol 2.6)."""

from pathlib import Path

from tasks.base import Item, Splits, Trial
from tasks.corpora.findings import Findings, stays_inside

LIST = "veri_test.txt"
OFFICIAL_COUNTS = {"test": 37_720}  # trials of the original list; training has about 148 600 files
LAYOUT = (
    f"VoxCeleb1/{{dev,test}}/wav/<speaker>/<video>/<nnnnn>.wav and VoxCeleb1/{LIST} with lines '<1 or 0> path path', "
    "both paths relative to VoxCeleb1/test/wav"
)


def voxceleb1_verification(root: Path) -> list[Splits]:
    """One fold without "dev": every utterance of the dev archive, labelled with its speaker, and the trials of "test".

    Nothing is filtered by length and no silence is removed here. Trials keep the list's order. Raises CorpusError that
    names everything missing: list, folders, audio of a trial; and lines of the list that are not of the form
    '<1 or 0> path path' or name a path outside the archive, and a list of one kind of trials alone.
    """
    findings = Findings("VoxCeleb1", root, LAYOUT)
    folder = root / "VoxCeleb1"
    train = _utterances(folder / "dev" / "wav", findings)
    test = {item.id: item for item in _utterances(folder / "test" / "wav", findings)}
    trials: list[Item] = []
    unreadable, outside, absent = [], set(), set()
    for line in findings.lines(folder / LIST):
        label, *pair = line.split()
        if label not in ("0", "1") or len(pair) != 2:
            unreadable.append(line)
            continue
        outside |= {name for name in pair if not stays_inside(name)}
        absent |= {name for name in pair if stays_inside(name) and name not in test}
        if all(name in test for name in pair):
            left, right = (test[name].path for name in pair)
            trials.append(Trial(" ".join(pair), left, label, other=right))
    kinds = {trial.label for trial in trials}
    if len(kinds) == 1:
        findings.add(f"every trial of {LIST} is of {'one speaker' if '1' in kinds else 'different speakers'}")
    findings.names(f"unreadable lines in {LIST}", unreadable)
    findings.names(f"paths in {LIST} that leave the test archive", outside)
    findings.names(f"utterances of {LIST} without audio", absent)
    findings.raise_if_any()
    return [{"train": train, "test": trials}]


def _utterances(wav: Path, findings: Findings) -> list[Item]:
    """Every utterance of one archive, sorted; ids are relative paths, labels speakers."""
    if not findings.folder(wav):
        return []
    audio = sorted((path.relative_to(wav).as_posix(), path) for path in wav.glob("*/*/[!.]*.wav"))
    if not audio:
        findings.add(f"nothing in {wav.parent.name}/{wav.name}")
    findings.names(f"names with blanks in {wav.parent.name}/{wav.name}", [name for name, _ in audio if " " in name])
    return [Item(name, path, name.split("/")[0]) for name, path in audio]
