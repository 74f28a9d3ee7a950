"""One run, from the suite to the tables: distil, evaluate, count, report; each result is kept as it is made."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.cache import GIB, MemoryCache
from harness.cells import (
    CURVE,
    Found,
    changes,
    found_records,
    found_student,
    plain,
    records_of,
    settle,
)
from harness.complexity import PROFILING_SAMPLES
from harness.config import Cell, EvaluationSettings, Overwrite, RunSettings, UsageError, without_folders
from harness.counting import count_rows, formula_row, macs
from harness.distill import DistillSettings
from harness.distilled import distilled, new_student
from harness.evaluate import Context, evaluate_all, open_context
from harness.features import PLAIN, Extractor, bad_file_limit
from harness.progress import Stages
from harness.suite import Store, default_store, open_suite
from reports.page import RunReport, write_report
from reports.records import Record, read_records, remove_half_written, write_text
from students.checkpoints import FILE_NAME, load_checkpoint
from students.criterion import check
from students.objective_names import parse
from students.presets import Size
from students.resolve import resolve
from students.upstreams import Upstream, fbank, from_checkpoint, untrained
from tasks.corpora.librispeech import librispeech
from tasks.mini.settings import MINI_DISTILLATION
from tasks.processes import LockedError, locked
from tasks.registry import load_task

# Of DistillSettings, as the public reproduction has it on 100 h: 200 epochs, 24 utterances an update, two at a time.
OFFICIAL_DISTILLATION: dict[str, Any] = {
    "steps": 237_800,
    "batch_seconds": 25.4,
    "accumulate": 12,
    "learning_rate": 1e-3,
    "validate_every": 1000,
}

STUDENTS_FOLDER = "students"
COUNTS = "counts.json"


class Run:
    """A run in progress: its settings, where the corpora are, and what several stages share."""

    def __init__(self, settings: RunSettings, stages: Stages) -> None:
        self.settings, self.stages = settings, stages
        self.store = _store(settings)
        self.suite = open_suite(settings.suite, settings.corpora, self.store, stages)
        self.size: Size = "mini" if settings.suite == "mini" else "paper"
        self.splits = librispeech(self.suite.corpora)[0]
        upstream = resolve(settings.teacher, settings.seed)
        cache = None if self.store is None else self.suite.cache(upstream, [self.splits])
        self.teacher = Extractor(upstream, bad_file_limit([self.splits]), cache or MemoryCache())
        scale = MINI_DISTILLATION if self.size == "mini" else OFFICIAL_DISTILLATION
        self.distillation = {cell: DistillSettings(cell.objective, **scale) for cell in settings.cells}
        self._check()

    def _check(self) -> None:
        """Raises before anything is done what would stop a student later: UsageError, UpstreamError, CriterionError."""
        if self.settings.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("no GPU that PyTorch sees: expected one for --device cuda; type --device cpu")
        teacher = self.teacher.upstream
        self.dims = {
            name: new_student(name, self.size, teacher, self.settings.seed).dims for name in self.settings.students
        }
        for cell in self.settings.cells:
            check(parse(cell.objective), self.dims[cell.student], teacher.inside().dims)

    def resolved(self) -> dict[str, Any]:
        """Everything that decides the run's numbers, as plain values."""
        protocol = self.settings.protocol
        probes = {name: asdict(self.suite.probe(load_task(name, protocol))) for name in self.settings.tasks}
        return self.resolved_distillation() | plain({"protocol": protocol, "probes": probes})

    def resolved_distillation(self) -> dict[str, Any]:
        """Everything that decides the students, as plain values."""
        resolved = self._teaching() | {
            "distillation": {cell.name: asdict(settings) for cell, settings in self.distillation.items()}
        }
        return plain(resolved)

    def student_config(self, cell: Cell) -> dict[str, Any]:
        """Everything that decides one student, as plain values."""
        dims = asdict(self.dims[cell.student])
        return plain(self._teaching() | {"distillation": asdict(self.distillation[cell]), "dims": dims})

    def _teaching(self) -> dict[str, Any]:
        return {
            "teacher": without_folders(self.settings.teacher),
            "teacher_sha256": self.teacher.upstream.fingerprint,
            "suite": self.settings.suite,
            "data_fingerprint": self.suite.data_fingerprint([{part: self.splits[part] for part in ("train", "dev")}]),
            "seed": self.settings.seed,
            "device": self.settings.device,
        }

    def folder(self, cell: Cell) -> Path:
        """Where a student's checkpoint is."""
        return self.settings.out / STUDENTS_FOLDER / cell.folder

    def beside(self) -> list[Upstream]:
        """What is evaluated beside the students."""
        controls = [untrained(name, self.size, self.settings.seed) for name in self.settings.students]
        return [fbank(), self.teacher.upstream, *controls]


