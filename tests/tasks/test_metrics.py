"""Scores by hand, against an obvious edit distance and against textbook standard errors."""

import random
from functools import cache

import numpy as np
import pytest

from tasks.metrics import (
    Interval,
    errors_and_counts,
    multiplicities,
    ratio_draws,
    summary,
)
from tasks.scores import ACCURACY, PER, WER


def rows(references: list[str], hypotheses: list[str]) -> list[dict[str, str]]:
    return [{"reference": r, "hypothesis": h} for r, h in zip(references, hypotheses, strict=True)]


def error_rate(references: list[str], hypotheses: list[str]) -> float:
    assert WER.score(rows(references, hypotheses)) == PER.score(rows(references, hypotheses))
    return WER.score(rows(references, hypotheses))


def accuracy(references: list[str], hypotheses: list[str]) -> float:
    return ACCURACY.score(rows(references, hypotheses))


def stderr(errors: np.ndarray, counts: np.ndarray, seed: int) -> float:
    return summary(ratio_draws(errors, counts, seed)).stderr


def edits(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> int:
    """Levenshtein distance by its definition."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        substitution = distance(i - 1, j - 1) + (reference[i - 1] != hypothesis[j - 1])
        return min(substitution, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(reference), len(hypothesis))


def test_error_rate_by_hand():
    # one substitution, one deletion; one insertion; an empty hypothesis: 1 + 1 + 1 + 2 edits over 3 + 1 + 2 tokens
    references = ["A B C", "D", "E F"]
    assert error_rate(references, ["X B", "D D", ""]) == pytest.approx(100 * 5 / 6)
    assert error_rate(references, references) == 0.0
    assert error_rate(["A"], ["B C D"]) == 300.0


def test_error_rate_is_over_the_corpus_not_a_mean_of_rates():
    assert error_rate(["A", "A B C"], ["B", "A B C"]) == 25.0


def test_words_are_compared_as_they_stand():
    assert error_rate(["IT'S AH0"], ["it's AH1"]) == 100.0


def test_error_rate_equals_the_definition():
    draw = random.Random(1)
    sentences = [[" ".join(draw.choices("ABCD", k=draw.randint(least, 9))) for _ in range(60)] for least in (1, 0)]
    distances = [edits(tuple(r.split()), tuple(h.split())) for r, h in zip(*sentences, strict=True)]
    lengths = [len(reference.split()) for reference in sentences[0]]
    assert error_rate(*sentences) == pytest.approx(100 * sum(distances) / sum(lengths))
    errors, counts = errors_and_counts(*sentences, tokens=True)
    assert errors.tolist() == distances
    assert counts.tolist() == lengths


def test_accuracy_by_hand():
    assert accuracy(["a", "b", "b", "c"], ["a", "b", "c", "c"]) == 75.0
    errors, counts = errors_and_counts(["a b", "c"], ["a", "c"], tokens=False)
    assert errors.tolist() == [1, 0]
    assert counts.tolist() == [1, 1]


@pytest.mark.parametrize("tokens", [True, False])
@pytest.mark.parametrize(("references", "hypotheses"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_empty_or_unequal_input_is_refused(tokens, references, hypotheses):
    with pytest.raises(ValueError, match=f"{len(hypotheses)} hypotheses against {len(references)} references"):
        errors_and_counts(references, hypotheses, tokens)


def test_an_accuracys_interval_is_about_the_accuracy():
    references, hypotheses = ["a"] * 400, ["a"] * 300 + ["b"] * 100
    interval = summary(ACCURACY.draws(rows(references, hypotheses), 0))
    assert interval.low < 75.0 < interval.high and interval.stderr == pytest.approx(2.165, rel=0.1)


def test_references_without_any_token_are_refused():
    with pytest.raises(ValueError, match="at least one token"):
        error_rate([""], ["A"])


def test_bootstrap_of_a_proportion_is_its_textbook_standard_error():
    errors = np.array([1] * 120 + [0] * 280)
    expected = 100 * np.sqrt(0.3 * 0.7 / 400)
    assert stderr(errors, np.ones(400, dtype=int), 0) == pytest.approx(expected, rel=0.1)


def test_bootstrap_of_a_ratio_follows_the_delta_method():
    rng = np.random.default_rng(0)
    counts = rng.integers(5, 40, size=500)
    errors = rng.binomial(counts, 0.2)
    ratio = errors.sum() / counts.sum()
    expected = 100 * np.sqrt(500 * np.var(errors - ratio * counts, ddof=1)) / counts.sum()
    assert stderr(errors, counts, 3) == pytest.approx(expected, rel=0.1)


def test_bootstrap_repeats_with_its_seed_and_is_zero_without_spread():
    errors, counts = np.array([0, 1, 2, 0, 5]), np.array([3, 4, 5, 6, 7])
    assert stderr(errors, counts, 1) == stderr(errors, counts, 1)
    assert stderr(errors, counts, 1) != stderr(errors, counts, 2)
    assert stderr(np.ones(6), np.ones(6), 1) == 0.0


def test_bootstrap_refuses_what_cannot_be_scored():
    with pytest.raises(ValueError, match="2 error counts against 1 items"):
        stderr(np.array([1, 2]), np.array([1]), 0)
    with pytest.raises(ValueError, match="at least one token"):
        stderr(np.array([]), np.array([]), 0)


def test_multiplicities_are_those_of_drawing_with_replacement():
    first, second = multiplicities(300, 1), multiplicities(300, 1)
    resamples = np.array([next(first) for _ in range(400)])
    assert (resamples.sum(axis=1) == 300).all()
    assert resamples.mean(axis=0) == pytest.approx(np.ones(300), abs=0.25)  # 5 standard errors
    assert np.mean(resamples == 0) == pytest.approx((1 - 1 / 300) ** 300, abs=0.01)
    assert all(np.array_equal(row, next(second)) for row in resamples)


def test_draws_equal_literal_resampling():
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 6, size=90)
    errors = rng.binomial(counts, 0.4)
    drawing, expected = np.random.default_rng(5), []
    for _ in range(1000):
        drawn = drawing.integers(90, size=90, dtype=np.int32)
        expected.append(100 * errors[drawn].sum() / counts[drawn].sum())
    np.testing.assert_allclose(ratio_draws(errors, counts, 5), expected)


def test_resamples_without_any_count_are_drawn_again():
    draws = ratio_draws(np.array([1, 0, 0]), np.array([2, 0, 0]), 0, draws=50)
    assert draws.tolist() == [50.0] * 50


def test_summary_by_hand():
    spread = summary(np.arange(101.0))
    assert spread == Interval(pytest.approx(np.sqrt(101 * 102 / 12)), 2.5, 97.5)


def test_interval_of_a_proportion_is_the_analytic_one():
    errors = np.array([1] * 300 + [0] * 700)
    found = summary(ratio_draws(errors, np.ones(1000), 0, draws=4000))
    error = 100 * np.sqrt(0.3 * 0.7 / 1000)
    assert found.stderr == pytest.approx(error, rel=0.05)
    assert found.low == pytest.approx(30 - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(30 + 1.96 * error, abs=0.15 * error)


def test_interval_covers_the_truth_as_often_as_it_claims():
    rng, covered = np.random.default_rng(0), 0
    for seed in range(300):
        errors = (rng.random(200) < 0.3).astype(int)
        interval = summary(ratio_draws(errors, np.ones(200), seed, draws=400))
        covered += interval.low <= 30.0 <= interval.high
    assert covered / 300 == pytest.approx(0.95, abs=0.04)  # 3 standard errors of this simulation
