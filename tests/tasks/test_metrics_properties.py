"""Metrics on drawn inputs, against slow versions written from their definitions."""

from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.diarization import diarization_errors, label_segments, segments
from tasks.query import BETA, mtwv
from tasks.scores import ACCURACY, EER, MTWV, SLOT_CER, SLOT_F1, WER
from tasks.slot_metrics import slot_type_f1, slot_value_edits
from tasks.verification import equal_error_rate

PAIRS = st.tuples(*[st.lists(st.sampled_from(["a", "b", "cc"]), max_size=6).map(tuple)] * 2)
TEXTS = st.lists(PAIRS, min_size=1, max_size=5).filter(lambda pairs: any(reference for reference, _ in pairs))


@cache
def edits(reference: Any, hypothesis: Any) -> int:
    """Levenshtein distance by its definition."""
    if not reference or not hypothesis:
        return len(reference) + len(hypothesis)
    return min(
        edits(reference[1:], hypothesis[1:]) + (reference[0] != hypothesis[0]),
        edits(reference[1:], hypothesis) + 1,
        edits(reference, hypothesis[1:]) + 1,
    )


def rows(pairs: Any) -> list[dict[str, str]]:
    return [{"reference": reference, "hypothesis": hypothesis} for reference, hypothesis in pairs]


def spoken(pairs: Any) -> list[dict[str, str]]:
    return rows([(" ".join(reference), " ".join(hypothesis)) for reference, hypothesis in pairs])


@settings(max_examples=60)
@given(TEXTS, st.randoms())
def test_word_errors_are_edits_over_words(pairs: list[Any], random: Any) -> None:
    expected = 100 * sum(edits(*pair) for pair in pairs) / sum(len(reference) for reference, _ in pairs)
    assert WER.score(spoken(pairs)) == pytest.approx(expected)
    shuffled = random.sample(pairs, len(pairs))
    assert WER.score(spoken(shuffled)) == WER.score(spoken(pairs))
    assert WER.score(spoken([(reference, reference) for reference, _ in pairs])) == 0
    assert WER.score(spoken([(reference, ()) for reference, _ in pairs])) == 100


@settings(max_examples=40)
@given(st.lists(st.tuples(*[st.sampled_from("xyz")] * 2), min_size=1))
def test_accuracy_is_the_share_that_agrees(pairs: list[tuple[str, str]]) -> None:
    assert ACCURACY.score(rows(pairs)) == pytest.approx(100 * np.mean([one == other for one, other in pairs]))
    assert ACCURACY.score(rows(pairs[::-1])) == pytest.approx(ACCURACY.score(rows(pairs)))
    assert ACCURACY.score(rows([(one, one) for one, _ in pairs])) == 100


def slow_eer(trials: list[tuple[bool, int]]) -> Fraction:
    """Where the points of all thresholds, joined by straight lines, meet miss rate = false alarm rate."""
    wanted = [score for target, score in trials if target]
    others = [score for target, score in trials if not target]
    points = [
        (
            Fraction(sum(score >= threshold for score in others), len(others)),
            Fraction(sum(score < threshold for score in wanted), len(wanted)),
        )
        for threshold in [inf, *sorted({score for _, score in trials}, reverse=True)]
    ]
    for (alarm, miss), (next_alarm, next_miss) in pairwise(points):
        if next_alarm >= next_miss:
            part = (miss - alarm) / ((miss - alarm) + (next_alarm - next_miss))
            return alarm + part * (next_alarm - alarm)
    raise AssertionError("everything is accepted at the last threshold")


@given(st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=12), st.randoms())
def test_equal_error_rate_is_where_the_two_rates_meet(trials: list[tuple[bool, int]], random: Any) -> None:
    assume(len({target for target, _ in trials}) == 2)

    def eer(trials: list[tuple[bool, Any]]) -> float:
        return EER.score([{"reference": str(int(target)), "hypothesis": score} for target, score in trials])

    assert eer(trials) == pytest.approx(float(100 * slow_eer(trials)), abs=1e-9)
    assert 0 <= eer(trials) <= 100
    assert eer(random.sample(trials, len(trials))) == eer(trials)
    assert eer([(target, np.exp(score)) for target, score in trials]) == eer(trials)
    swapped = equal_error_rate(np.array([not t for t, _ in trials]), np.array([-s for _, s in trials]))
    assert swapped == pytest.approx(eer(trials), abs=1e-9)
    assert eer([(target, int(target)) for target, _ in trials]) == 0


def slow_mtwv(scores: np.ndarray, truth: np.ndarray) -> float:
    """The best of all thresholds, each query with a true document counted out at each."""
    values = []
    for threshold in [inf, *scores.ravel()]:
        losses = []
        for row, right in zip(scores, truth, strict=True):
            if any(right):
                missed = sum(bool(r) and s < threshold for r, s in zip(right, row, strict=True)) / sum(right)
                wrong = sum(not r and s >= threshold for r, s in zip(right, row, strict=True))
                losses.append(missed + BETA * wrong / max(len(right) - sum(right), 1))
        values.append(1 - sum(losses) / len(losses))
    return max(values)


TABLES = st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(
    lambda shape: st.tuples(
        *[
            st.lists(st.lists(kind, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0])
            for kind in (st.integers(-3, 3), st.booleans())
        ]
    )
)


