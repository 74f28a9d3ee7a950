"""One upstream on the tasks: folds, scores, records."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import quote

import numpy as np

from harness import provenance
from harness.cache import MemoryCache, StateCache
from harness.features import Extractor, TooManyBadFiles, bad_file_limit, read_item
from harness.probe import FoldResult, NotFiniteError, run_fold
from harness.progress import Stages
from harness.search import run_search
from harness.states import StateFile
from harness.suite import STATES_VERSION, Folds, Suite
from reports.records import Record, read_records, record_path, write_record
from students.upstreams import Upstream
from tasks.audio import AudioError
from tasks.base import Item, Metric, ProbeSettings, Protocol, Splits, Task, Trial
from tasks.metrics import summary
from tasks.registry import load_task


@dataclass(frozen=True)
class Context:
    """What all records of a run share: tasks and their data, seed, machine and the folder where records go."""

    folder: Path
    suite: Suite
    protocol: Protocol
    tasks: list[Task]
    folds: Folds
    fingerprints: dict[str, str]  # of the data, by task
    seed: int
    device: str
    commit: str | None
    dirty: bool | None
    versions: dict[str, str]


def open_context(
    folder: Path, suite: Suite, protocol: Protocol, names: Sequence[str], seed: int, device: str
) -> Context:
    """Read the tasks' corpora and make the folder. Raises CorpusError that tells all that is wrong with them."""
    tasks = [load_task(name, protocol) for name in names]
    folds = suite.read(tasks)
    fingerprints = {name: suite.data_fingerprint(some) for name, some in folds.items()}
    folder.mkdir(parents=True, exist_ok=True)
    commit, dirty = provenance.commit()
    machine = provenance.device_name(device)
    versions = provenance.versions()
    return Context(folder, suite, protocol, tasks, folds, fingerprints, seed, machine, commit, dirty, versions)


def evaluate_all(
    upstream: Upstream, facts: dict[str, Any], context: Context, stages: Stages, cache: StateCache | None = None
) -> list[Record]:
    """One upstream on every task; a result that is already in the folder is read, not computed.

    facts: fields of the records that belong to the upstream (macs and the like). cache: one for all tasks that
    may hold states already (None: as the suite keeps them).
    """
    done = {(record.config_hash, record.metric): record for record in read_records(context.folder)}
    if cache is None and context.suite.store is None:
        cache = MemoryCache()
    records = []
    for task in context.tasks:
        key = provenance.config_hash(cell_config(task, upstream, context))
        finished = [done[key, metric.name] for metric in task.metrics if (key, metric.name) in done]
        if len(finished) < len(task.metrics) or any(_to_repeat(record, task, context) for record in finished):
            kept = cache or context.suite.cache(upstream, context.folds[task.name])
            limit = bad_file_limit(context.folds[task.name])
            finished = evaluate(task, Extractor(upstream, limit, kept), context, facts, stages)
        # Here, as a run may have been killed between the last record and this.
        for path in half_done(context.folder, upstream.name, task.name):
            path.unlink()
        records += finished
    return records


def cell_config(task: Task, upstream: Upstream, context: Context) -> dict[str, Any]:
    """Everything that decides one score; a record with the same configuration need not be computed again."""
    return task_config(task, context) | upstream_config(upstream)


def upstream_config(upstream: Upstream) -> dict[str, Any]:
    """What decides the scores of an upstream on all tasks."""
    return {
        "upstream": upstream.name,
        "upstream_fingerprint": upstream.fingerprint,
        "states": list(upstream.states),
    }


def task_config(task: Task, context: Context) -> dict[str, Any]:
    """What decides the scores of all upstreams on a task; of data that are not at hand nothing is said."""
    fingerprint = context.fingerprints.get(task.name, context.suite.fingerprint)
    return {
        "task": task.name,
        "task_version": task.version,
        "protocol": task.protocol,
        "states_version": STATES_VERSION,
        "audio": asdict(task.audio),
        "probe": asdict(context.suite.probe(task)),
        "seed": context.seed,
    } | ({"data_fingerprint": fingerprint} if fingerprint else {})


def evaluate(task: Task, extractor: Extractor, context: Context, facts: dict[str, Any], stages: Stages) -> list[Record]:
    """Train and test one probe per fold and write the records, one a metric, at once.

    A task that fails because too many of its files are unusable, or because no head can be trained, gets records
    without value that say so.
    """
    upstream, settings = extractor.upstream, context.suite.probe(task)
    folds = context.folds[task.name]
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    failure: list[str] = []
    results: list[FoldResult] = []
    try:
        results = _results(task, folds, extractor, context, stages)
    except (TooManyBadFiles, NotFiniteError) as error:
        failure = [str(error)]
        stages.say(f"Error: {upstream.name} on {task.name}: {error}")
    predictions = [
        prediction | ({"fold": index + 1} if len(folds) > 1 else {})
        for index, result in enumerate(results)
        for prediction in result.predictions
    ]
    config = cell_config(task, upstream, context)
    shared = {
        **_shared(context),
        **facts,
        "upstream": upstream.name,
        "upstream_kind": upstream.kind,
        "checkpoint_sha256": upstream.fingerprint if upstream.parameters else None,
        "parameters": upstream.parameters,
        "teacher": upstream.teacher,
        "objective": upstream.objective,
        "task": task.name,
        "task_version": task.version,
        "split": "test",
        "n_examples": len(predictions),
        "n_total": sum(len(fold.get(part, ())) for fold in folds for part in _scored_parts(task)),
        "data_fingerprint": context.fingerprints[task.name],
        "config_hash": provenance.config_hash(config),
        "config": config | {"dev_metric": task.selection.name, "folds": [_fold_facts(result) for result in results]},
        "learning_rate": _agreed([result.learning_rate for result in results]),
        "learning_rates": list(settings.learning_rates),
        "dev_value": fmean(result.dev_score for result in results) if results else None,
        "deviations": deviations(task, settings),
        "started_at": started_at,
        "seconds": {
            key: round(sum(r.seconds[key] for r in results), 3) for key in (results[0].seconds if results else ())
        },
        "skipped": failure or sorted({name for result in results for name in result.skipped}),
    }
    records = [Record(**shared, **_scored(metric, results, context.seed)) for metric in task.metrics]
    for record in records:
        # If this is killed between two writes, no older record may stand beside these predictions.
        record_path(context.folder, record).unlink(missing_ok=True)
    paths = [write_record(context.folder, record, predictions) for record in records]
    return [replace(record, predictions=f"{path.stem}.jsonl") for record, path in zip(records, paths, strict=True)]


