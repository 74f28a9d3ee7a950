"""How training batches are drawn for a probe (superb-protocol 2)."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from tasks.base import Batching, Item


def slots(items: list[Item]) -> list[list[int]]:
    """Indices of the items, those of one file together: the protocol draws files, then a stretch of the file."""
    groups: dict[object, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(item.path if item.samples is not None else item.id, []).append(index)
    return list(groups.values())


def macro_weights(items: list[Item]) -> list[float]:
    """The chance of each item when classes are drawn evenly, then files, then stretches (superb-protocol 2.3)."""
    groups = slots(items)
    counts = Counter(items[group[0]].label for group in groups)
    weights = [0.0] * len(items)
    for group in groups:
        for index in group:
            weights[index] = 1.0 / (len(counts) * counts[items[index].label] * len(group))
    return weights


class Sampler:
    """Endless batches of item indices.

    target_sizes, frames: length of each item's target and of its states, by which "windows" and "buckets" are sorted.
    """

    def __init__(
        self, batching: Batching, items: list[Item], target_sizes: list[int], frames: list[int], seed: int
    ) -> None:
        self.batching, self.items = batching, items
        self.rng = np.random.default_rng(seed)
        sizes = target_sizes if batching == "windows" else frames
        self.order = sorted(range(len(items)), key=lambda i: (-sizes[i], -frames[i], items[i].id))

    def batches(self, batch: int) -> Iterator[list[int]]:
        """Batches for ever, by the rule the sampler was made with."""
        draw = {
            "shuffled": self._shuffled,
            "balanced": self._balanced,
            "windows": self._windows,
            "buckets": self._buckets,
        }
        return draw[self.batching](min(batch, len(self.items)))

    def _shuffled(self, batch: int) -> Iterator[list[int]]:
        groups = slots(self.items)
        while True:
            order = self.rng.permutation(len(groups))
            for start in range(0, len(groups), batch):
                yield [groups[g][int(self.rng.integers(len(groups[g])))] for g in order[start : start + batch]]

    def _balanced(self, batch: int) -> Iterator[list[int]]:
        weights = np.array(macro_weights(self.items))
        weights /= weights.sum()
        while True:
            yield self.rng.choice(len(self.items), size=batch, p=weights).tolist()

    def _windows(self, batch: int) -> Iterator[list[int]]:
        while True:
            for first in self.rng.permutation(len(self.items)):
                start = min(int(first), len(self.items) - batch)
                yield self.order[start : start + batch]

    def _buckets(self, batch: int) -> Iterator[list[int]]:
        starts = range(0, len(self.order), batch)
        while True:
            for position in self.rng.permutation(len(starts)):
                yield self.order[starts[position] : starts[position] + batch]
