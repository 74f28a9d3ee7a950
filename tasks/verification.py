"""Equal error rate of speaker verification, in percent, and its bootstrap over speaker pairs."""

import numpy as np

from tasks.metrics import RESAMPLES, multiplicities


def equal_error_rate(targets: np.ndarray, scores: np.ndarray) -> float:
    """Where the false alarm rate equals the miss rate, in percent (superb-protocol 2.6).

    The ROC curve joins the points of all thresholds by straight lines; the rate is where it meets the line
    TPR = 1 - FPR, which is the root of 1 - x - TPR(x). targets (trials,): 1 for the same speaker, else 0; scores
    (trials,): higher means more alike. Raises ValueError if the two differ in length, if a score is not finite, or if
    there are not both target and non-target trials.
    """
    targets, scores = _checked(targets, scores)
    _, targets, ends = _ranked(targets, scores)
    return 100.0 * _crossing(targets.astype(np.int64), (~targets).astype(np.int64), ends)


def eer_draws(
    targets: np.ndarray, scores: np.ndarray, groups: np.ndarray, seed: int, draws: int = RESAMPLES
) -> np.ndarray:
    """Bootstrap of the equal error rate in percent, (draws,), the trials of a speaker pair being drawn together.

    groups (trials,): integer that names the unordered pair of speakers of each trial. A resample without any target or
    without any non-target trial has no equal error rate; it is dropped and another one drawn in its place. Raises
    ValueError as equal_error_rate does, and if groups have another length.
    """
    targets, scores = _checked(targets, scores)
    if len(groups) != len(scores):
        raise ValueError(f"cannot resample {len(scores)} trials: got {len(groups)} groups, expected one per trial")
    order, targets, ends = _ranked(targets, scores)
    names, group = np.unique(groups, return_inverse=True)
    group = group[order]
    rates: list[float] = []
    for times in multiplicities(len(names), seed):
        if len(rates) == draws:
            break
        weights = times[group]
        hits, alarms = weights * targets, weights * ~targets
        if hits.any() and alarms.any():
            rates.append(100.0 * _crossing(hits, alarms, ends))
    return np.array(rates)


def _checked(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, targets as booleans."""
    targets, scores = np.asarray(targets).astype(bool), np.asarray(scores, dtype=np.float64)
    if targets.shape != scores.shape or targets.ndim != 1:
        raise ValueError(
            f"cannot score trials of shape {scores.shape} against targets of shape {targets.shape}: "
            f"expected one score and one target per trial"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.sum(~np.isfinite(scores))} of {len(scores)} trial scores are not finite")
    if targets.all() or not targets.any():
        raise ValueError(
            f"{targets.sum()} target trials among {len(targets)}: an equal error rate needs target and non-target ones"
        )
    return targets, scores


def _ranked(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order of the trials from the highest score, targets in that order, and the last trial of each distinct score."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    return order, targets[order], ends


def _crossing(hits: np.ndarray, alarms: np.ndarray, ends: np.ndarray) -> float:
    """FPR where the ROC meets TPR = 1 - FPR. hits, alarms (trials,): integer weights of target and of non-target
    trials, from the highest score."""
    accepted, false = np.cumsum(hits)[ends], np.cumsum(alarms)[ends]
    # FPR + TPR rises from 0 to 2; in whole numbers, so that a point on the line is not missed by rounding.
    scale = int(accepted[-1]) * int(false[-1])
    height = accepted * false[-1] + false * accepted[-1]
    after = int(np.argmax(height >= scale))
    low, start = (int(height[after - 1]), int(false[after - 1])) if after else (0, 0)
    part = (scale - low) / (int(height[after]) - low)
    return float((start + part * (int(false[after]) - start)) / int(false[-1]))
