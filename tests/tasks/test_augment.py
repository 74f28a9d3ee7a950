"""SpecAugment: the warp against interpolation by hand, the masks against the rules of superb-protocol 2.2."""

import math

import pytest
import torch

from tasks import augment
from tasks.augment import spec_augment


@pytest.fixture
def no_warp(monkeypatch):
    monkeypatch.setattr(augment, "WARP_WINDOW", 10**6)


@pytest.fixture
def no_masks(monkeypatch):
    monkeypatch.setattr(augment, "FEATURE_WIDTH", 1)
    monkeypatch.setattr(augment, "TIME_WIDTH", 1)


def runs(mask: torch.Tensor) -> list[tuple[int, int]]:
    """Starts and lengths of the stretches of True in (places,)."""
    flags = [False, *mask.tolist(), False]
    starts = [i for i in range(len(mask)) if flags[i + 1] and not flags[i]]
    ends = [i for i in range(len(mask)) if flags[i + 1] and not flags[i + 2]]
    return [(start, end - start + 1) for start, end in zip(starts, ends, strict=True)]


def bicubic(values: list[float], size: int) -> list[float]:
    """Resize by cubic convolution (Keys, a = -0.75) between half-pixel centres, the border values repeated."""

    def weight(distance: float) -> float:
        d = abs(distance)
        return 1.25 * d**3 - 2.25 * d**2 + 1 if d <= 1 else -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)

    resized = []
    for i in range(size):
        place = (i + 0.5) * len(values) / size - 0.5
        taps = [math.floor(place) + offset for offset in (-1, 0, 1, 2)]
        resized.append(sum(weight(place - tap) * values[min(max(tap, 0), len(values) - 1)] for tap in taps))
    return resized


def test_warp_moves_a_point_as_the_protocol_says_and_resizes_both_sides(no_masks):
    torch.manual_seed(0)
    x = torch.randn(1, 12, 3, dtype=torch.double)
    columns = x[0].T.tolist()
    expected = {}
    for point in (5, 6):
        for moved in range(point - 4, point + 6):
            sides = [bicubic(c[:point], moved) + bicubic(c[point:], 12 - moved) for c in columns]
            expected[point, moved] = torch.tensor(sides, dtype=torch.double).T
    seen = set()
    for _ in range(400):
        got = spec_augment(x, torch.tensor([12]))[0]
        matches = {key for key, value in expected.items() if torch.allclose(got, value, rtol=0, atol=1e-9)}
        assert matches
        seen |= matches
    assert seen == set(expected)


def test_points_are_drawn_from_the_whole_utterance(no_masks):
    torch.manual_seed(0)
    x = torch.arange(400.0)[None, :, None]
    slopes = torch.stack([spec_augment(x, torch.tensor([400]))[0, :, 0].diff() for _ in range(1500)])
    jumps = (slopes - 1).abs().argmax(1)[(slopes - 1).abs().amax(1) > 0.05]  # about where the sides meet
    assert jumps.min() < 15 and jumps.max() > 385 and jumps.double().mean().item() == pytest.approx(200, abs=12)


def test_short_utterances_are_not_warped(no_masks):
    x = torch.randn(1, 10, 3)
    assert all(spec_augment(x, torch.tensor([10])).equal(x) for _ in range(50))


def test_each_utterance_is_warped_within_its_own_length(no_masks):
    torch.manual_seed(0)
    x, lengths = torch.randn(4, 60, 3), torch.tensor([60, 25, 25, 8])
    x[2] = x[1]
    got = spec_augment(x, lengths)
    assert got.shape == x.shape and not got[1].equal(got[2])
    for row, length in enumerate(lengths.tolist()):
        assert got[row, length:].eq(0).all() and got[row, :length].ne(0).all()


def test_masks_are_whole_columns_and_rows_and_leave_the_rest(no_warp):
    torch.manual_seed(0)
    x, lengths = torch.rand(8, 300, 400) + 1, torch.tensor([300, 290, 250, 200, 150, 120, 100, 300])
    before = x.clone()
    for _ in range(30):
        got = spec_augment(x, lengths)
        assert x.equal(before) and got.shape == x.shape
        for row, length in enumerate(lengths.tolist()):
            valid = got[row, :length]
            features, times = valid.eq(0).all(0), valid.eq(0).all(1)
            kept = ~(features | times[:, None])
            assert valid[kept].equal(x[row, :length][kept]) and valid[~kept].eq(0).all()
            assert len(runs(features)) <= 4 and features.sum() <= 4 * 49
            assert len(runs(times)) <= 2 and times.sum() <= 2 * 39
            assert got[row, length:].eq(0).all()


