"""Scores of the tasks, in percent, and their sampling error."""

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 1000


def error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Edits over reference tokens of the whole corpus in percent, tokens being separated by blanks.

    Phoneme and word error rate alike (superb-protocol 2.1, 2.2). Raises ValueError if there are no references, no
    reference tokens, or not as many hypotheses.
    """
    return _percentage(*errors_and_counts(references, hypotheses, tokens=True))


def accuracy(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Share of hypotheses that equal their reference, in percent. Raises ValueError as error_rate does."""
    return 100.0 - _percentage(*errors_and_counts(references, hypotheses, tokens=False))


def errors_and_counts(
    references: Sequence[str], hypotheses: Sequence[str], tokens: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Errors and the number they are counted against, each (items,): edits and reference tokens of each item, or,
    where items are judged whole (`tokens` false), 0 or 1 and 1. Raises ValueError if empty or of unequal length."""
    if not references or len(references) != len(hypotheses):
        raise ValueError(
            f"cannot score {len(hypotheses)} hypotheses against {len(references)} references: "
            f"expected one hypothesis for every reference, and at least one"
        )
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


def bootstrap_stderr(errors: np.ndarray, counts: np.ndarray, seed: int) -> float:
    """Standard error, in percent, of sum(errors) / sum(counts) when items (items,) are drawn with replacement.

    The standard deviation over 1000 resamples. Raises ValueError as errors_and_counts does.
    """
    _percentage(errors, counts)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(errors), size=(_RESAMPLES, len(errors)), dtype=np.int32)
    totals = counts[drawn].sum(axis=1)
    rates = errors[drawn].sum(axis=1) / np.maximum(totals, 1)
    return float(100.0 * rates.std(ddof=1))


def _percentage(errors: np.ndarray, counts: np.ndarray) -> float:
    if len(errors) != len(counts) or not counts.sum():
        raise ValueError(
            f"cannot score {len(errors)} error counts against {len(counts)} items with {counts.sum()} reference tokens "
            f"in all: expected as many, and at least one token"
        )
    return float(100.0 * errors.sum() / counts.sum())
