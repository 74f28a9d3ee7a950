from itertools import islice
from pathlib import Path

from harness.sampling import Sampler, macro_weights, slots
from tasks.base import Item


def item(name: str, label: str = "a", path: str | None = None, samples: int | None = None) -> Item:
    return Item(name, Path(path or name), label, samples=samples)


STRETCHES = [item("n0", "noise", "n.wav", 16_000), item("n1", "noise", "n.wav", 16_000)]


def test_stretches_of_one_file_are_one_slot():
    assert slots([item("x"), *STRETCHES, item("y")]) == [[0], [1, 2], [3]]


def test_macro_weights_by_hand():
    # two classes, half the chance each: three clips of "a" share 1/2, one noise file has 1/2, halved over 2 stretches
    weights = macro_weights([item("x"), item("y"), item("z"), *STRETCHES])
    assert weights == [1 / 6] * 3 + [1 / 4] * 2


def test_shuffled_epochs_see_every_slot_once():
    items = [item(str(i)) for i in range(5)] + STRETCHES
    epoch = list(islice(Sampler("shuffled", items, [1] * 7, [1] * 7, 0).batches(2), 3))
    drawn = sorted(index for batch in epoch for index in batch)
    assert len(drawn) == 6 and drawn[:5] == [0, 1, 2, 3, 4] and drawn[5] in (5, 6)


def test_windows_overlap_and_are_sorted_by_target_length():
    items = [item(str(i)) for i in range(4)]
    batches = list(islice(Sampler("windows", items, [5, 9, 1, 7], [1] * 4, 0).batches(2), 4))
    # by descending target: 1, 3, 0, 2; windows start at min(i, N - 2)
    assert sorted(batches) == sorted([[1, 3], [3, 0], [0, 2], [0, 2]])


def test_buckets_are_neighbours_by_audio_length():
    items = [item(str(i)) for i in range(5)]
    batches = list(islice(Sampler("buckets", items, [1] * 5, [10, 50, 30, 20, 40], 0).batches(2), 3))
    assert sorted(batches) == sorted([[1, 4], [2, 3], [0]])


def test_balanced_draws_classes_evenly():
    items = [item(str(i)) for i in range(9)] + [item("b", "b")]
    batches = islice(Sampler("balanced", items, [1] * 10, [1] * 10, 0).batches(10), 200)
    drawn = [index for batch in batches for index in batch]
    assert 0.45 < drawn.count(9) / len(drawn) < 0.55
