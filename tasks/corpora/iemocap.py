"""IEMOCAP for emotion recognition in five folds (superb-protocol 2.10)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from tasks.base import Item, Splits
from tasks.corpora.findings import Findings

CLASSES = ("neu", "hap", "ang", "sad")
_CLASS_OF_LABEL = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}
_LEFT_OUT = frozenset("fru fea sur dis oth xxx".split())
LAYOUT = (
    "IEMOCAP_full_release/Session{1..5}/sentences/wav/<dialog>/<utterance>.wav "
    "and Session{1..5}/dialog/EmoEvaluation/<dialog>.txt"
)
OFFICIAL_COUNTS = (  # of each fold
    {"train": 3_556, "dev": 890, "test": 1_085},
    {"train": 3_606, "dev": 902, "test": 1_023},
    {"train": 3_504, "dev": 876, "test": 1_151},
    {"train": 3_600, "dev": 900, "test": 1_031},
    {"train": 3_432, "dev": 858, "test": 1_241},
)
# The order of the dialogs in S3PRL's lists, on which its train/dev split depends; "F_impro01" of session 1 is
# Ses01F_impro01.
DIALOGS = {
    1: "F_script02_2 F_impro07 F_script03_2 M_impro02 F_impro06 F_script01_3 M_script02_1 M_impro04 M_script01_1 "
    "F_impro01 F_script01_1 F_impro05 M_script01_2 M_script02_2 F_script02_1 M_script03_2 M_impro05 M_impro01 "
    "F_impro03 M_impro03 M_script01_3 F_script03_1 M_impro07 F_impro02 M_impro06 M_script03_1 F_impro04 F_script01_2",
    2: "F_impro03 F_script03_2 M_script03_2 M_impro04 M_impro05 F_script02_1 F_script02_2 M_script02_2 M_impro08 "
    "M_impro07 F_script03_1 M_script01_3 F_impro06 F_impro01 F_impro04 F_script01_2 M_impro02 M_impro03 F_script01_3 "
    "F_impro05 F_script01_1 M_impro06 M_script02_1 F_impro08 F_impro02 M_script01_1 M_impro01 M_script01_2 "
    "M_script03_1 F_impro07",
    3: "F_script02_1 M_impro04 M_script03_2 M_impro05b M_impro02 F_impro05 M_script02_2 M_impro08b F_impro07 "
    "M_script01_1 M_script02_1 M_impro05a M_impro07 M_script03_1 F_script03_1 M_impro01 F_script01_1 F_impro04 "
    "F_script02_2 F_script01_3 M_script01_3 M_impro06 F_impro01 F_impro03 M_script01_2 M_impro08a M_impro03 "
    "F_script03_2 F_script01_2 F_impro08 F_impro06 F_impro02",
    4: "F_script03_1 F_impro01 M_script02_1 M_script02_2 F_script01_3 M_impro05 F_script02_1 F_impro07 F_impro02 "
    "F_impro03 M_impro02 F_script01_1 M_script01_1 F_script03_2 M_impro06 F_script02_2 M_impro01 M_impro04 F_impro05 "
    "F_script01_2 F_impro08 F_impro06 M_impro03 M_script01_3 M_script01_2 M_script03_1 M_script03_2 M_impro07 "
    "F_impro04 M_impro08",
    5: "M_script01_3 F_impro04 M_script02_2 F_script01_3 F_script01_2 F_impro06 M_impro06 M_impro01 F_script03_1 "
    "F_impro07 F_script03_2 M_script01_1b F_impro05 M_script01_1 F_impro08 M_script03_1 M_impro05 F_impro01 F_impro02 "
    "M_impro03 F_script01_1 M_impro04 M_script02_1 F_impro03 F_script02_2 F_script02_1 M_script03_2 M_impro08 "
    "M_impro02 M_impro07 M_script01_2",
}

T = TypeVar("T")


def iemocap(root: Path) -> list[Splits]:
    """Five folds: fold k tests on session k and splits the other sessions 80 : 20 into training and development.

    Labels are neu, hap (with excited), ang and sad; other utterances are dropped. Raises CorpusError that names every
    folder missing, dialogs and labels that the official lists do not have, utterances labelled twice, and labels and
    audio files that lack one another.
    """
    findings = Findings("IEMOCAP", root, LAYOUT)
    sessions = {k: _session(root / "IEMOCAP_full_release" / f"Session{k}", k, findings) for k in DIALOGS}
    findings.raise_if_any()
    folds = []
    for k, test in sessions.items():
        others = [item for session, items in sessions.items() if session != k for item in items]
        train, dev = train_dev_split(others)
        folds.append({"train": train, "dev": dev, "test": test})
    return folds


def train_dev_split(items: Sequence[T]) -> tuple[list[T], list[T]]:
    """S3PRL's split of a fold's list: torch's random_split into 80 % and the rest, seeded with 0."""
    import torch

    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = [items[i] for i in order]
    cut = int(0.8 * len(items))
    return shuffled[:cut], shuffled[cut:]


def _session(folder: Path, number: int, findings: Findings) -> list[Item]:
    """The session's utterances of the four classes, by the official order of dialogs, then by name."""
    wav, evaluation = folder / "sentences" / "wav", folder / "dialog" / "EmoEvaluation"
    if not all([findings.folder(wav), findings.folder(evaluation)]):
        return []
    official = [f"Ses{number:02d}{dialog}" for dialog in DIALOGS[number].split()]
    labels = {path.stem: _labels(path, number, findings) for path in sorted(evaluation.glob("[!.]*.txt"))}
    audio = {path.name: {file.stem: file for file in path.glob("[!.]*.wav")} for path in wav.iterdir() if path.is_dir()}
    findings.names(f"dialogs of Session{number} unknown to the official lists", (labels | audio).keys() - set(official))
    unknown = {label for dialog in labels.values() for label in dialog.values()} - {*_CLASS_OF_LABEL, *_LEFT_OUT}
    findings.names(f"labels in Session{number} that IEMOCAP does not have", unknown)
    labelled = {utterance for dialog in labels.values() for utterance in dialog}
    heard = {utterance for dialog in audio.values() for utterance in dialog}
    findings.names(f"labels of Session{number} without audio", labelled - heard)
    findings.names(f"audio files of Session{number} without label", heard - labelled)
    if not heard and not labelled:
        findings.add(f"nothing in Session{number}")
    items = []
    for dialog in official:
        for utterance, label in sorted(labels.get(dialog, {}).items()):
            path = audio.get(dialog, {}).get(utterance)
            if path and label in _CLASS_OF_LABEL:
                items.append(Item(utterance, path, _CLASS_OF_LABEL[label]))
    return items


def _labels(path: Path, number: int, findings: Findings) -> dict[str, str]:
    """Utterance to label, from the lines '[start - end]<TAB>utterance<TAB>label<TAB>[...]' of one dialog's file."""
    fields = [line.split("\t") for line in findings.text(path).splitlines() if line.startswith("[")]
    pairs = ((field[1], field[2]) for field in fields if len(field) > 2)
    return findings.unique(f"utterances with two labels in Session{number}", pairs)
