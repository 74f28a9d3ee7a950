"""How often the gate is wrong: simulated pairs of runs on ten tasks, alike or with one task made worse.

Both runs of a pair answer the same items, some of which are harder than others for both: the errors of two equal models
share SHARED of their variance. Two seeds of mini-hubert's probes share 0.6 on average, the same seed on another machine
nearly all. A planted drop is three combined standard errors, the root of the sum of squares of what both scores have
alone.

Runs on items of their own share nothing. No test can then have 5 % of both errors at three combined standard errors:
that takes a drop of 3.29 in one cell, and of 4.26 in eleven. There the planted drop is APART combined standard errors.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.gate import evidence, mean_draws, mean_score
from reports.baseline import Stored
from reports.gate import Finding, exit_code, judge
from reports.records import Record, column
from tasks.base import Metric
from tasks.diarization import frame_labels
from tasks.registry import TASKS, load_task

SHARED = 0.75
APART = 5.0
ITEMS, ERROR = 600, 0.3
WORDS = 8
Rows = list[dict[str, Any]]
Pair = tuple[Rows, Rows]
Found = dict[str, Finding]


def errors(rng: np.random.Generator, worse: float, items: int = ITEMS, tokens: int = 1) -> list[np.ndarray]:
    """How many of each item's tokens a baseline and a candidate get wrong, the candidate `worse` more on average."""
    token_shared = SHARED / (SHARED + (1 - SHARED) * tokens)
    strength = 1 / token_shared - 1
    hard = rng.beta(ERROR * strength, (1 - ERROR) * strength, items)
    return [rng.binomial(tokens, hard + (1 - hard) * more / (1 - ERROR)) for more in (0.0, worse)]


def three_combined(items: int = ITEMS, tokens: int = 1) -> float:
    """Three combined standard errors of two error rates, from 0 to 1."""
    token_shared = SHARED / (SHARED + (1 - SHARED) * tokens)
    variance = ERROR * (1 - ERROR) * (token_shared + (1 - token_shared) / tokens) / items
    return 3 * math.sqrt(2 * variance)


def classes(rng: np.random.Generator, worse: float, folds: int = 1) -> Pair:
    numbers = [{"fold": i % folds + 1} if folds > 1 else {} for i in range(ITEMS)]
    first, second = (
        [
            {"id": str(i), "reference": "a", "hypothesis": "b" if wrong else "a"} | numbers[i]
            for i, wrong in enumerate(run)
        ]
        for run in errors(rng, worse)
    )
    return first, second


def texts(rng: np.random.Generator, worse: float) -> Pair:
    first, second = (
        [
            {"id": str(i), "reference": "w " * WORDS, "hypothesis": "x " * wrong + "w " * (WORDS - wrong)}
            for i, wrong in enumerate(run)
        ]
        for run in errors(rng, worse, tokens=WORDS)
    )
    return first, second


def slots(rng: np.random.Generator, worse: float) -> Pair:
    tagged = ("B-a word E-a", "B-b word E-b")
    first, second = (
        [{"id": str(i), "reference": tagged[0], "hypothesis": tagged[wrong]} for i, wrong in enumerate(run)]
        for run in errors(rng, worse)
    )
    return first, second


def shared_noise(rng: np.random.Generator, size: Any) -> list[np.ndarray]:
    common = rng.standard_normal(size)
    return [
        math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * rng.standard_normal(size)
        for _ in ("baseline", "candidate")
    ]


def trials(rng: np.random.Generator, worse: float) -> Pair:
    """300 trials of 8 speakers each with itself, 300 of two speakers; half of the noise belongs to the pair."""
    one = rng.integers(8, size=600)
    other = np.where(np.arange(600) < 300, one, (one + rng.integers(1, 8, size=600)) % 8)
    by_pair, by_trial = shared_noise(rng, (8, 8)), shared_noise(rng, 600)
    runs: list[Rows] = []
    for pair, trial in zip(by_pair, by_trial, strict=True):
        low, high = np.minimum(one, other), np.maximum(one, other)
        scores = 1.5 * (one == other) + pair[low, high] / 2 + trial / 2
        runs.append(
            [
                {
                    "id": str(i),
                    "reference": str(int(one[i] == other[i])),
                    "hypothesis": float(scores[i]),
                    "speakers": f"{low[i]} {high[i]}",
                }
                for i in range(600)
            ]
        )
    return runs[0], runs[1]


def searches(rng: np.random.Generator, worse: float) -> Pair:
    """20 queries in 30 documents, three of which hold each query."""
    truth = np.argsort(rng.random((20, 30)), axis=1) < 3
    ease = 1 + rng.random((20, 1))
    runs: list[Rows] = []
    for noise in shared_noise(rng, truth.shape):
        scores = 2 * ease * truth + noise
        runs.append(
            [
                {
                    "id": str(q),
                    "reference": " ".join(str(d) for d in np.flatnonzero(truth[q])),
                    "hypothesis": {str(d): float(score) for d, score in enumerate(scores[q])},
                    "documents": 30,
                }
                for q in range(20)
            ]
        )
    return runs[0], runs[1]


