"""One run, from the suite to the tables: distil, evaluate, count, report; each result is kept as it is made."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import provenance
from harness.complexity import PROFILING_SAMPLES, profile
from harness.config import RunSettings, UsageError
from harness.counting import count_rows
from harness.distill import DistillationData, DistillSettings, distill
from harness.evaluate import Context, cell_config, evaluate
from harness.features import Extractor
from harness.progress import Stages
from reports.figures import distillation_figure
from reports.page import RunReport, write_report
from reports.records import Record, read_records, write_text
from reports.tables import overall_scores, suite_label
from students.checkpoints import FILE_NAME, save_checkpoint
from students.presets import STUDENTS
from students.upstreams import Upstream, fbank, from_checkpoint, mini_teacher, untrained
from tasks.corpora.librispeech import librispeech
from tasks.mini.settings import MINI_DISTILLATION, MINI_PROBES
from tasks.mini.suite import ensure_suite, suite_fingerprint
from tasks.registry import load_task

CURVE = "distillation.jsonl"


class Run:
    """A run in progress: its settings, where the corpora are, and what several stages share."""

    def __init__(self, settings: RunSettings, stages: Stages) -> None:
        self.settings, self.stages = settings, stages
        with stages.stage("mini (synthetic speech)", 1) as advance:
            self.corpora = ensure_suite(settings.corpora)
            advance(1)
        self.fingerprint = suite_fingerprint(self.corpora)
        self.teacher = Extractor(mini_teacher())
        self.distillation = DistillSettings(settings.objective, **MINI_DISTILLATION)

    def resolved(self) -> dict[str, Any]:
        """Everything that decides the run's numbers, as plain values."""
        resolved = {
            "student": self.settings.student,
            "teacher": self.settings.teacher,
            "teacher_sha256": self.teacher.upstream.fingerprint,
            "suite": self.settings.suite,
            "data_fingerprint": self.fingerprint,
            "seed": self.settings.seed,
            "device": self.settings.device,
            "distillation": asdict(self.distillation),
            "probes": {name: asdict(MINI_PROBES[name]) for name in self.settings.tasks},
        }
        plain: dict[str, Any] = json.loads(json.dumps(resolved))
        return plain


def execute(settings: RunSettings, stages: Stages) -> list[Record]:
    """Do the whole plan and return the records; a result that is already in the folder is not computed again.

    Raises UsageError if the folder holds a run with other settings.
    """
    run = Run(settings, stages)
    _claim(settings.out, run.resolved())
    student = _distilled(run)
    counts = _counts(run)
    records = _evaluate(run, student)
    _report(run, records, counts)
    return records


def _claim(folder: Path, resolved: dict[str, Any]) -> None:
    """Write the resolved settings to the run's folder, or find them there unchanged."""
    path = folder / "settings.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [key for key in resolved if before.get(key) != resolved[key]]
        if changed:
            raise UsageError(
                f"{folder} holds a run with another {', '.join(changed)}: give a new folder with --out, or remove it"
            )
    write_text(path, json.dumps(resolved, indent=2) + "\n")


def _distilled(run: Run) -> Upstream:
    """The distilled student, from the run's folder if it is there already."""
    name = run.settings.student
    folder = run.settings.out / "student"
    if not (folder / FILE_NAME).exists():
        preset = STUDENTS[name]()
        splits = librispeech(run.corpora)[0]
        utterances = len(splits["train"]) + len(splits["dev"])
        with run.stages.stage(f"{run.settings.teacher} states", utterances) as advance:
            train, valid = (DistillationData(splits[part], run.teacher, advance) for part in ("train", "dev"))
        student = untrained(name, "mini", run.settings.seed).network
        assert student is not None
        student.requires_grad_(True)
        curve = run.settings.out / CURVE
        with (
            curve.open("w", encoding="utf-8") as file,
            run.stages.stage(f"distil {name}", run.distillation.steps) as advance,
        ):

            def report(row: dict[str, Any]) -> None:
                file.write(json.dumps(row) + "\n")
                file.flush()
                advance(1)

            distill(student, train, valid, run.distillation, run.settings.seed, run.settings.device, report)
        history = run.resolved() | {"commit": provenance.commit()[0], "versions": provenance.versions()}
        save_checkpoint(folder, student, name, preset.exposes_input, history)
    return from_checkpoint(folder, "student")


def _counts(run: Run) -> list[dict[str, Any]]:
    """Parameters and MACs: the measured networks traced on all profiling lengths, the paper-size student on the
    shortest bucket, HuBERT Base by formula alone."""
    path = run.settings.out / "counts.json"
    if path.exists():
        stored: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return stored
    everything = tuple(PROFILING_SAMPLES)
    student = run.settings.student
    rows = count_rows(
        [
            (student, "mini", everything),
            ("hubert", "mini", everything),
            (student, "paper", everything[:1]),
            ("hubert", "paper", ()),
        ],
        run.stages,
    )
    write_text(path, json.dumps(rows, indent=2) + "\n")
    return rows


def _evaluate(run: Run, student: Upstream) -> list[Record]:
    """Every upstream on every task, one record each; finished ones are read, not computed."""
    settings = run.settings
    folder = settings.out / "records"
    folder.mkdir(parents=True, exist_ok=True)
    done = {record.config_hash: record for record in read_records(folder)}
    commit, dirty = provenance.commit()
    context = Context(
        folder=folder,
        suite=settings.suite,
        data_fingerprint=run.fingerprint,
        seed=settings.seed,
        device=provenance.device_name(settings.device),
        commit=commit,
        dirty=dirty,
        versions=provenance.versions(),
    )
    tasks = [load_task(name) for name in settings.tasks]
    folds = {task.name: task.folds(run.corpora) for task in tasks}
    control = untrained(settings.student, "mini", settings.seed)
    records = []
    for upstream in (fbank(), run.teacher.upstream, control, student):
        extractor = run.teacher if upstream is run.teacher.upstream else Extractor(upstream)
        facts = {
            "teacher": settings.teacher if upstream.kind == "student" else None,
            "parameters": upstream.parameters,
            "macs": sum(count.total for count in profile(upstream.dims).values()) if upstream.dims else None,
            "macs_convention": "strict" if upstream.network else None,
        }
        for task in tasks:
            probe = MINI_PROBES[task.name]
            key = provenance.config_hash(cell_config(task, probe, upstream, context))
            record = done.get(key) or evaluate(task, probe, folds[task.name], extractor, context, facts, run.stages)
            records.append(record)
    return records


def _report(run: Run, records: list[Record], counts: list[dict[str, Any]]) -> None:
    """Figure and pages of the run, from what lies in its folder."""
    out = run.settings.out
    curve = [json.loads(line) for line in (out / CURVE).read_text(encoding="utf-8").splitlines()]
    with run.stages.stage("report", 1) as advance:
        figure = out / "report.png"
        sizes = {record.upstream: record.parameters or 0 for record in records}
        overall = overall_scores(records)
        distillation_figure(curve, [(name, sizes[name], overall[name]) for name in sizes], figure, suite_label(records))
        settings, seconds = run.resolved(), run.stages.seconds
        write_report(out, RunReport(records, counts, curve, settings, seconds, figure))
        advance(1)
