"""Search and term-weighted values against brute force, slow loops and hand-worked cases."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from tasks.query import BETA, mtwv, mtwv_draws, normalise, search, subsequence_dtw, zscore

# Search


def cheapest_path(distance: np.ndarray) -> float:
    """The definition: every start, every sequence of moves by 0, 1 or 2 document frames."""
    n, m = distance.shape
    costs = []
    for start, moves in product(range(m), product(range(3), repeat=n - 1)):
        columns = np.cumsum([start, *moves])
        if columns[-1] < m:
            costs.append(distance[np.arange(n), columns].sum())
    return min(costs) / n


def slow_dtw(distance: np.ndarray) -> float:
    n, m = distance.shape
    total = np.full((n + 1, m), math.inf)
    total[0] = 0.0
    for i in range(n):
        for j in range(m):
            before = [total[i, j - step] for step in range(3) if j >= step]
            total[i + 1, j] = distance[i, j] + min(before)
    return total[n].min() / n


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (2, 2), (3, 5), (5, 6), (6, 4)])
def test_dtw_is_the_cheapest_of_all_paths(shape):
    distance = np.random.default_rng(shape[1]).random(shape)
    assert slow_dtw(distance) == pytest.approx(cheapest_path(distance))
    (got,) = subsequence_dtw(torch.tensor(distance)[:, None], torch.tensor(shape[1:]))
    assert got.item() == pytest.approx(cheapest_path(distance))


def test_dtw_over_padded_documents_equals_one_by_one():
    rng = np.random.default_rng(0)
    lengths = [30, 1, 17, 2, 30, 9]
    distances = [rng.random((12, length)) for length in lengths]
    padded = np.zeros((12, 6, 30))  # padding that would attract a path
    for document, distance in enumerate(distances):
        padded[:, document, : distance.shape[1]] = distance
    got = subsequence_dtw(torch.tensor(padded), torch.tensor(lengths))
    np.testing.assert_allclose(got, [slow_dtw(distance) for distance in distances], rtol=1e-12)


def test_dtw_by_hand():
    # The query 0 1 2 in 9 0 1 2 9 costs nothing; in 9 0 2 9 it is 0, 0, 2: the frame 1 is 1 away.
    documents = torch.tensor([[9.0, 0, 1, 2, 9], [9.0, 0, 2, 9, 9]])
    distances = (torch.tensor([0.0, 1, 2])[:, None, None] - documents).abs()
    torch.testing.assert_close(subsequence_dtw(distances, torch.tensor([5, 4])), torch.tensor([0.0, 1 / 3]))


def slow_search(queries, documents) -> np.ndarray:
    scores = np.zeros((len(queries), len(documents)))
    for q, query in enumerate(queries):
        for d, document in enumerate(documents):
            distance = np.zeros((len(query), len(document)))
            for i, x in enumerate(query.double().numpy()):
                for j, y in enumerate(document.double().numpy()):
                    distance[i, j] = math.exp(1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y)) - 1
                distance[i] -= distance[i].min()
                distance[i] /= max(distance[i].max(), 1e-9)
            scores[q, d] = -slow_dtw(distance) if len(query) >= 5 else 0.0
    return scores


def utterances(lengths, seed, dtype=torch.double) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, 6, generator=generator, dtype=dtype) for length in lengths]


def test_search_equals_the_slow_one(monkeypatch):
    queries, documents = utterances([5, 12, 4, 1, 20], 0), utterances([30, 7, 1, 2, 25, 30, 3], 1)
    expected = slow_search(queries, documents)
    assert (expected[[2, 3]] == 0).all()
    assert (expected[[0, 1, 4]][:, [0, 1, 4, 5]] < 0).all()
    np.testing.assert_allclose(search(queries, documents), expected, rtol=1e-9, atol=1e-12)
    monkeypatch.setattr("tasks.query._BLOCK", 32)  # several blocks, some of one document
    np.testing.assert_allclose(search(queries, documents), expected, rtol=1e-9, atol=1e-12)


def test_search_in_single_precision_is_close():
    queries, documents = utterances([12, 40], 2, torch.float), utterances([90, 300], 3, torch.float)
    np.testing.assert_allclose(search(queries, documents), slow_search(queries, documents), rtol=1e-5)


def test_query_is_found_in_the_document_that_holds_it():
    (query,), documents = utterances([10], 0), utterances([50, 50], 1)
    documents[1][20:30] = 3.0 * query  # the direction alone counts
    scores = search([query], documents)
    assert scores[0, 1] == pytest.approx(0.0, abs=1e-9)
    assert scores[0, 0] < -0.05


def test_search_refuses_documents_without_frames():
    with pytest.raises(ValueError, match="1 documents without frames, the first being number 1"):
        search(utterances([5], 0), utterances([3, 0], 1))


def test_zscore_is_over_all_frames_of_queries_and_documents():
    queries, documents = utterances([4, 3], 0), utterances([8, 1, 5], 1)
    for utterance in (*queries, *documents):
        utterance.mul_(3.0).add_(7.0)[:, 2] = 5.0
    everything = torch.cat([*queries, *documents]).numpy()
    spread = np.maximum(everything.std(axis=0, ddof=1), 1e-9)
    expected = (everything - everything.mean(axis=0)) / spread
    new_queries, new_documents = zscore(queries, documents)
    assert [len(query) for query in new_queries] == [4, 3]
    assert [len(document) for document in new_documents] == [8, 1, 5]
    np.testing.assert_allclose(torch.cat([*new_queries, *new_documents]), expected, atol=1e-12)
    assert not expected[:, 2].any()


def test_zscore_of_nothing_is_refused():
    with pytest.raises(ValueError, match="2 utterances without a single frame"):
        zscore(utterances([0], 0), utterances([0], 0))


def test_normalise_by_hand():
    scores = normalise(np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]]))
    np.testing.assert_allclose(scores, [[-math.sqrt(1.5), 0.0, math.sqrt(1.5)], [0.0, 0.0, 0.0]])


# Term-weighted value


def slow_mtwv(scores, truth, other_queries=0, other_documents=0) -> float:
    """All languages written out, at every threshold: the others hold -10 and each other query has one true document."""
    known, total = scores.shape[1], scores.shape[1] + other_documents
    table = np.full((len(scores) + other_queries, total), -10.0)
    table[: len(scores), :known] = scores
    right = np.zeros(table.shape, dtype=bool)
    right[: len(scores), :known] = truth
    right[len(scores) :, -1] = True
    values = []
    for threshold in [math.inf, *np.unique(table)]:
        losses = []
        for row, hits in zip(table, right, strict=True):
            if hits.any():
                miss = np.sum(hits & (row < threshold)) / hits.sum()
                alarm = np.sum(~hits & (row >= threshold)) / np.sum(~hits) if (~hits).any() else 0.0
                losses.append(miss + 12.49 * alarm)
        values.append(1 - np.mean(losses))
    return max(values)


def test_beta_is_the_evaluations():
    prior = 0.08 / (0.08 + 0.9992)
    assert pytest.approx(12.49) == BETA == pytest.approx((1 - prior) / prior)


def test_mtwv_by_hand():
    scores = np.array([[5.0, 4.0, 1.0, 0.0], [3.0, 2.0, 1.0, 0.0], [9.0, 9.0, 9.0, 9.0]])
    truth = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)
    # At 4 the first query is complete, the second missed: 1/2. At 2 one of its three others is a false alarm:
    # 1 - 12.49/6 is below. The third query has no true document, so its scores do not count.
    assert mtwv(scores, truth) == pytest.approx(0.5)
    # Over all languages: two more queries, all missed, halve it, and other documents make false alarms cheaper:
    # at 2, (2 - 12.49/100) / 4 with 97 further documents.
    assert mtwv(scores, truth, other_queries=2) == pytest.approx(0.25)
    assert mtwv(scores, truth, other_queries=2, other_documents=97) == pytest.approx((2 - 12.49 / 100) / 4)


def test_mtwv_is_0_where_every_threshold_is_worse_and_1_where_all_is_found():
    assert mtwv(np.array([[1.0, 2.0]]), np.array([[True, False]])) == 0.0
    assert mtwv(np.array([[2.0, 2.0]]), np.array([[True, False]])) == 0.0  # a tie is returned together
    assert mtwv(np.array([[2.0, 1.0], [0.9, 3.0]]), np.array([[True, False], [False, True]])) == pytest.approx(1.0)
    assert mtwv(np.array([[1.0, 2.0]]), np.array([[True, True]])) == 1.0  # nothing that could be a false alarm


def test_documents_without_score_are_returned_at_the_default_score():
    # A true document below -10 can only be had with the one document that holds -10: 1 - 12.49 / 201 at -11.
    scores, truth = np.full((1, 201), -12.0), np.zeros((1, 201), dtype=bool)
    scores[0, 0], truth[0, 0] = -11.0, True
    assert mtwv(scores, truth) == pytest.approx(1.0)
    assert mtwv(scores, truth, other_documents=1) == pytest.approx(1 - 12.49 / 201)
    scores[0, 0] = -10.0
    assert mtwv(scores, truth, other_documents=1) == pytest.approx(1 - 12.49 / 201)
    scores[0, 0] = -9.9
    assert mtwv(scores, truth, other_documents=1) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("others", [(0, 0), (7, 0), (0, 150), (7, 150), (1, 1)])
def test_mtwv_is_the_best_of_all_thresholds(seed, others):
    rng = np.random.default_rng(seed)
    truth = rng.random((6, 80)) < 0.04
    truth[0, 0] = True
    scores = (rng.normal(size=truth.shape) + 3 * truth).round(1) - 10 * (seed % 4 == 0)
    assert mtwv(scores, truth, *others) == pytest.approx(slow_mtwv(scores, truth, *others), abs=1e-12)


@pytest.mark.parametrize("others", [(0, 0), (4, 30)])
def test_draws_equal_literal_resampling_of_queries(others):
    rng = np.random.default_rng(3)
    truth = rng.random((7, 25)) < 0.1
    truth[:, 0], truth[4] = True, False
    scores = (rng.normal(size=truth.shape) + 3 * truth).round(1)
    asked = np.delete(np.arange(7), 4)
    drawing, expected = np.random.default_rng(8), []
    for _ in range(40):
        drawn = asked[drawing.integers(6, size=6, dtype=np.int32)]
        expected.append(slow_mtwv(scores[drawn], truth[drawn], *others))
    draws = mtwv_draws(scores, truth, 8, *others, draws=40)
    np.testing.assert_allclose(draws, expected, atol=1e-12)
    assert draws.std() > 0
    assert np.array_equal(draws, mtwv_draws(scores, truth, 8, *others)[:40])


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (np.zeros((2, 3)), np.ones((3, 2)), r"shape \(2, 3\) against truth of shape \(3, 2\)"),
        (np.zeros(3), np.ones(3), r"shape \(3,\)"),
        (np.array([[1.0, np.nan]]), np.ones((1, 2)), "1 of 2 scores of documents are not finite"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "none of 2 queries has a true document"),
    ],
)
def test_what_has_no_term_weighted_value_is_refused(scores, truth, message):
    with pytest.raises(ValueError, match=message):
        mtwv(scores, truth)
    with pytest.raises(ValueError, match=message):
        mtwv_draws(scores, truth, 0)
