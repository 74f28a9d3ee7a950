"""Spoken term search by example: subsequence DTW and maximum term-weighted value (superb-protocol 2.4)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.metrics import RESAMPLES, multiplicities

if TYPE_CHECKING:
    from torch import Tensor

# Costs of a false alarm and of a miss, and the prior probability of a hit, as the evaluation defines them.
FALSE_ALARM_COST, MISS_COST, TARGET_PRIOR = 1.0, 100.0, 0.0008
BETA = FALSE_ALARM_COST * (1 - TARGET_PRIOR) / (MISS_COST * TARGET_PRIOR)
DEFAULT_SCORE = -10.0  # of trials that were not submitted
SHORTEST_QUERY = 5  # frames
_FLOOR = 1e-9
_BLOCK = 2**14  # document frames searched at once, padding included: bounds memory and padding


def zscore(queries: Sequence["Tensor"], documents: Sequence["Tensor"]) -> tuple[list["Tensor"], list["Tensor"]]:
    """Queries and documents, (frames, dim) each, with every dimension at mean 0 and deviation 1 over all their frames.

    The standard deviation is the unbiased one and at least 1e-9 (superb-protocol 2.4). Raises ValueError if there is
    no frame at all.
    """
    import torch

    utterances = [*queries, *documents]
    frames = sum(len(utterance) for utterance in utterances)
    if not frames:
        raise ValueError(f"cannot normalise {len(utterances)} utterances without a single frame")
    mean = torch.stack([utterance.double().sum(0) for utterance in utterances]).sum(0) / frames
    squares = torch.stack([(utterance.double() - mean).square().sum(0) for utterance in utterances]).sum(0)
    deviation = (squares / max(frames - 1, 1)).sqrt().clamp(min=_FLOOR)
    scaled = [((utterance - mean) / deviation).to(utterance.dtype) for utterance in utterances]
    return scaled[: len(queries)], scaled[len(queries) :]


def subsequence_dtw(distances: "Tensor", lengths: "Tensor") -> "Tensor":
    """Cost of the best path through each document, per query frame, (documents,) (superb-protocol 2.4).

    A path visits every query frame in turn and stays, or moves on by one or two document frames, at each; it begins
    and ends anywhere. distances (query frames, documents, frames), documents being padded at the end to `frames`;
    lengths (documents,) without padding.
    """
    import torch

    total = distances[0]
    for row in distances[1:]:
        best = total.clone()
        torch.minimum(best[:, 1:], total[:, :-1], out=best[:, 1:])
        torch.minimum(best[:, 2:], total[:, :-2], out=best[:, 2:])
        total = best.add_(row)
    # A path never moves back, so padding costs no valid frame anything; only the end must not lie in it.
    padding = torch.arange(total.shape[1], device=total.device) >= lengths[:, None]
    return total.masked_fill(padding, torch.inf).amin(1) / len(distances)


def search(queries: Sequence["Tensor"], documents: Sequence["Tensor"]) -> np.ndarray:
    """How well each query occurs in each document, (queries, documents), at most 0 (superb-protocol 2.4).

    Minus the cost of subsequence_dtw on distances exp(1 - cosine) - 1, which are scaled from 0 to 1 over the document
    for each query frame; 0 for a query under 5 frames. queries, documents: (frames, dim) each, on one device. Raises
    ValueError if a document has no frames.
    """
    import torch
    from torch.nn.functional import normalize

    empty = [index for index, document in enumerate(documents) if not len(document)]
    if empty:
        raise ValueError(f"cannot search {len(empty)} documents without frames, the first being number {empty[0]}")
    scores = np.zeros((len(queries), len(documents)))
    with torch.inference_mode():
        directions = {q: normalize(query, dim=-1) for q, query in enumerate(queries) if len(query) >= SHORTEST_QUERY}
        for block in _blocks([len(document) for document in documents]):
            # Repeating a frame as padding leaves the smallest and the largest distance as they are.
            longest = len(documents[block[-1]])
            time = torch.arange(longest, device=documents[0].device)
            padded = normalize(
                torch.stack([documents[d][time.clamp(max=len(documents[d]) - 1)] for d in block]), dim=-1
            )
            lengths = torch.tensor([len(documents[d]) for d in block], device=padded.device)
            for q, query in directions.items():
                cosines = (query @ padded.flatten(0, 1).T).unflatten(1, (len(block), longest))
                scores[q, block] = -subsequence_dtw(_scaled_distances(cosines), lengths).cpu().numpy()
    return scores


def normalise(scores: np.ndarray) -> np.ndarray:
    """Scores (queries, documents) less their mean over documents, over their population deviation, at least 1e-9."""
    spread = np.maximum(scores.std(axis=1, keepdims=True), _FLOOR)
    return (scores - scores.mean(axis=1, keepdims=True)) / spread


def mtwv(scores: np.ndarray, truth: np.ndarray, other_queries: int = 0, other_documents: int = 0) -> float:
    """Maximum term-weighted value, 1 at best and 0 if nothing is found (superb-protocol 2.4).

    The largest 1 - mean over queries of (miss rate + BETA x false alarm rate) at one threshold for all queries, at and
    above which a document is returned; queries without a true document are left out. scores, truth (queries,
    documents). With the other two numbers, the official value over all languages: other_queries have a true document
    but no submitted score, other_documents are true for no scored query; both hold DEFAULT_SCORE throughout.
    Raises ValueError if shapes differ, a score is not finite, or no query has a true document.
    """
    scores, truth = _checked(scores, truth)
    _, gains, ends = _ranked_gains(scores, truth, other_queries, other_documents)
    return _best(gains, ends, len(scores) + other_queries)


def mtwv_draws(
    scores: np.ndarray,
    truth: np.ndarray,
    seed: int,
    other_queries: int = 0,
    other_documents: int = 0,
    draws: int = RESAMPLES,
) -> np.ndarray:
    """Bootstrap of mtwv, (draws,), each value at its own best threshold.

    Resamples the scored queries that have a true document; other_queries stay as many. Raises ValueError as mtwv does.
    """
    scores, truth = _checked(scores, truth)
    query, gains, ends = _ranked_gains(scores, truth, other_queries, other_documents)
    resamples = multiplicities(len(scores), seed)
    weights = (np.append(next(resamples), 1)[query] for _ in range(draws))
    return np.array([_best(weight * gains, ends, len(scores) + other_queries) for weight in weights])


def _blocks(lengths: Sequence[int]) -> list[list[int]]:
    """Documents from the shortest to the longest, in blocks of at most _BLOCK padded frames or one document."""
    blocks: list[list[int]] = []
    for document in sorted(range(len(lengths)), key=lambda d: lengths[d]):
        if blocks and (len(blocks[-1]) + 1) * lengths[document] <= _BLOCK:
            blocks[-1].append(document)
        else:
            blocks.append([document])
    return blocks


def _scaled_distances(cosines: "Tensor") -> "Tensor":
    """exp(1 - cosine) - 1, scaled to 0..1 over the frames of each document; (query frames, documents, frames)."""
    distances = (1 - cosines).expm1_()
    least = distances.amin(-1, keepdim=True)
    spread = (distances.amax(-1, keepdim=True) - least).clamp_(min=_FLOOR)
    return distances.sub_(least).div_(spread)


def _checked(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both without the queries that have no true document."""
    scores, truth = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=bool)
    if scores.shape != truth.shape or scores.ndim != 2:
        raise ValueError(
            f"cannot score a table of shape {scores.shape} against truth of shape {truth.shape}: "
            f"expected (queries, documents) for both"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.sum(~np.isfinite(scores))} of {scores.size} scores of documents are not finite")
    asked = truth.any(axis=1)
    if not asked.any():
        raise ValueError(f"none of {len(truth)} queries has a true document: expected at least one that has")
    return scores[asked], truth[asked]


