import numpy as np
import torch

from students.encoded import Encoded
from students.masking import draw_mask, swapped


def test_masked_spans_do_not_touch_and_cover_what_they_should():
    rng = np.random.default_rng(0)
    shares, lengths = [], []
    for _ in range(200):
        mask = draw_mask([400, 250], rng).numpy()
        assert not mask[1, 250:].any()
        edges = np.diff(np.concatenate([[0], mask[0].astype(int), [0]]))
        starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        assert (starts[1:] - ends[:-1] >= 1).all()
        lengths += list(ends - starts)
        shares.append(mask[0].mean())
    assert max(lengths) == 20 and 9 < np.mean(lengths) < 12
    assert 0.7 < np.mean(shares) < 0.85


def test_short_utterances_get_a_mask_too():
    rng = np.random.default_rng(1)
    masks = [draw_mask([1, 2, 12], rng) for _ in range(100)]
    assert all(mask.shape == (3, 12) and not mask[0, 1:].any() and not mask[1, 2:].any() for mask in masks)
    assert any(mask[2].any() for mask in masks)


def test_each_frame_is_told_what_its_hearer_could_not_know():
    plain, covered = torch.zeros(1, 3, 1), torch.ones(1, 3, 1)
    masked = torch.tensor([[True, False, True]])
    frames = torch.tensor([3])
    targets = swapped(Encoded(plain, [plain], frames), Encoded(covered, [covered], frames), masked)
    assert targets.states[0].flatten().tolist() == [0.0, 1.0, 0.0]
