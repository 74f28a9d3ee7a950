"""Scores of the tasks, in percent, and their sampling error."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """Sampling error of a score: its standard error and its 95 % interval, in the unit of the score."""

    stderr: float
    low: float
    high: float


def errors_and_counts(
    references: Sequence[str], hypotheses: Sequence[str], tokens: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Errors and the number they are counted against, each (items,): edits and reference tokens of each item, or,
    where items are judged whole (`tokens` false), 0 or 1 and 1. Raises ValueError if empty or of unequal length."""
    require_pairs(references, hypotheses)
    if not tokens:
        wrong = [reference != hypothesis for reference, hypothesis in zip(references, hypotheses, strict=True)]
        return np.array(wrong, dtype=np.int64), np.ones(len(wrong), dtype=np.int64)
    import jiwer

    output = jiwer.process_words(list(references), list(hypotheses))
    edits = [
        sum(max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx) for c in chunks if c.type != "equal")
        for chunks in output.alignments
    ]
    return np.array(edits, dtype=np.int64), np.array([len(words) for words in output.references], dtype=np.int64)


def multiplicities(groups: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of `groups` groups is drawn, (groups,), in one resample with replacement after another, without
    end. The same seed gives the same resamples."""
    rng = np.random.default_rng(seed)
    while True:
        yield np.bincount(rng.integers(groups, size=groups, dtype=np.int32), minlength=groups)


def ratio_draws(errors: np.ndarray, counts: np.ndarray, seed: int, draws: int = RESAMPLES) -> np.ndarray:
    """Bootstrap of sum(errors) / sum(counts) in percent, (draws,), both (items,), resampling items.

    A resample without a single count is drawn again. Two calls with the same seed see the same resamples, so their
    values can be compared draw by draw. Raises ValueError as percentage does.
    """
    percentage(errors, counts)
    rates: list[float] = []
    for times in multiplicities(len(errors), seed):
        if len(rates) == draws:
            break
        if total := times @ counts:
            rates.append(100.0 * (times @ errors) / total)
    return np.array(rates)


def summary(draws: np.ndarray) -> Interval:
    """Standard deviation of bootstrap draws (draws,), and their 2.5 and 97.5 percentiles."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(float(draws.std(ddof=1)), float(low), float(high))


def require_pairs(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    """Raises ValueError unless there is one hypothesis for every reference, and at least one."""
    if not references or len(references) != len(hypotheses):
        raise ValueError(
            f"cannot score {len(hypotheses)} hypotheses against {len(references)} references: "
            f"expected one hypothesis for every reference, and at least one"
        )


def percentage(errors: np.ndarray, counts: np.ndarray) -> float:
    """sum(errors) / sum(counts) in percent. Raises ValueError for unequal lengths, or if there is nothing to count."""
    if len(errors) != len(counts) or not counts.sum():
        raise ValueError(
            f"cannot score {len(errors)} error counts against {len(counts)} items with {counts.sum()} reference tokens "
            f"in all: expected as many, and at least one token"
        )
    return float(100.0 * errors.sum() / counts.sum())