def _ranked_gains(
    scores: np.ndarray, truth: np.ndarray, other_queries: int, other_documents: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All trials from the highest score: their query, what returning them adds to the value of that query, and the
    last trial of each distinct score.

    The value of a query is 0 while nothing is returned; a true document adds 1 over the number of true ones, another
    one takes BETA over the number of others. The documents without score are one trial per query, the queries without
    score one more trial, numbered after the last query.
    """
    count, documents = scores.shape
    hits = truth.sum(axis=1)
    hit, alarm = 1 / hits, -BETA / np.maximum(documents + other_documents - hits, 1)
    gains = [
        np.where(truth, hit[:, None], alarm[:, None]).ravel(),
        alarm * other_documents,
        [other_queries * (1 - BETA)],
    ]
    query = np.concatenate([np.repeat(np.arange(count), documents), np.arange(count + 1)])
    every = np.append(scores.ravel(), np.full(count + 1, DEFAULT_SCORE))
    order = np.argsort(-every, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(every[order]) != 0, True))
    return query[order], np.concatenate(gains)[order], ends


def _best(gains: np.ndarray, ends: np.ndarray, queries: int) -> float:
    """The largest mean value over all thresholds, the one above every score included."""
    return max(float(np.cumsum(gains)[ends].max()), 0.0) / queries