def execute(settings: RunSettings, stages: Stages, overwrite: Overwrite = "never") -> list[Record]:
    """Do the whole plan and return the records; a result that is already in the folder is not computed again.

    overwrite: what becomes of results that were made with other settings. Raises UsageError before anything is computed
    if they may not be overwritten, or if another run works in the folder.
    """
    run = Run(settings, stages)
    context = open_context(
        settings.out / "records", run.suite, settings.protocol, settings.tasks, settings.seed, settings.device
    )
    with alone(settings.out):
        beside = run.beside()
        there, remade = _found_students(run, overwrite)
        known = [*beside, *(from_checkpoint(run.folder(cell), cell.name) for cell in _finished(run, remade))]
        settle([*found_records(context, known, remade), *there, *_found_counts(run)], overwrite, stages.say)
        _describe(settings.out, run.resolved())
        students = _distilled(run)
        # Records of a student that was not there may be those of one with other weights.
        again: Overwrite = "never" if overwrite == "never" else "stale"
        settle(found_records(context, [*beside, *students]), again, stages.say)
        counts = _counts(run)
        records = _evaluate(run, [*beside, *students], context)
        _report(run, students, records, counts)
    return records


def execute_distillation(settings: RunSettings, stages: Stages, overwrite: Overwrite = "never") -> list[Path]:
    """The distillations of a run alone; returns the folders of their checkpoints.

    overwrite, Raises: see `execute`. The records of a student that is made again are removed.
    """
    run = Run(settings, stages)
    with alone(settings.out):
        there, remade = _found_students(run, overwrite)
        settle([*records_of(settings.out / "records", remade), *there], overwrite, stages.say)
        _describe(settings.out, run.resolved_distillation())
        _distilled(run)
    return [run.folder(cell) for cell in settings.cells]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder, and clear away what a killed run was writing there. Raises UsageError if another one holds it."""
    try:
        with locked(folder / ".lock") as held:
            places = (folder, *folder.glob("records"), *folder.glob("figures"), *folder.glob("students/*"))
            for place in places if held else ():
                remove_half_written(place)
            yield
    except LockedError as error:
        raise UsageError(
            f"another run works in {folder} ({error}): wait for its end, or give another folder with --out"
        ) from error


def _describe(folder: Path, resolved: dict[str, Any]) -> None:
    write_text(folder / "settings.json", json.dumps(resolved, indent=2) + "\n")


def _found_students(run: Run, overwrite: Overwrite) -> tuple[list[Found], list[str]]:
    """What is there of each student, and the names of those that are made again."""
    found = {
        cell.name: found_student(run.folder(cell), cell.name, run.student_config(cell)) for cell in run.distillation
    }
    there = [each for each in found.values() if each]
    return there, [name for name, each in found.items() if each and (each.misfit or overwrite == "always")]


def _finished(run: Run, remade: list[str]) -> list[Cell]:
    return [cell for cell in run.distillation if cell.name not in remade and (run.folder(cell) / FILE_NAME).exists()]


def _distilled(run: Run) -> list[Upstream]:
    """The students of a run, from its folder where they are there already."""
    return [
        distilled(run.folder(cell), cell, run.splits, run.teacher, how, run.student_config(cell), run.stages)
        for cell, how in run.distillation.items()
    ]


def _count_plan(run: Run) -> list[tuple[str, Size, tuple[str, ...]]]:
    """The paper-size students traced on the shortest bucket, HuBERT Base by formula alone; on the mini suite the
    measured networks too, traced on all profiling lengths."""
    everything, students = tuple(PROFILING_SAMPLES), run.settings.students
    plan: list[tuple[str, Size, tuple[str, ...]]] = [(name, "paper", everything[:1]) for name in students]
    plan.append(("hubert_base", "paper", ()))
    if run.size == "mini":
        plan = [*((name, "mini", everything) for name in (*students, "hubert_base")), *plan]
    return plan


def _stored_counts(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows that the folder holds, by name and size; none if they cannot be read, and are then counted again."""
    try:
        return {(row["name"], row["size"]): row for row in json.loads(path.read_text(encoding="utf-8"))}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return {}