def deviations(task: Task, settings: ProbeSettings) -> list[str]:
    """Where a probe leaves the official recipe, one plain line each."""
    everywhere = (
        "hidden states of each utterance alone, exactly its own frames, without padding",
        "constant learning rate; the STaR and ARM papers' scores have warm-up and linear decay",
        "one stream of random numbers from the seed of the run; officially seed 1337, set anew at every evaluation",
    )
    official, used = asdict(task.official), asdict(settings)
    changed = [f"{key} {used[key]}, official {official[key]}" for key in official if used[key] != official[key]]
    return [*everywhere, *task.differences, *changed]


def _results(
    task: Task, folds: list[Splits], extractor: Extractor, context: Context, stages: Stages
) -> list[FoldResult]:
    settings, upstream = context.suite.probe(task), extractor.upstream
    units = len(upstream.states) if task.head == "search" else settings.steps
    items = sum(_heard(part) for fold in folds for name, part in fold.items() if not name.startswith("other "))
    with stages.stage(f"{upstream.name} {task.name}", items + len(folds) * units) as advance:
        if task.head == "search":
            return [run_search(task, fold, extractor, settings, context.seed, advance) for fold in folds]
        kept = [_state_file(task, upstream, context, index, stages) for index in range(len(folds))]
        return [
            run_fold(task, fold, extractor, settings, context.seed + index, advance, kept[index])
            for index, fold in enumerate(folds)
        ]


def _state_file(task: Task, upstream: Upstream, context: Context, fold: int, stages: Stages) -> StateFile:
    """Where the half-done probe of a fold stays until the cell's records are written."""
    config = json.loads(json.dumps(cell_config(task, upstream, context) | {"fold": fold}))
    path = context.folder / f"{_stem(upstream.name, task.name)}fold{fold}.pt"
    return StateFile(path, config, stages.say)


def half_done(folder: Path, upstream: str, task: str) -> list[Path]:
    """The states of half-done probes of a cell, of whatever seed."""
    return sorted(folder.glob(f"{_stem(upstream, task)}*.pt"))


def _stem(upstream: str, task: str) -> str:
    return f"{quote(upstream, safe='')}.{task}."


def _heard(items: Sequence[Item]) -> int:
    """How many stretches of audio these examples need."""
    files = {(item.path, item.start) for item in items}
    return len(files | {(item.other, 0) for item in items if isinstance(item, Trial)})


def _to_repeat(record: Record, task: Task, context: Context) -> bool:
    """Whether the cell failed, or a file that it set aside can be read again."""
    if record.value is None:
        return True
    items: dict[str, Item] = {}
    for item in (item for fold in context.folds[task.name] for part in fold.values() for item in part):
        items |= {item.id: item}
        if isinstance(item, Trial):
            left, right = item.id.split(" ")
            items |= {left: Item(left, item.path, ""), right: Item(right, item.other, "")}
    for id, _, reason in (entry.partition(": ") for entry in record.skipped):
        if id in items and reason.startswith("cannot "):
            with suppress(AudioError):
                read_item(items[id], task.audio)
                return True
    return False


def _scored_parts(task: Task) -> tuple[str, ...]:
    """The official score of QbE counts the queries of other languages too."""
    return ("test", "other test") if task.protocol == "official" else ("test",)


def _shared(context: Context) -> dict[str, Any]:
    return {
        "suite": context.suite.name,
        "synthetic": context.suite.name == "mini",
        "seed": context.seed,
        "commit": context.commit,
        "dirty": context.dirty,
        "versions": context.versions,
        "device": context.device,
    }


def _scored(metric: Metric, results: list[FoldResult], seed: int) -> dict[str, Any]:
    """A metric's mean over the folds, with its sampling error; nothing if the cell failed."""
    named = {"metric": metric.name, "higher_is_better": metric.higher_is_better}
    if not results:
        return named | dict.fromkeys(("value", "stderr", "low", "high", "stderr_method"))
    draws = np.mean([metric.draws(result.predictions, seed + i) for i, result in enumerate(results)], axis=0)
    interval = summary(draws)
    return named | {
        "value": fmean(metric.score(result.predictions) for result in results),
        "stderr": interval.stderr,
        "low": interval.low,
        "high": interval.high,
        "stderr_method": f"bootstrap over {metric.unit}, 1000 draws",
    }


def _agreed(rates: list[float | None]) -> float | None:
    return rates[0] if rates and len(set(rates)) == 1 else None


def _fold_facts(result: FoldResult) -> dict[str, Any]:
    return {
        "learning_rate": result.learning_rate,
        "dev_scores": result.dev_scores,
        "layer_weights": [round(weight, 4) for weight in result.layer_weights],
        "skipped_updates": result.skipped_updates,
    }
