"""Equal error rates by hand, against scikit-learn's ROC with scipy's root finder, and against literal resampling."""

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from tasks.verification import eer_draws, equal_error_rate


def root_on_the_roc(targets, scores) -> float:
    fpr, tpr, _ = roc_curve(targets, scores)
    curve = interp1d(fpr, tpr)
    return 100 * brentq(lambda x: 1 - x - curve(x), 0, 1)


@pytest.mark.parametrize(
    ("targets", "scores", "percent"),
    [
        ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], 0.0),
        ([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1], 100.0),
        ([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1], 50.0),  # one of two false alarms at a miss rate that falls from 1/2 to 0
        ([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5], 50.0),  # one straight line
        ([1, 1, 1, 0, 0], [3, 2, 1, 1, 0], 20.0),  # from (0, 2/3) straight to (1/2, 1): 1 - x = 2/3 + 2/3 x gives 1/5
    ],
)
def test_equal_error_rate_by_hand(targets, scores, percent):
    assert equal_error_rate(np.array(targets), np.array(scores)) == pytest.approx(percent)


@pytest.mark.parametrize("seed", range(40))
def test_equal_error_rate_is_the_root_on_the_roc(seed):
    rng = np.random.default_rng(seed)
    targets = rng.random(300) < rng.uniform(0.05, 0.95)
    targets[:2] = True, False
    scores = rng.normal(size=300) + rng.uniform(0, 4) * targets
    scores = scores.round(seed % 4)  # whole numbers have many ties
    assert equal_error_rate(targets, scores) == pytest.approx(root_on_the_roc(targets, scores), abs=1e-8)


def test_equal_error_rate_depends_on_the_order_of_scores_alone():
    rng = np.random.default_rng(0)
    targets, scores = rng.random(200) < 0.5, rng.normal(size=200).round(1)
    expected = equal_error_rate(targets, scores)
    shuffled = rng.permutation(200)
    assert equal_error_rate(targets[shuffled], scores[shuffled]) == expected
    assert equal_error_rate(targets, np.exp(scores)) == expected
    assert equal_error_rate(~targets, -scores) == pytest.approx(expected)


def literal_draws(targets, scores, groups, seed, draws):
    """Trials of the drawn groups put one after another, until there are enough scorable resamples."""
    rng, rates = np.random.default_rng(seed), []
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    while len(rates) < draws:
        trials = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members), dtype=np.int32)])
        if 0 < targets[trials].sum() < len(trials):
            rates.append(root_on_the_roc(targets[trials], scores[trials]))
    return rates


def test_draws_equal_literal_resampling_of_speaker_pairs():
    rng = np.random.default_rng(1)
    groups = rng.integers(15, size=200) * 7 - 3
    targets = np.isin(groups, np.unique(groups)[:5])
    scores = (rng.normal(size=200) + targets).round(1)
    draws = eer_draws(targets, scores, groups, seed=9, draws=150)
    np.testing.assert_allclose(draws, literal_draws(targets, scores, groups, 9, 150), atol=1e-8)
    assert np.array_equal(draws, eer_draws(targets, scores, groups, 9)[:150])
    assert not np.array_equal(draws, eer_draws(targets, scores, groups, 8, draws=150))


def test_resamples_of_one_kind_are_drawn_again():
    targets, scores, groups = np.array([1, 1, 0, 0]), np.array([4.0, 2.0, 3.0, 1.0]), np.array([0, 0, 1, 2])
    draws = eer_draws(targets, scores, groups, seed=0, draws=60)
    np.testing.assert_allclose(draws, literal_draws(targets, scores, groups, 0, 60), atol=1e-8)


@pytest.mark.parametrize(
    ("targets", "scores", "message"),
    [
        ([1, 0], [0.5], r"shape \(1,\) against targets of shape \(2,\)"),
        ([1, 0], [0.5, np.nan], "1 of 2 trial scores are not finite"),
        ([1, 1], [0.5, 0.1], "2 target trials among 2"),
        ([0, 0], [0.5, 0.1], "0 target trials among 2"),
        ([], [], "0 target trials among 0"),
    ],
)
def test_what_has_no_equal_error_rate_is_refused(targets, scores, message):
    with pytest.raises(ValueError, match=message):
        equal_error_rate(np.array(targets), np.array(scores))
    with pytest.raises(ValueError, match=message):
        eer_draws(np.array(targets), np.array(scores), np.zeros(len(scores)), 0)


def test_groups_must_be_as_many_as_trials():
    with pytest.raises(ValueError, match="2 trials: got 1 groups"):
        eer_draws(np.array([1, 0]), np.array([0.5, 0.1]), np.array([0]), 0)