@settings(max_examples=60)
@given(TABLES, st.randoms())
def test_term_weighted_value_is_the_best_of_all_thresholds(table: Any, random: Any) -> None:
    scores, truth = np.array(table[0], dtype=float), np.array(table[1])
    assume(truth.any())
    value = mtwv(scores, truth)
    assert value == pytest.approx(slow_mtwv(scores, truth), abs=1e-12) and 0 <= value <= 1
    queries, documents = (random.sample(range(size), size) for size in scores.shape)
    assert mtwv(scores[queries][:, documents], truth[queries][:, documents]) == pytest.approx(value, abs=1e-12)
    assert mtwv(2 * scores + 1, truth) == pytest.approx(value, abs=1e-12)
    assert mtwv(truth.astype(float), truth) == pytest.approx(1)
    names = [f"d{number}" for number in range(scores.shape[1])]
    kept = [
        {
            "reference": " ".join(name for name, right in zip(names, row, strict=True) if right),
            "hypothesis": dict(zip(names, found.tolist(), strict=True)),
            "documents": len(names),
        }
        for row, found in zip(truth, scores, strict=True)
    ]
    assert MTWV.score(kept) == pytest.approx(100 * value)


SPANS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 12)), max_size=5).map(
    lambda spans: [(speaker, min(a, b) / 4, max(a, b) / 4) for speaker, a, b in spans]
)


def slow_der(reference: Any, hypothesis: Any) -> tuple[float, float]:
    """Error and speech in seconds, quarter of a second by quarter of a second, under the better pairing."""

    def talking(spans: Any, moment: int) -> set[int]:
        return {speaker for speaker, start, end in spans if 4 * start <= moment < 4 * end}

    errors = []
    for names in ({0: 0, 1: 1}, {0: 1, 1: 0}):
        total = 0
        for moment in range(12):
            said = talking(reference, moment)
            found = {names[speaker] for speaker in talking(hypothesis, moment)}
            total += max(len(said), len(found)) - len(said & found)
        errors.append(total)
    return min(errors) / 4, sum(len(talking(reference, moment)) for moment in range(12)) / 4


@settings(max_examples=60)
@given(SPANS, SPANS)
def test_diarization_errors_are_those_of_every_moment(reference: Any, hypothesis: Any) -> None:
    assume(reference or hypothesis)
    error, speech = diarization_errors(reference, hypothesis)
    assert (error, speech) == pytest.approx(slow_der(reference, hypothesis))
    swapped = [(1 - speaker, start, end) for speaker, start, end in hypothesis]
    assert diarization_errors(reference, swapped)[0] == pytest.approx(error)
    assert diarization_errors(hypothesis, reference)[0] == pytest.approx(error)
    assert diarization_errors(reference, reference)[0] == 0
    assert diarization_errors(reference[::-1], hypothesis[::-1]) == pytest.approx((error, speech))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20), st.sampled_from([1, 3, 5]))
def test_segments_are_the_filtered_decisions(decided: list[tuple[bool, bool]], median: int) -> None:
    found = segments(np.array(decided, dtype=float), 0.5, median, stride=16_000)
    half = median // 2
    for speaker in (0, 1):
        row = [False] * half + [frame[speaker] for frame in decided] + [False] * half
        expected = {i for i in range(len(decided)) if sorted(row[i : i + median])[half]}
        stretches = [range(round(start), round(end)) for who, start, end in found if who == speaker]
        assert [frame for stretch in stretches for frame in stretch] == sorted(expected)
        assert all(before.stop < after.start for before, after in pairwise(stretches))


WORDS = st.lists(st.text("AB", min_size=1, max_size=3), min_size=1, max_size=3).map(" ".join)
TAGGED = st.lists(st.tuples(st.sampled_from(["", "artist", "city"]), WORDS), max_size=4).map(tuple)


def text(parts: Any) -> str:
    return " ".join(f"B-{slot} {value} E-{slot}" if slot else value for slot, value in parts)


@settings(max_examples=60)
@given(st.lists(st.tuples(TAGGED, TAGGED), min_size=1, max_size=4), st.randoms())
def test_slot_scores_are_those_of_the_slots_drawn(pairs: list[Any], random: Any) -> None:
    texts = [text(one) for one, _ in pairs], [text(other) for _, other in pairs]
    f1, (errors, characters) = slot_type_f1(*texts), slot_value_edits(*texts)
    for index, (reference, hypothesis) in enumerate(pairs):
        one, other = ({slot for slot, _ in parts if slot} for parts in (reference, hypothesis))
        assert f1[index] == pytest.approx(2 * len(one & other) / (len(one) + len(other)) if one | other else 1)
        costs = [
            min((edits(value, found) for name, found in hypothesis if name == slot), default=len(value))
            for slot, value in reference
            if slot
        ]
        assert errors[index] == sum(costs)
        assert characters[index] == sum(len(value) for slot, value in reference if slot)
    assert slot_type_f1(*texts[::-1]) == pytest.approx(f1)
    assert not slot_value_edits(texts[0], texts[0])[0].any() and (slot_type_f1(texts[0], texts[0]) == 1).all()
    order = random.sample(range(len(pairs)), len(pairs))
    shuffled = rows([(texts[0][i], texts[1][i]) for i in order])
    assert SLOT_F1.score(shuffled) == pytest.approx(100 * f1.mean()) and 0 <= f1.min() <= f1.max() <= 1
    if characters.sum():
        assert SLOT_CER.score(shuffled) == pytest.approx(100 * errors.sum() / characters.sum())


LINES = st.lists(st.sampled_from(["a", "b", "c", "0", "1.5", "2", "-1", "inf", "nan", "1e400", "\n", "\n"]), max_size=8)


@given(st.text(max_size=30) | LINES.map(" ".join) | LINES.map(lambda some: f"a 0 {' '.join(some)}"))
def test_any_label_of_speakers_is_read_or_refused(label: str) -> None:
    try:
        found = label_segments(label)
    except ValueError:
        return
    assert all(speaker in (0, 1) and 0 <= start <= end < inf for speaker, start, end in found)
