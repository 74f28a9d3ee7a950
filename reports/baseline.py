"""What the gate compares: the records of a run with their predictions, in the run's folder or in one file."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.gate import CellKey, key
from reports.records import Record, RecordError, from_json, read_predictions, read_records, to_json, write_bytes

BASELINE_VERSION = 1
_FORMAT = "star-harness-baseline"
_CURE = "make it again with `harness baseline save`"

Cells = dict[CellKey, "Stored"]


@dataclass(frozen=True)
class Stored:
    """A record and its predictions; if these cannot be read, `problem` says why and there are none."""

    record: Record
    predictions: tuple[dict[str, Any], ...] = ()
    problem: str = ""


def read_cells(path: Path) -> Cells:
    """The cells of a run's folder or of a file that save_baseline wrote.

    Raises RecordError if it is neither, is damaged, holds no record, or two of one cell.
    """
    if path.is_dir():
        stored = [_stored(path / "records", record) for record in read_records(path / "records")]
    elif path.is_file():
        stored = _unpack(path)
    else:
        raise RecordError(f"nothing at {path}: expected a run's folder, or a file of `harness baseline save`")
    cells = {key(one.record): one for one in stored}
    if not cells:
        raise RecordError(f"no records in {path}: expected those of a run; start one with `harness evaluate`")
    if len(cells) < len(stored):
        raise RecordError(f"{len(stored)} records in {path} for {len(cells)} cells: remove those that do not belong")
    return cells


def save_baseline(run: Path, out: Path) -> int:
    """Write the cells of a run to one file, which appears whole or not at all, and return how many there are.

    Equal cells give equal bytes. Raises RecordError as read_cells does, and with one line a cell that failed or has no
    predictions.
    """
    stored = list(read_cells(run).values())
    problems = [f"{one.record.upstream} on {one.record.task}: {why}" for one in stored if (why := _unfit(one))]
    if problems:
        raise RecordError("\n".join([*problems, "a baseline holds complete results only: run these tasks again"]))
    write_bytes(out, _pack(stored))
    return len(stored)


def _stored(folder: Path, record: Record) -> Stored:
    if record.value is None:
        return Stored(record)
    try:
        return Stored(record, tuple(read_predictions(folder, record)))
    except RecordError as error:
        return Stored(record, problem=str(error))


def _unfit(stored: Stored) -> str:
    if stored.record.value is None:
        return f"failed ({'; '.join(stored.record.skipped) or 'no reason kept'})"
    return stored.problem


def _pack(stored: Sequence[Stored]) -> bytes:
    """Each set of predictions once, as the metrics of a task share theirs."""
    numbers: dict[str, int] = {}
    texts = [_plain(one.predictions) for one in stored]
    content = {
        "cells": [
            {"record": to_json(one.record), "predictions": numbers.setdefault(text, len(numbers))}
            for one, text in zip(stored, texts, strict=True)
        ],
        "predictions": [json.loads(text) for text in numbers],
    }
    whole = {"format": _FORMAT, "version": BASELINE_VERSION, "sha256": _digest(content), "content": content}
    return gzip.compress(_plain(whole).encode("utf-8"), mtime=0)


def _unpack(path: Path) -> list[Stored]:
    try:
        whole = json.loads(gzip.decompress(path.read_bytes()))
        digest = _digest(whole["content"])
    except (ValueError, TypeError, KeyError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise RecordError(f"{path} is no baseline ({error}): {_CURE}") from error
    if whole.get("format") != _FORMAT or whole.get("version") != BASELINE_VERSION:
        found = f"{whole.get('format')!r}, version {whole.get('version')!r}"
        raise RecordError(f"{path} has format {found}; expected {_FORMAT!r}, version {BASELINE_VERSION}: {_CURE}")
    if digest != whole.get("sha256"):
        raise RecordError(f"{path} does not match its own hash: the file is damaged, restore it, or {_CURE}")
    content = whole["content"]
    return [
        Stored(from_json(cell["record"], str(path)), tuple(content["predictions"][cell["predictions"]]))
        for cell in content["cells"]
    ]


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(content: Any) -> str:
    return hashlib.sha256(_plain(content).encode("utf-8")).hexdigest()
