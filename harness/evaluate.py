"""One upstream on one task: folds, score, record."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from harness import provenance
from harness.features import Extractor
from harness.probe import FoldResult, run_fold
from harness.progress import Stages
from reports.records import Record, write_record
from students.upstreams import Upstream
from tasks.base import ProbeSettings, Splits, Task
from tasks.metrics import bootstrap_stderr, errors_and_counts


@dataclass(frozen=True)
class Context:
    """What all records of a run share: suite, data, seed, machine and where they go."""

    folder: Path
    suite: str
    data_fingerprint: str
    seed: int
    device: str
    commit: str | None
    dirty: bool | None
    versions: dict[str, str]


def cell_config(task: Task, settings: ProbeSettings, upstream: Upstream, context: Context) -> dict[str, Any]:
    """Everything that decides one score; a record with the same configuration need not be computed again."""
    return {
        "task": task.name,
        "task_version": task.version,
        "probe": asdict(settings),
        "upstream": upstream.name,
        "upstream_fingerprint": upstream.fingerprint,
        "states": list(upstream.states),
        "data_fingerprint": context.data_fingerprint,
        "seed": context.seed,
    }


def evaluate(
    task: Task,
    settings: ProbeSettings,
    folds: list[Splits],
    extractor: Extractor,
    context: Context,
    facts: dict[str, Any],
    stages: Stages,
) -> Record:
    """Train and test one probe per fold and write the record at once.

    facts: fields of the record that belong to the upstream (teacher, macs and the like).
    """
    upstream = extractor.upstream
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    config = cell_config(task, settings, upstream, context)
    items = sum(len(part) for fold in folds for part in fold.values())
    with stages.stage(f"{upstream.name} {task.name}", items + len(folds) * settings.steps) as advance:
        results = [
            run_fold(task, fold, extractor, settings, context.seed + index, advance) for index, fold in enumerate(folds)
        ]
    predictions = [
        prediction | ({"fold": index + 1} if len(folds) > 1 else {})
        for index, result in enumerate(results)
        for prediction in result.predictions
    ]
    rates = {result.learning_rate for result in results}
    record = Record(
        **_shared(context),
        **_declared(task, settings),
        **facts,
        upstream=upstream.name,
        upstream_kind=upstream.kind,  # type: ignore[arg-type]
        checkpoint_sha256=upstream.fingerprint if upstream.network else None,
        value=fmean(result.score for result in results),
        stderr=_stderr(task, predictions, context.seed),
        stderr_method="bootstrap over utterances, 1000 draws",
        n_examples=len(predictions),
        n_total=sum(len(fold["test"]) for fold in folds),
        config_hash=provenance.config_hash(config),
        config=config | {"folds": [_fold_facts(result) for result in results]},
        learning_rate=rates.pop() if len(rates) == 1 else None,
        dev_value=fmean(result.dev_score for result in results),
        started_at=started_at,
        seconds={key: round(sum(r.seconds[key] for r in results), 3) for key in results[0].seconds},
        skipped=sorted({name for result in results for name in result.skipped}),
    )
    write_record(context.folder, record, predictions)
    return record


def _shared(context: Context) -> dict[str, Any]:
    return {
        "suite": context.suite,
        "synthetic": context.suite == "mini",
        "seed": context.seed,
        "data_fingerprint": context.data_fingerprint,
        "commit": context.commit,
        "dirty": context.dirty,
        "versions": context.versions,
        "device": context.device,
    }


def _declared(task: Task, settings: ProbeSettings) -> dict[str, Any]:
    return {
        "task": task.name,
        "task_version": task.version,
        "split": "test",
        "metric": task.metric,
        "higher_is_better": task.higher_is_better,
        "learning_rates": list(settings.learning_rates),
        "deviations": deviations(task, settings),
    }


def deviations(task: Task, settings: ProbeSettings) -> list[str]:
    """Where a probe leaves the official recipe, one plain line each."""
    official, used = asdict(task.official), asdict(settings)
    changed = [f"{key} {used[key]}, official {official[key]}" for key in official if used[key] != official[key]]
    return [*task.differences, *changed]


def _fold_facts(result: FoldResult) -> dict[str, Any]:
    return {
        "learning_rate": result.learning_rate,
        "dev_scores": {str(rate): score for rate, score in result.dev_scores.items()},
        "layer_weights": [round(weight, 4) for weight in result.layer_weights],
        "test_score": result.score,
    }


def _stderr(task: Task, predictions: list[dict[str, Any]], seed: int) -> float:
    references = [prediction["reference"] for prediction in predictions]
    hypotheses = [prediction["hypothesis"] for prediction in predictions]
    errors, counts = errors_and_counts(references, hypotheses, tokens=task.metric in ("per", "wer"))
    return bootstrap_stderr(errors, counts, seed)
