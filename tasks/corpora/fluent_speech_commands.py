"""Fluent Speech Commands for intent classification (superb-protocol 2.8)."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from tasks.base import Item, Splits
from tasks.corpora.findings import Findings, lies_in, stays_inside

FOLDER = "fluent_speech_commands_dataset"
LISTS = {"train": "train_data.csv", "dev": "valid_data.csv", "test": "test_data.csv"}
SLOTS = ("action", "object", "location")
OFFICIAL_COUNTS = {"train": 23_132, "dev": 3_118, "test": 3_793}
LAYOUT = (
    f"{FOLDER}/wavs/speakers/<speaker>/<id>.wav and {FOLDER}/data/{{{','.join(LISTS.values())}}} "
    f"with the columns path, {', '.join(SLOTS)}"
)


def fluent_speech_commands(root: Path) -> list[Splits]:
    """The corpus's own three lists in their order; labels are "action,object,location", ids the names of the WAV files.

    Raises CorpusError that names everything wrong: lists or columns missing, rows without a value or with a comma in
    one, paths that leave the corpus, ids that occur twice, audio missing, values that training lacks.
    """
    findings = Findings("Fluent Speech Commands", root, LAYOUT)
    splits = {part: _part(root / FOLDER, name, findings) for part, name in LISTS.items()}
    ids: set[str] = set()
    twice: set[str] = set()
    for item in (item for items in splits.values() for item in items):
        (twice if item.id in ids else ids).add(item.id)
    findings.names("ids that occur more than once", twice)
    known = slot_values(splits["train"])
    for part in ("dev", "test") if splits["train"] else ():
        missing = [
            f"{slot} {value}"
            for slot, values, trained in zip(SLOTS, slot_values(splits[part]), known, strict=True)
            for value in set(values) - set(trained)
        ]
        findings.names(f"values in {LISTS[part]} that {LISTS['train']} lacks", missing)
    findings.raise_if_any()
    return [splits]


def slot_values(items: Iterable[Item]) -> tuple[tuple[str, ...], ...]:
    """The values of action, object and location in order of first appearance; the classifier's outputs if the items are
    those of training (superb-protocol 2.8)."""
    labels = [item.label.split(",") for item in items]
    return tuple(tuple(dict.fromkeys(label[k] for label in labels)) for k in range(len(SLOTS)))


def _part(folder: Path, name: str, findings: Findings) -> list[Item]:
    """The utterances of one list whose row is sound and whose audio is there; the others are noted."""
    items: list[Item] = []
    unreadable, outside, silent, linked = [], [], [], []
    for number, row in _rows(folder / "data" / name, findings):
        values = [(row[column] or "").strip() for column in ("path", *SLOTS)]
        path = PurePosixPath(values[0])
        if not all(values) or any("," in value for value in values[1:]):
            unreadable.append(f"row {number}")
        elif not stays_inside(values[0]):
            outside.append(values[0])
        elif not (folder / path).is_file():
            silent.append(values[0])
        elif not lies_in(folder / path, folder, folder.parent):
            linked.append(values[0])
        else:
            items.append(Item(path.stem, folder / path, ",".join(values[1:])))
    findings.names(f"rows of {name} in which a value is missing or holds a comma", unreadable)
    findings.names(f"paths in {name} that lead out of {FOLDER}", outside)
    findings.names(f"paths in {name} that links lead out of {FOLDER}, which may itself be a link", linked)
    findings.names(f"paths in {name} without audio", silent)
    return items


def _rows(path: Path, findings: Findings) -> Sequence[tuple[int, dict[str, str | None]]]:
    """The rows of a list with their numbers from 1; none if a column is missing, which is noted."""
    if not findings.file(path):
        return []
    reader = csv.DictReader(io.StringIO(findings.text(path), newline=""))
    try:
        rows = list(enumerate(reader, start=1))
    except csv.Error as error:
        findings.add(f"{path.name} cannot be read as CSV ({error})")
        return []
    missing = {"path", *SLOTS} - set(reader.fieldnames or ())
    findings.names(f"columns missing in {path.name}", missing)
    if not rows and not missing:
        findings.add(f"no rows in {path.name}")
    return [] if missing else rows