def _found_counts(run: Run) -> list[Found]:
    path, found = run.settings.out / COUNTS, []
    stored = _stored_counts(path)
    for name, size, buckets in _count_plan(run):
        if row := stored.get((name, size)):
            now = {key: value for key, value in formula_row(name, size, buckets).items() if key != "method"}
            found.append(Found(f"counts of {name} ({size})", changes(row, now), (path,)))
    return found


def _counts(run: Run) -> list[dict[str, Any]]:
    """Parameters and MACs, counted where the folder has no such row yet."""
    path, plan = run.settings.out / COUNTS, _count_plan(run)
    rows = _stored_counts(path)
    missing = [each for each in plan if rows.get(each[:2]) != formula_row(*each)]
    if missing:
        rows |= {(row["name"], row["size"]): row for row in count_rows(missing, run.stages)}
    planned = {(name, size): rows[name, size] for name, size, _ in plan}
    write_text(path, json.dumps(list((planned | rows).values()), indent=2) + "\n")
    return list(planned.values())


def _evaluate(run: Run, upstreams: list[Upstream], context: Context) -> list[Record]:
    """Every upstream on every task, one record each; finished ones are read, not computed."""
    records = []
    for upstream in upstreams:
        cache = run.teacher.cache if upstream is run.teacher.upstream and run.store is None else None
        records += evaluate_all(upstream, macs(upstream), context, run.stages, cache)
    return records


def _report(run: Run, students: list[Upstream], records: list[Record], counts: list[dict[str, Any]]) -> None:
    """Figures and pages of the run, from what lies in its folder."""
    folders = {cell.name: run.folder(cell) for cell in run.distillation}
    curves = {name: _curve(folder / CURVE, run.stages) for name, folder in folders.items()}
    set_aside: dict[str, str] = {}
    for folder in folders.values():
        set_aside |= load_checkpoint(folder)[1].history["set_aside"]
    with run.stages.stage("report", 1) as advance:
        seconds, grams = run.stages.seconds, _grams(run, students)
        shown = {name: curve for name, curve in curves.items() if curve}
        report = RunReport(records, counts, shown, run.resolved(), seconds, grams=grams, set_aside=set_aside)
        write_report(run.settings.out, report)
        advance(1)


def _grams(run: Run, students: list[Upstream]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The last states (frames, dim) of teacher and student for one utterance of dev, by what they are."""
    item = min(run.splits["dev"], key=lambda item: item.id)
    heard = run.teacher.frames([item], PLAIN)[0]
    found = {}
    for student in students:
        said = Extractor(student).frames([item], PLAIN)[0]
        if heard is not None and said is not None and heard.shape[1] == said.shape[1]:
            found[f"last layer, {student.name}, {item.id}"] = (heard[-1].numpy(), said[-1].numpy())
    return found


def _curve(path: Path, stages: Stages) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (FileNotFoundError, ValueError) as error:
        stages.say(f"{path} cannot be read ({error}): the report has no distillation curve of that student")
        return []


def execute_evaluation(settings: EvaluationSettings, stages: Stages, overwrite: Overwrite = "never") -> list[Record]:
    """One upstream on the tasks of a suite, with a report; a result already in the folder is not computed again.

    Raises UsageError (see `execute`), CorpusError and UpstreamError for what cannot be evaluated, before anything is
    computed.
    """
    upstream = resolve(settings.upstream, settings.seed)
    suite = open_suite(settings.suite, settings.corpora, _store(settings), stages)
    context = open_context(settings.out / "records", suite, settings.protocol, settings.tasks, settings.seed, "cpu")
    with alone(settings.out):
        settle(found_records(context, [upstream]), overwrite, stages.say)
        spelt = {"upstream": without_folders(settings.upstream)}
        fixed = {name: getattr(settings, name) for name in ("suite", "protocol", "seed")}
        _describe(settings.out, spelt | fixed | {"weights": upstream.fingerprint})
        records = evaluate_all(upstream, macs(upstream), context, stages)
        shown = spelt | {"tasks": list(settings.tasks), **fixed, "cache_gb": settings.cache_gb}
        write_report(settings.out, RunReport(read_records(context.folder), [], {}, shown, stages.seconds))
    return records


def _store(settings: RunSettings | EvaluationSettings) -> Store | None:
    """Where hidden states stay: in the folder given, in the user's cache for the official corpora, else in memory."""
    folder = settings.cache or (default_store() if settings.suite == "superb" else None)
    return Store(folder, int(settings.cache_gb * GIB)) if folder else None
