"""One run, from the suite to the tables: distil, evaluate, count, report; each result is kept as it is made."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.cache import GIB, MemoryCache
from harness.complexity import PROFILING_SAMPLES
from harness.config import EvaluationSettings, RunSettings, UsageError, without_folders
from harness.counting import count_rows, macs
from harness.distill import DistillSettings
from harness.distilled import CURVE, distilled, new_student
from harness.evaluate import evaluate_all, open_context
from harness.features import PLAIN, Extractor, bad_file_limit
from harness.progress import Stages
from harness.suite import Store, default_store, open_suite
from reports.page import RunReport, write_report
from reports.records import Record, read_records, write_text
from students.checkpoints import load_checkpoint
from students.criterion import check
from students.objective_names import parse
from students.presets import Size
from students.resolve import resolve
from students.upstreams import Upstream, fbank, untrained
from tasks.corpora.librispeech import librispeech
from tasks.mini.settings import MINI_DISTILLATION
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
        students = {
            name: new_student(name, self.size, teacher, self.settings.seed).dims for name in self.settings.students
        }
        for cell in self.settings.cells:
            check(parse(cell.objective), students[cell.student], teacher.inside().dims)

    def resolved(self) -> dict[str, Any]:
        """Everything that decides the run's numbers, as plain values."""
        protocol = self.settings.protocol
        probes = {name: asdict(self.suite.probe(load_task(name, protocol))) for name in self.settings.tasks}
        return self.resolved_distillation() | _plain({"protocol": protocol, "probes": probes})

    def resolved_distillation(self) -> dict[str, Any]:
        """Everything that decides the students, as plain values."""
        resolved = {
            "teacher": without_folders(self.settings.teacher),
            "teacher_sha256": self.teacher.upstream.fingerprint,
            "suite": self.settings.suite,
            "data_fingerprint": self.suite.data_fingerprint([self.splits]),
            "seed": self.settings.seed,
            "device": self.settings.device,
            "distillation": {cell.name: asdict(settings) for cell, settings in self.distillation.items()},
        }
        return _plain(resolved)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def execute(settings: RunSettings, stages: Stages) -> list[Record]:
    """Do the whole plan and return the records; a result that is already in the folder is not computed again.

    Raises UsageError if the folder holds a run with other settings.
    """
    run = Run(settings, stages)
    _claim(settings.out, run.resolved())
    students = _distilled(run)
    counts = _counts(run)
    records = _evaluate(run, students)
    _report(run, students, records, counts)
    return records


def execute_distillation(settings: RunSettings, stages: Stages) -> list[Path]:
    """The distillations of a run alone; returns the folders of their checkpoints.

    Raises UsageError if the folder holds a run with other settings.
    """
    run = Run(settings, stages)
    _claim(settings.out, run.resolved_distillation())
    _distilled(run)
    return [settings.out / STUDENTS_FOLDER / cell.folder for cell in settings.cells]


def _distilled(run: Run) -> list[Upstream]:
    """The students of a run, from its folder where they are there already."""
    folder, resolved = run.settings.out / STUDENTS_FOLDER, run.resolved_distillation()
    return [
        distilled(folder / cell.folder, cell, run.splits, run.teacher, how, resolved, run.stages)
        for cell, how in run.distillation.items()
    ]


def _claim(folder: Path, resolved: dict[str, Any]) -> None:
    """Write the resolved settings to the run's folder, or find those that are there unchanged and add to them."""
    path, before = folder / "settings.json", {}
    if path.exists():
        before = _stored(path)
        if not isinstance(before, dict):
            raise UsageError(f"{path} holds no settings: remove it, and give the command again")
        changed = [key for key in resolved if key in before and not _agree(before[key], resolved[key])]
        if changed:
            raise UsageError(
                f"{folder} holds a run with another {', '.join(changed)}: give a new folder with --out, or remove it"
            )
    probes = before.get("probes", {}) | resolved.get("probes", {})
    write_text(path, json.dumps(before | resolved | ({"probes": probes} if probes else {}), indent=2) + "\n")


