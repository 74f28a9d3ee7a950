"""Query by example: no training, one state after another, the best one chosen on dev (superb-protocol 2.4)."""

import time
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from harness.features import TOGETHER, Advance, Extractor, TooManyBadFiles
from harness.probe import FoldResult
from tasks.base import Item, Prediction, ProbeSettings, Splits, Task
from tasks.query import normalise, search, zscore


def run_search(
    task: Task, splits: Splits, extractor: Extractor, settings: ProbeSettings, seed: int, advance: Advance
) -> FoldResult:
    """Search the documents for the queries with every state, choose the state on dev and give its test scores.

    advance: progress, one unit an utterance extracted and one a state searched. settings, seed: nothing is trained.
    """
    started = time.perf_counter()
    parts = {name: splits[name] for name in ("documents", "dev", "test")}
    extractor.keep([item for items in parts.values() for item in items], task.audio)
    for items in parts.values():
        for start in range(0, len(items), TOGETHER):
            extractor.frames(items[start : start + TOGETHER], task.audio, advance)
    extracted = time.perf_counter()
    documents = _usable(extractor, parts["documents"])
    _check_left(extractor, parts)
    totals = {name: len(parts["documents"]) + len(splits["other documents"]) for name in ("dev", "test")}
    tables: dict[str, list[list[Prediction]]] = {"dev": [], "test": []}
    for state in range(len(extractor.upstream.states)):
        searched = _frames(extractor, task, documents, state)
        for name, table in tables.items():
            queries = _usable(extractor, parts[name])
            asked = _frames(extractor, task, queries, state)
            scores = normalise(search(*zscore(asked, searched)))
            others = splits[f"other {name}"] if task.protocol == "official" else []
            table.append(_rows(queries, others, documents, scores, totals[name]))
        advance(1)
    dev = [task.selection.score(rows) for rows in tables["dev"]]
    best = int(np.argmax(dev))
    known = {item.id for items in parts.values() for item in items}
    return FoldResult(
        predictions=tables["test"][best],
        dev_score=dev[best],
        dev_scores=dict(zip(extractor.upstream.states, dev, strict=True)),
        seconds={"extract": extracted - started, "search": time.perf_counter() - extracted},
        skipped=sorted(f"{name}: {extractor.skipped[name]}" for name in known & extractor.skipped.keys()),
        layer_weights=[float(state == best) for state in range(len(dev))],
    )


def _usable(extractor: Extractor, items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.id not in extractor.skipped]


def _check_left(extractor: Extractor, parts: dict[str, list[Item]]) -> None:
    """Raises TooManyBadFiles if no document is left, or no query that occurs in one that is."""
    documents = {item.id for item in _usable(extractor, parts["documents"])}
    for name in ("dev", "test"):
        if not any(documents & set(query.label.split()) for query in _usable(extractor, parts[name])):
            last = list(extractor.skipped.values())[-1:] or ["none"]
            raise TooManyBadFiles(
                f"{len(extractor.skipped)} files cannot be used, and no query of {name} occurs in what is left; the "
                f"last: {last[0]}"
            )


def _frames(extractor: Extractor, task: Task, items: list[Item], state: int) -> list[Tensor]:
    """One state of every item, (frames, dim); the others are let go at once, since all of them may not fit."""
    frames = []
    for start in range(0, len(items), TOGETHER):
        found = extractor.frames(items[start : start + TOGETHER], task.audio)
        frames += [states[state].clone() for states in found if states is not None]
    return frames


def _rows(
    queries: list[Item], others: list[Item], documents: list[Item], scores: np.ndarray, total: int
) -> list[Prediction]:
    """One row a query; those of other languages, which the official score counts, have no hypothesis."""
    rows: list[Prediction] = [
        {
            "id": query.id,
            "reference": query.label,
            "hypothesis": {document.id: round(float(score), 4) for document, score in zip(documents, row, strict=True)},
            "documents": total,
        }
        for query, row in zip(queries, scores, strict=True)
    ]
    return rows + [{"id": query.id, "reference": query.label, "hypothesis": {}} for query in others]
