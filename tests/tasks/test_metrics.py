"""Scores by hand, against an obvious edit distance and against textbook standard errors."""

import random
from functools import cache

import numpy as np
import pytest

from tasks.metrics import accuracy, bootstrap_stderr, error_rate, errors_and_counts


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


@pytest.mark.parametrize("score", [error_rate, accuracy])
@pytest.mark.parametrize(("references", "hypotheses"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_empty_or_unequal_input_is_refused(score, references, hypotheses):
    with pytest.raises(ValueError, match=f"{len(hypotheses)} hypotheses against {len(references)} references"):
        score(references, hypotheses)


def test_references_without_any_token_are_refused():
    with pytest.raises(ValueError, match="at least one token"):
        error_rate([""], ["A"])


def test_bootstrap_of_a_proportion_is_its_textbook_standard_error():
    errors = np.array([1] * 120 + [0] * 280)
    expected = 100 * np.sqrt(0.3 * 0.7 / 400)
    assert bootstrap_stderr(errors, np.ones(400, dtype=int), 0) == pytest.approx(expected, rel=0.1)


def test_bootstrap_of_a_ratio_follows_the_delta_method():
    rng = np.random.default_rng(0)
    counts = rng.integers(5, 40, size=500)
    errors = rng.binomial(counts, 0.2)
    ratio = errors.sum() / counts.sum()
    expected = 100 * np.sqrt(500 * np.var(errors - ratio * counts, ddof=1)) / counts.sum()
    assert bootstrap_stderr(errors, counts, 3) == pytest.approx(expected, rel=0.1)


def test_bootstrap_repeats_with_its_seed_and_is_zero_without_spread():
    errors, counts = np.array([0, 1, 2, 0, 5]), np.array([3, 4, 5, 6, 7])
    assert bootstrap_stderr(errors, counts, 1) == bootstrap_stderr(errors, counts, 1)
    assert bootstrap_stderr(errors, counts, 1) != bootstrap_stderr(errors, counts, 2)
    assert bootstrap_stderr(np.ones(6), np.ones(6), 1) == 0.0


def test_bootstrap_refuses_what_cannot_be_scored():
    with pytest.raises(ValueError, match="2 error counts against 1 items"):
        bootstrap_stderr(np.array([1, 2]), np.array([1]), 0)
    with pytest.raises(ValueError, match="at least one token"):
        bootstrap_stderr(np.array([]), np.array([]), 0)
