from itertools import islice
from pathlib import Path

import numpy as np
import pytest

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


def test_balanced_draws_are_those_of_numpy():
    items = [item(str(i)) for i in range(9)] + [item("b", "b"), *STRETCHES]
    rng = np.random.default_rng(5)
    weights = np.array(macro_weights(items)) / sum(macro_weights(items))
    expected = [rng.choice(len(items), size=6, p=weights).tolist() for _ in range(50)]
    sizes = [1] * len(items)
    assert list(islice(Sampler("balanced", items, sizes, sizes, 5).batches(6), 50)) == expected


def test_a_window_that_begins_with_more_than_300_000_samples_is_halved():
    items = [item(str(i)) for i in range(6)]
    # By descending target: 0, 1, ..., 5; the second window begins with exactly 300 000 samples.
    samples = [300_001, 300_000, 400_000, 1, 1, 500_000]
    batches = list(islice(Sampler("windows", items, [9, 8, 7, 6, 5, 4], samples, 0).batches(4), 6))
    assert sorted(batches) == [[0, 1], [1, 2, 3, 4], [2, 3], [2, 3], [2, 3], [2, 3]]


def test_half_a_window_of_one_is_one():
    batches = list(islice(Sampler("windows", [item("0"), item("1")], [2, 1], [400_000, 1], 0).batches(1), 2))
    assert sorted(batches) == [[0], [1]]


def test_a_batch_is_at_most_the_whole_split():
    items = [item(str(i)) for i in range(3)]
    for batching in ("shuffled", "balanced", "windows", "buckets"):
        assert len(next(Sampler(batching, items, [1] * 3, [1] * 3, 0).batches(8))) == 3


def test_equal_targets_are_sorted_by_audio_length_then_name():
    items = [item(name) for name in ("b", "a", "c")]
    sampler = Sampler("windows", items, [5, 5, 5], [10, 10, 20], 0)
    assert [items[i].id for i in sampler.order] == ["c", "a", "b"]


def test_the_same_seed_draws_the_same_batches():
    items = [item(str(i), "ab"[i % 2]) for i in range(20)]
    for batching in ("shuffled", "balanced", "windows", "buckets"):
        first, second, other = (
            list(islice(Sampler(batching, items, [1] * 20, [1] * 20, seed).batches(4), 10)) for seed in (3, 3, 4)
        )
        assert first == second != other


def test_no_items_are_refused():
    with pytest.raises(ValueError, match="cannot draw batches from no items"):
        Sampler("windows", [], [], [], 0)


def test_the_last_bucket_is_kept_whole_unless_it_is_full():
    items = [item(str(i)) for i in range(11)]
    drawn = islice(Sampler("buckets", items, [1] * 11, list(range(20, 9, -1)), 0).batches(4), 3)
    # buckets of 8 are halved; the 3 left over are one batch; with 15 items 7 would be
    assert sorted(map(sorted, drawn)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    items = [item(str(i)) for i in range(15)]
    drawn = islice(Sampler("buckets", items, [1] * 15, list(range(30, 15, -1)), 0).batches(4), 3)
    assert sorted(map(len, drawn)) == [4, 4, 7]
