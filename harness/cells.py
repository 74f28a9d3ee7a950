"""What the folder of a run holds already, and what becomes of that which was made with other settings."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import provenance
from harness.config import Overwrite, UsageError
from harness.evaluate import Context, cell_config, half_done, task_config, upstream_config
from harness.states import kept_config
from reports.records import Record, RecordError, read_predictions, read_record, record_paths
from students.checkpoints import FILE_NAME, CheckpointError, load_checkpoint
from students.upstreams import Upstream
from tasks.registry import TASKS, load_task

CURVE = "distillation.jsonl"
STATE = "distillation.pt"
REMADE = "its student is made again"
SHOWN = 3  # of the settings that have changed


@dataclass(frozen=True)
class Found:
    """A result in the folder. misfit: why it cannot stand beside what will be computed, empty if it can."""

    cell: str
    misfit: str
    files: tuple[Path, ...]


def settle(found: Sequence[Found], overwrite: Overwrite, say: Callable[[str], None]) -> None:
    """Remove what does not fit, or everything found; say what does not fit, one line each.

    Raises UsageError, and removes nothing, if something does not fit and nothing may be overwritten.
    """
    stale = [each for each in found if each.misfit]
    lines = list(dict.fromkeys(f"{each.cell}: {each.misfit}" for each in stale))
    if stale and overwrite == "never":
        cure = (
            "type the same command with --overwrite stale to compute them alone again, with --overwrite always to "
            "compute everything again, or with another folder as --out"
        )
        raise UsageError("\n".join([*lines, f"results in the folder that do not fit: {len(lines)}; {cure}"]))
    for line in lines:
        say(f"Removed {line}")
    for each in stale if overwrite != "always" else found:
        for file in each.files:
            file.unlink(missing_ok=True)


def found_records(context: Context, upstreams: Iterable[Upstream], remade: Collection[str] = ()) -> list[Found]:
    """The cells of these upstreams that the folder holds, and those of others that cannot stand in one table with them.

    remade: names of students whose weights will be others.
    """
    ours = {upstream.name: upstream for upstream in upstreams}
    tasks, found = [task.name for task in context.tasks], []
    for path in record_paths(context.folder):
        files: tuple[Path, ...] = (path, path.with_suffix(".jsonl"))
        try:
            record = read_record(path)
        except RecordError as error:
            found.append(Found(path.name, str(error), files))
            continue
        misfit = _misfit(record, context, ours, remade)
        mine = record.task in tasks and (record.upstream in ours or record.upstream in remade)
        if mine:
            misfit = misfit or _damage(record, context.folder)
        elif misfit:
            misfit += " (not part of this command: it is only removed)"
        if misfit or mine:
            found.append(Found(f"{record.upstream} on {record.task}", misfit, files))
    for name in (*ours, *remade):
        for task in tasks:
            if files := tuple(half_done(context.folder, name, task)):
                found.append(Found(f"{name} on {task}, half done", "", files))
    return found


def records_of(folder: Path, students: Collection[str]) -> list[Found]:
    """The records of students that are made again."""
    found = []
    for path in record_paths(folder):
        with suppress(RecordError):
            record = read_record(path)
            if record.upstream in students:
                files = (path, path.with_suffix(".jsonl"))
                found.append(Found(f"{record.upstream} on {record.task}", REMADE, files))
    return found


def found_student(folder: Path, name: str, config: Mapping[str, Any]) -> Found | None:
    """A student's checkpoint, or its half-done distillation, None if there is neither.

    config: everything that decides the student, as plain values; how its teacher is spelt does not. A half-done
    distillation that is damaged is no misfit: it is begun again.
    """
    config = {key: value for key, value in config.items() if key != "teacher"}
    files = tuple(folder / name for name in (FILE_NAME, STATE, CURVE))
    if (folder / FILE_NAME).exists():
        try:
            info = load_checkpoint(folder)[1]
        except CheckpointError as error:
            return Found(f"student {name}", str(error), files)
        return Found(f"student {name}", changes(info.history | {"dims": plain(asdict(info.dims))}, config), files)
    if (folder / STATE).exists():
        made = kept_config(folder / STATE)
        return Found(f"student {name}, half done", "" if made is None else changes(made, config), files)
    return None


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which of the settings of now were others, as `key: old -> new`; empty if all are the same."""
    old, new = (_flat({key: values.get(key) for key in now}) for values in (before, now))
    keys = [key for key in dict.fromkeys([*new, *old]) if old.get(key) != new.get(key)]
    shown = [f"{key}: {_short(old.get(key))} -> {_short(new.get(key))}" for key in keys[:SHOWN]]
    return ", ".join([*shown, *([f"and {len(keys) - SHOWN} more"] if len(keys) > SHOWN else [])])


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """The values as JSON gives them back."""
    made: dict[str, Any] = json.loads(json.dumps(values))
    return made


def _damage(record: Record, folder: Path) -> str:
    """What is wrong with a record's predictions."""
    try:
        if record.value is not None:
            read_predictions(folder, record)
    except RecordError as error:
        return str(error)
    return ""


def _misfit(record: Record, context: Context, ours: Mapping[str, Upstream], remade: Collection[str]) -> str:
    if record.upstream in remade:
        return REMADE
    if record.suite != context.suite.name:
        return f"suite: {record.suite} -> {context.suite.name}"
    if record.task not in TASKS:
        return f"{record.task} is no task"
    task = load_task(record.task, context.protocol)
    if record.upstream not in ours or task.name not in context.fingerprints:
        own = upstream_config(ours[record.upstream]) if record.upstream in ours else {}
        return changes(record.config, plain(task_config(task, context) | own))
    config = cell_config(task, ours[record.upstream], context)
    if record.config_hash == provenance.config_hash(config):
        return ""
    return changes(record.config, plain(config)) or f"config_hash: {record.config_hash} -> another"


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}": value}
    return found


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
