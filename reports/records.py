"""Result records: one JSON file per upstream, task and seed, with the predictions beside it."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin
from urllib.parse import quote

SCHEMA_VERSION = 3
ADDED: dict[int, dict[str, Any]] = {3: {"objective": None}}  # by version, the keys that older records lack
TWO_METRICS = ("sf_f1", "sf_cer")
CURE = "restore the file, or delete it and run the task again"


class RecordError(ValueError):
    """A record that cannot be written, read or compared; the message names the file or the record."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The result of one upstream on one task with one seed, and all that is needed to obtain it again.

    value, stderr, low, high, dev_value: percent, low to high being the 95 % interval; value is None when the cell
    failed, and `skipped` then says why. n_examples: scored, of n_total in the split. parameters, macs: of the upstream,
    macs (multiply-accumulates) counted as `macs_convention` says. learning_rate: selected on dev out of
    learning_rates. data_fingerprint: hash of what was scored. started_at: ISO 8601, UTC. seconds: by phase.
    deviations: from the official settings. predictions: name of the JSON-lines file beside the record, one line an
    example.

    teacher, objective: what a student was distilled from and with, None for others and where it is not known.

    Raises RecordError for a value of the wrong type or a number that is not finite.
    """

    schema_version: int = SCHEMA_VERSION
    upstream: str
    upstream_kind: Literal["student", "teacher", "random", "fbank", "upstream"]
    checkpoint_sha256: str | None
    teacher: str | None
    objective: str | None
    task: str
    task_version: int
    split: str
    metric: str
    value: float | None
    higher_is_better: bool
    stderr: float | None
    low: float | None
    high: float | None
    stderr_method: str | None
    n_examples: int
    n_total: int
    suite: Literal["mini", "superb"]
    synthetic: bool
    seed: int
    parameters: int | None
    macs: int | None
    macs_convention: str | None
    config_hash: str
    config: dict[str, Any]
    learning_rate: float | None
    learning_rates: list[float]
    dev_value: float | None
    data_fingerprint: str
    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    device: str
    started_at: str
    seconds: dict[str, float]
    deviations: list[str]
    skipped: list[str]
    predictions: str | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not _fits(value, field.type):
                raise RecordError(f"{field.name} is {value!r}; expected {_spell(field.type)}")
            if isinstance(value, float) and not math.isfinite(value):
                raise RecordError(f"{field.name} is {value}; expected a finite number, or None and why in `skipped`")
        if self.schema_version != SCHEMA_VERSION:
            raise RecordError(f"schema_version is {self.schema_version}; expected {SCHEMA_VERSION}")


def column(record: Record) -> str:
    """The column of a table that the record belongs to: its task, and the metric where a task has two."""
    both = f"{record.task}_{record.metric}"
    return both if both in TWO_METRICS else record.task


def to_json(record: Record) -> dict[str, Any]:
    """The record as a dictionary of plain values, keys in the order of the class; None becomes null in JSON."""
    return asdict(record)


def write_record(folder: Path, record: Record, predictions: Sequence[Mapping[str, Any]] | None) -> Path:
    """Write `<upstream>.<column>.seed<seed>.json`, its predictions first, and return the record's path.

    Characters other than letters, digits and `_.-~` are percent-encoded in the name. Each file appears whole or not
    at all. Raises RecordError, before anything is written, for a value that JSON cannot hold.
    """
    path = record_path(folder, record)
    name, beside = path.stem, path.with_suffix(".jsonl")
    record = replace(record, predictions=None if predictions is None else beside.name)
    try:
        text = json.dumps(to_json(record), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        lines = [json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n" for line in predictions or ()]
    except (TypeError, ValueError) as error:
        raise RecordError(f"record {name}: {error}; expected plain finite numbers, strings, lists and dicts") from error
    if predictions is None:
        beside.unlink(missing_ok=True)
    else:
        write_text(beside, "".join(lines))
    write_text(path, text)
    return path


def record_path(folder: Path, record: Record) -> Path:
    """Where `write_record` puts a record."""
    return folder / f"{quote(record.upstream, safe='')}.{quote(column(record), safe='')}.seed{record.seed}.json"


def read_records(folder: Path) -> list[Record]:
    """Read every record of a folder, in the order of the file names; other files are left alone.

    Raises RecordError, naming the file, for bad JSON, another schema version, unknown or missing keys, a value of the
    wrong type or a non-finite one.
    """
    if not folder.is_dir():
        raise RecordError(f"no folder {folder}; expected the records of a run: start one with `harness run`")
    return [read_record(path) for path in record_paths(folder)]


def record_paths(folder: Path) -> list[Path]:
    """The files of a folder that should be records, in the order of their names."""
    return sorted(folder.glob("*.seed*.json"))


def read_predictions(folder: Path, record: Record) -> list[dict[str, Any]]:
    """The stored predictions of a record of that folder, one an example that was scored.

    Raises RecordError if the file is not there, a line holds no prediction, or there are fewer or more than scored.
    """
    path = folder / (record.predictions or "")
    if not record.predictions or Path(record.predictions).name != record.predictions or not path.is_file():
        raise RecordError(f"no predictions {record.predictions or 'kept'} beside the record: run it again")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        row = _parsed(line)
        if not isinstance(row, dict) or not {"id", "hypothesis"} <= row.keys():
            raise RecordError(f"line {number} of {path.name} holds no prediction: run the task again")
        rows.append(row)
    if len(rows) != record.n_examples:
        raise RecordError(f"{len(rows)} lines in {path.name}, but {record.n_examples} were scored: run the task again")
    return rows


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file so that a crash leaves the old file or the new one, never a part; makes the folder."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old file or the new one, never a part; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # a device, such as /dev/stdout
        path.write_bytes(content)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_half_written(folder: Path) -> None:
    """Remove what a killed `write_bytes`, or another writer of whole files, has left in a folder in which nobody writes
    now."""
    for path in folder.glob("*.partial"):
        path.unlink(missing_ok=True)
    for path in folder.glob(".*.tmp"):
        if re.fullmatch(r"\..+\.\d+\.tmp", path.name):
            path.unlink(missing_ok=True)


def from_json(values: Any, source: str) -> Record:
    """The record in a value read from JSON; source: where it was, for the message.

    A record of an older schema version is brought up to date. Raises RecordError for an unknown version, unknown or
    missing keys, a value of the wrong type or a non-finite one.
    """
    if not isinstance(values, dict):
        raise RecordError(f"{source}: holds a {type(values).__name__}; expected one record; {CURE}")
    version = values.get("schema_version")
    if not isinstance(version, int) or version not in range(min(ADDED) - 1, SCHEMA_VERSION + 1):
        cure = "run the task again"
        if isinstance(version, int) and version > SCHEMA_VERSION:
            cure = "a newer harness wrote it: use that one, or run the task again"
        raise RecordError(f"{source}: schema_version is {version!r}; expected {SCHEMA_VERSION}: {cure}")
    for later in range(version + 1, SCHEMA_VERSION + 1):
        values = ADDED[later] | values | {"schema_version": later}
    expected = {field.name for field in fields(Record)}
    problems = [f"unknown key {key!r}" for key in values if key not in expected]
    problems += [f"missing key {key!r}" for key in sorted(expected - values.keys())]
    if problems:
        raise RecordError(f"{source}: {', '.join(problems)}; {CURE}")
    try:
        return Record(**values)
    except RecordError as error:
        raise RecordError(f"{source}: {error}; {CURE}") from error


def read_record(path: Path) -> Record:
    """One record. Raises RecordError, naming the file, as `read_records` does."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not a JSON file ({error}); {CURE}") from error
    return from_json(values, str(path))


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if isinstance(hint, UnionType):
        return any(_fits(value, kind) for kind in get_args(hint))
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is list:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if kind is dict:
        return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())
    if isinstance(value, bool) and kind is not Any:
        return kind is bool
    return kind is Any or isinstance(value, kind) or (kind is float and isinstance(value, int))


def _spell(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