def talks(rng: np.random.Generator, worse: float) -> Pair:
    """24 recordings of 50 frames whose decisions are flipped at random."""
    label = "a 0.0 0.7\nb 0.4 1.0"
    spoken = frame_labels(label, 50)
    runs: list[Rows] = [
        [
            {
                "id": str(i),
                "reference": label,
                "hypothesis": np.abs(spoken - (rng.permutation(100) < wrong).reshape(50, 2)).tolist(),
                "stride": 320,
                "setting": [0.5, 1],
            }
            for i, wrong in enumerate(run)
        ]
        for run in errors(rng, worse, items=24, tokens=20)
    ]
    return runs[0], runs[1]


MAKERS: dict[str, Callable[[np.random.Generator, float], Pair]] = {
    **dict.fromkeys(("ks", "sid", "ic"), classes),
    **dict.fromkeys(("pr", "asr"), texts),
    "er": lambda rng, worse: classes(rng, worse, folds=5),
    "sf": slots,
    "asv": trials,
    "qbe": searches,
    "sd": talks,
}
PLANTED = {
    task: three_combined(tokens=WORDS if task in ("pr", "asr") else 1) for task in ("ks", "er", "pr", "asr", "ic")
}


def stored(record: Callable[..., Record], task: str, metric: Metric, rows: Rows, apart: bool) -> Stored:
    facts = {"metric": metric.name, "higher_is_better": metric.higher_is_better, "n_examples": len(rows)}
    stderr = float(mean_draws(metric, rows, 0).std(ddof=1)) if apart else None
    return Stored(record(task=task, value=mean_score(metric, rows), stderr=stderr, **facts), tuple(rows))


def pair_of(task: str, rng: np.random.Generator, worse: float, apart: bool) -> Pair:
    """A baseline's and a candidate's predictions, on the same items or, if `apart`, each on items of its own."""
    baseline, candidate = MAKERS[task](rng, worse)
    if apart:
        baseline = [row | {"id": f"other {row['id']}"} for row in MAKERS[task](rng, 0.0)[0]]
    return baseline, candidate


def findings(record: Callable[..., Record], rng: np.random.Generator, task: str, worse: float, apart: bool) -> Found:
    """What the comparison of one task gives, by column."""
    rows = pair_of(task, rng, worse, apart)
    found = {}
    for metric in load_task(task).metrics:
        baseline, candidate = (stored(record, task, metric, some, apart) for some in rows)
        found[column(baseline.record)] = Finding(baseline.record, candidate.record, evidence(baseline, candidate))
    return found


def wrong_verdicts(record: Callable[..., Record], pairs: int, seed: int, apart: bool = False) -> tuple[int, int]:
    """Of so many pairs on all ten tasks: how many equal ones are called a regression, how many drops are not named.

    Each pair has its drop on another task; the other nine are those of the equal pair.
    """
    rng = np.random.default_rng(seed)
    alarms = misses = 0
    for number in range(pairs):
        equal: Found = {}
        for task in TASKS:
            equal |= findings(record, rng, task, 0.0, apart)
        assert len(equal) == 11
        alarms += exit_code(judge(list(equal.values()))) != 0
        broken = list(PLANTED)[number % len(PLANTED)]
        drop = PLANTED[broken] * (APART / 3 if apart else 1)
        outcomes = judge(list((equal | findings(record, rng, broken, drop, apart)).values()))
        misses += broken not in [one.task for one in outcomes if one.status == "regression"]
    return alarms, misses


def test_errors_share_what_they_are_said_to_share() -> None:
    rng = np.random.default_rng(5)
    for tokens in (1, WORDS):
        one, other = errors(rng, 0.0, items=200_000, tokens=tokens)
        assert np.corrcoef(one, other)[0, 1] == pytest.approx(SHARED, abs=0.02)
        assert 3 * math.sqrt((one / tokens).var() * 2 / ITEMS) == pytest.approx(three_combined(tokens=tokens), rel=0.02)
        worse = errors(rng, 0.1, items=200_000, tokens=tokens)[1]
        assert (worse.mean() - one.mean()) / tokens == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("apart", [False, True])
def test_few_pairs(record: Callable[..., Record], apart: bool) -> None:
    assert wrong_verdicts(record, pairs=2, seed=3, apart=apart) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True])
def test_false_alarms_and_misses_are_each_at_most_one_in_twenty(record: Callable[..., Record], apart: bool) -> None:
    alarms, misses = wrong_verdicts(record, pairs=200, seed=0, apart=apart)
    assert alarms <= 10 and misses <= 10