@pytest.mark.parametrize(("axis", "masks", "widest"), [(1, 4, 49), (0, 2, 39)])
def test_masks_are_drawn_evenly(no_warp, monkeypatch, axis, masks, widest):
    """One mask per utterance, its first and last place read off an axis of 200."""
    name, other = ("FEATURE", "TIME") if axis else ("TIME", "FEATURE")
    assert (getattr(augment, f"{name}_MASKS"), getattr(augment, f"{name}_WIDTH")) == (masks, widest + 1)
    monkeypatch.setattr(augment, f"{name}_MASKS", 1)
    monkeypatch.setattr(augment, f"{other}_WIDTH", 1)
    torch.manual_seed(0)
    x = torch.ones(1, 200, 3) if axis == 0 else torch.ones(1, 3, 200)
    draws, found = 6000, []
    for _ in range(draws):
        found += runs(spec_augment(x, torch.tensor([x.shape[1]]))[0].eq(0).all(1 - axis))
    counts = torch.bincount(torch.tensor([width for _, width in found]), minlength=widest + 1)
    counts[0] = draws - len(found)
    assert len(counts) == widest + 1
    expected = draws / (widest + 1)
    assert ((counts - expected).abs() < 5 * math.sqrt(expected)).all()
    assert all(start + width < 200 for start, width in found)  # the last place is out of reach, as officially
    assert max(start + width for start, width in found) == 199
    places = torch.tensor([start / (199 - width) for start, width in found])
    assert places.mean().item() == pytest.approx(0.5, abs=0.02) and places.std().item() == pytest.approx(0.29, abs=0.01)


def test_widest_mask_of_the_batch_bounds_every_start(no_warp, monkeypatch):
    monkeypatch.setattr(augment, "FEATURE_MASKS", 1)
    monkeypatch.setattr(augment, "TIME_WIDTH", 1)
    torch.manual_seed(0)
    starts = []
    for _ in range(300):
        masked = spec_augment(torch.ones(32, 3, 60), torch.full((32,), 3)).eq(0).all(1)
        found = [run for row in masked for run in runs(row)]
        widest = max(width for _, width in found)
        starts += [start / (59 - widest) for start, _ in found]
    assert max(starts) == 1


def test_time_masks_are_drawn_over_the_longest_utterance(no_warp, monkeypatch):
    monkeypatch.setattr(augment, "FEATURE_WIDTH", 1)
    torch.manual_seed(0)
    hit, x, lengths = torch.zeros(2), torch.ones(2, 500, 3), torch.tensor([400, 100])
    for _ in range(1000):
        got = spec_augment(x, lengths)
        assert got[:, 400:].eq(0).all()
        hit += torch.stack([got[row, :length].eq(0).any() for row, length in enumerate(lengths)])
    # A mask starts before frame 100 of some 370 in three of eleven cases, and there are two of them.
    assert hit[0] > 980 and hit[1].item() == pytest.approx(1000 * (1 - (8 / 11) ** 2), abs=60)


def test_utterances_narrower_than_a_mask_may_vanish(no_warp):
    torch.manual_seed(0)
    x = torch.ones(1, 20, 30)
    got = [spec_augment(x, torch.tensor([20]))[0] for _ in range(50)]
    assert any(one.eq(0).all() for one in got) and any(one.ne(0).any() for one in got)


def test_gradients_reach_what_is_not_masked(no_warp):
    torch.manual_seed(0)
    x = torch.rand(2, 80, 100, requires_grad=True)
    got = spec_augment(x, torch.tensor([80, 50]))
    got.sum().backward()
    assert x.grad.equal(got.ne(0).to(x.dtype))


def test_same_seed_same_draws():
    x, lengths, got = torch.randn(3, 90, 60), torch.tensor([90, 70, 40]), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        got.append(spec_augment(x, lengths))
    assert got[0].equal(got[1]) and not got[0].equal(got[2])


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [[200, 90, 33], [11, 10, 3], [45]])
def test_draws_and_values_are_s3prls(lengths):
    from s3prl.downstream.specaug import SpecAug

    recipe = {"freq_mask_width_range": (0, 50), "num_freq_mask": 4, "time_mask_width_range": (0, 40)}
    official = SpecAug(**recipe, num_time_mask=2)
    torch.manual_seed(0)
    x = torch.randn(len(lengths), max(lengths), 256)
    for seed in range(50):
        torch.manual_seed(seed)
        expected, _ = official([row[:length].clone() for row, length in zip(x, lengths, strict=True)])
        torch.manual_seed(seed)
        got = spec_augment(x, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            assert got[row, :length].equal(expected[row])
