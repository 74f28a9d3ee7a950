"""Scores of slot filling, one value per utterance so that they can be averaged and resampled (superb-protocol 2.9)."""

import re
from collections.abc import Sequence

import numpy as np

from tasks.metrics import errors_and_counts, require_pairs

_WORST = 100  # a value of the same slot counts only if its edits are fewer than this many times the reference's length
_SPAN = re.compile(r"B-(\S+) (.+?) E-\1")
_OPENING, _CLOSING = re.compile(r"B-\S+ "), re.compile(r" E-\S+")


def slot_type_f1(references: Sequence[str], hypotheses: Sequence[str]) -> np.ndarray:
    """F1 of the set of slots in each tagged text, (utterances,), from 0 to 1; their mean is the metric.

    1 where neither text has a slot, 0 where only one has. Raises ValueError as tasks.metrics.require_pairs does
    (superb-protocol 2.9, slot-type F1).
    """
    require_pairs(references, hypotheses)
    scores = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        expected, found = ({slot for slot, _ in _spans(text)} for text in (reference, hypothesis))
        total = len(expected) + len(found)
        scores.append(2 * len(expected & found) / total if total else 1.0)
    return np.array(scores, dtype=np.float64)


def slot_value_edits(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Character edits in the values of slots, and characters of the reference's values, each (utterances,).

    Every slot of the reference is compared with the nearest value of that slot in the hypothesis, or with nothing;
    slots of the hypothesis alone cost nothing, and tags inside its values are removed. The sum of the edits over the
    sum of the characters is the metric. Raises ValueError as tasks.metrics.require_pairs does
    (superb-protocol 2.9, slot-value CER).
    """
    require_pairs(references, hypotheses)
    edits, characters = np.zeros((2, len(references)), dtype=np.int64)
    pairs: list[tuple[str, str]] = []
    slots: list[tuple[int, str, range]] = []  # utterance, value, and where its candidates stand in pairs
    for i, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        found = [(slot, _CLOSING.sub("", _OPENING.sub("", value))) for slot, value in _spans(hypothesis)]
        for slot, value in _spans(reference):
            candidates = [(value, other) for name, other in found if name == slot]
            slots.append((i, value, range(len(pairs), len(pairs) + len(candidates))))
            pairs += candidates
    distances = _distances(pairs)
    for i, value, where in slots:
        nearest = min((distances[k] for k in where), default=_WORST * len(value))
        edits[i] += nearest if nearest < _WORST * len(value) else len(value)
        characters[i] += len(value)
    return edits, characters


def _spans(text: str) -> list[tuple[str, str]]:
    """(slot, value) of every "B-slot value E-slot", each as short as can be, from left to right."""
    return _SPAN.findall(re.sub(" +", " ", text))


def _distances(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Levenshtein distances (pairs,) between the characters of two strings each, the first not empty."""
    if not pairs:
        return np.zeros(0, dtype=np.int64)
    # Characters as tokens, which are separated by blanks: the blank itself needs another name.
    spelt = [[" ".join(text.replace(" ", "|")) for text in pair] for pair in pairs]
    first, second = zip(*spelt, strict=True)
    return errors_and_counts(first, second, tokens=True)[0]
