"""How training batches are drawn for a probe (superb-protocol 2)."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from tasks.base import Batching, Item

LONG = 300_000  # samples: a window that begins with a longer utterance is halved (superb-protocol 2.1)


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

    target_sizes, samples: length of each item's target and of its audio, by which "windows" and "buckets" are sorted.
    A window whose first item is longer than 300 000 samples is halved, as officially.
    """

    def __init__(
        self, batching: Batching, items: list[Item], target_sizes: list[int], samples: list[int], seed: int
    ) -> None:
        if not items:
            raise ValueError("cannot draw batches from no items: expected at least one that is usable")
        self.batching, self.items = batching, items
        self.rng = np.random.default_rng(seed)
        self.samples = samples
        sizes = target_sizes if batching == "windows" else samples
        self.order = sorted(range(len(items)), key=lambda i: (-sizes[i], -samples[i], items[i].id))

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
        chances = np.cumsum(macro_weights(self.items))
        chances /= chances[-1]
        while True:
            yield np.searchsorted(chances, self.rng.random(batch), side="right").tolist()

    def _windows(self, batch: int) -> Iterator[list[int]]:
        while True:
            for first in self.rng.permutation(len(self.items)):
                start = min(int(first), len(self.items) - batch)
                count = batch // 2 if self.samples[self.order[start]] > LONG else batch
                yield self.order[start : start + max(count, 1)]

    def _buckets(self, batch: int) -> Iterator[list[int]]:
        # Officially twice as large and halved, but for the last one, which is kept whole unless it is full.
        full, rest = divmod(len(self.order), 2 * batch)
        edges = [*range(0, 2 * full * batch + 1, batch), *([len(self.order)] if rest else [])]
        while True:
            for position in self.rng.permutation(len(edges) - 1):
                yield self.order[edges[position] : edges[position + 1]]