def _agree(before: Any, now: Any) -> bool:
    """Equal, and of the probes of single tasks those that are in both."""
    if isinstance(before, dict) and isinstance(now, dict):
        return all(before[key] == now[key] for key in before.keys() & now.keys())
    return bool(before == now)


def _stored(path: Path) -> Any:
    """What a JSON file of the run's folder holds. Raises UsageError if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} cannot be read ({error}): remove it, and give the command again") from error


def _counts(run: Run) -> list[dict[str, Any]]:
    """Parameters and MACs: the paper-size students traced on the shortest bucket, HuBERT Base by formula alone; on the
    mini suite the measured networks too, traced on all profiling lengths."""
    path = run.settings.out / "counts.json"
    if path.exists():
        stored: list[dict[str, Any]] = _stored(path)
        return stored
    everything, students = tuple(PROFILING_SAMPLES), run.settings.students
    plan: list[tuple[str, Size, tuple[str, ...]]] = [(name, "paper", everything[:1]) for name in students]
    plan.append(("hubert_base", "paper", ()))
    if run.size == "mini":
        plan = [*((name, "mini", everything) for name in (*students, "hubert_base")), *plan]
    rows = count_rows(plan, run.stages)
    write_text(path, json.dumps(rows, indent=2) + "\n")
    return rows


def _evaluate(run: Run, students: list[Upstream]) -> list[Record]:
    """Every upstream on every task, one record each; finished ones are read, not computed."""
    settings = run.settings
    context = open_context(
        settings.out / "records", run.suite, settings.protocol, settings.tasks, settings.seed, settings.device
    )
    records = []
    controls = [untrained(name, run.size, settings.seed) for name in settings.students]
    for upstream in (fbank(), run.teacher.upstream, *controls, *students):
        cache = run.teacher.cache if upstream is run.teacher.upstream and run.store is None else None
        records += evaluate_all(upstream, macs(upstream), context, run.stages, cache)
    return records


def _report(run: Run, students: list[Upstream], records: list[Record], counts: list[dict[str, Any]]) -> None:
    """Figures and pages of the run, from what lies in its folder."""
    folders = {cell.name: run.settings.out / STUDENTS_FOLDER / cell.folder for cell in run.distillation}
    curves = {name: _rows(folder / CURVE) for name, folder in folders.items()}
    set_aside: dict[str, str] = {}
    for folder in folders.values():
        set_aside |= load_checkpoint(folder)[1].history["set_aside"]
    with run.stages.stage("report", 1) as advance:
        seconds, grams = run.stages.seconds, _grams(run, students)
        report = RunReport(records, counts, curves, run.resolved(), seconds, grams=grams, set_aside=set_aside)
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


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def execute_evaluation(settings: EvaluationSettings, stages: Stages) -> list[Record]:
    """One upstream on the tasks of a suite, with a report; a result already in the folder is not computed again.

    Raises UsageError, CorpusError and UpstreamError for what cannot be evaluated, before anything is computed.
    """
    upstream = resolve(settings.upstream, settings.seed)
    suite = open_suite(settings.suite, settings.corpora, _store(settings), stages)
    context = open_context(settings.out / "records", suite, settings.protocol, settings.tasks, settings.seed, "cpu")
    spelt = {"upstream": without_folders(settings.upstream)}
    decisive = ("suite", "protocol", "seed")
    fixed = {name: getattr(settings, name) for name in decisive}
    _claim(settings.out, spelt | fixed | {"weights": upstream.fingerprint})
    records = evaluate_all(upstream, macs(upstream), context, stages)
    shown = spelt | {"tasks": list(settings.tasks), **fixed, "cache_gb": settings.cache_gb}
    write_report(settings.out, RunReport(read_records(context.folder), [], {}, shown, stages.seconds))
    return records


def _store(settings: RunSettings | EvaluationSettings) -> Store | None:
    """Where hidden states stay: in the folder given, in the user's cache for the official corpora, else in memory."""
    folder = settings.cache or (default_store() if settings.suite == "superb" else None)
    return Store(folder, int(settings.cache_gb * GIB)) if folder else None
