from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tasks.base import ProbeSettings
from tasks.heads import BiLSTM, LinearGrid, RecurrentHead, SeparateGrid, centred
from tasks.optimizer import GridAdamW

SETTINGS = ProbeSettings(steps=1, batch=2, learning_rates=(0.1, 0.01), eval_every=1, hidden=8, recurrent=6, layers=2)


def test_bilstm_equals_the_packed_one_on_valid_frames():
    torch.manual_seed(0)
    ours = BiLSTM(5, 7).double()
    theirs = nn.LSTM(5, 7, batch_first=True, bidirectional=True).double()
    for name, value in ours.forwards.named_parameters():
        getattr(theirs, name).data.copy_(value)
    for name, value in ours.backwards.named_parameters():
        getattr(theirs, f"{name}_reverse").data.copy_(value)
    x, lengths = torch.randn(3, 9, 5, dtype=torch.double), torch.tensor([4, 9, 1])
    x[0, 4:] = 1e6  # padding that would show if it leaked
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    got = ours(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(got[row, :length], expected[row, :length], rtol=1e-12, atol=1e-12)


def inner(grid, head, x):
    """The first layer of one head of a linear grid."""
    return F.linear(x, grid.inner[head], grid.inner_bias[head])


def outer(grid, head, x):
    """The second layer of one head of a linear grid."""
    return F.linear(x, grid.outer[head], grid.outer_bias[head])


@pytest.mark.parametrize("about_their_mean", [False, True])
def test_head_on_means_equals_the_frame_level_head_in_logits_and_gradients(about_their_mean):
    torch.manual_seed(0)
    grid = LinearGrid(1, 3, 4, 5, SETTINGS).double()
    with torch.no_grad():
        grid.layer_weights.copy_(torch.tensor([[0.3, -1.0, 0.7]]))
    frames = torch.randn(2, 3, 11, 4, dtype=torch.double)
    parameters = grid.stacked()
    means = frames.mean(2)
    pooled = grid(centred(list(means)).transpose(0, 1) if about_their_mean else means)[0]
    weights = grid.layer_weights[0].softmax(-1)
    summed = sum(weight * frames[:, i] for i, weight in enumerate(weights))
    slow = torch.stack([outer(grid, 0, inner(grid, 0, utterance).mean(0)) for utterance in summed])
    torch.testing.assert_close(pooled, slow, rtol=1e-12, atol=1e-12)
    ours = torch.autograd.grad(pooled.square().sum(), parameters)
    theirs = torch.autograd.grad(slow.square().sum(), parameters)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_a_single_state_has_no_layer_weights_to_train():
    grid = LinearGrid(1, 1, 4, 5, SETTINGS)
    assert [p.shape for p in grid.of(0)] == [(8, 4), (8,), (5, 8), (5,)]
    assert len(LinearGrid(1, 2, 4, 5, SETTINGS).of(0)) == 5


def test_all_heads_of_a_grid_start_equal():
    grid = SeparateGrid(2, 2, RecurrentHead(4, 5, SETTINGS)).eval()
    logits = grid(torch.randn(3, 2, 6, 4), torch.tensor([6, 4, 2]))
    assert logits.shape == (2, 3, 6, 5)
    torch.testing.assert_close(logits[0], logits[1])


@pytest.mark.parametrize("outputs", [2, 40])
def test_multiplying_the_layers_first_changes_neither_logits_nor_gradients(outputs):
    torch.manual_seed(0)
    grid = LinearGrid(2, 3, 4, outputs, SETTINGS).double()
    with torch.no_grad():
        for parameter in grid.parameters():
            parameter += torch.randn_like(parameter)
    for frames in (torch.randn(2, 3, 11, 4, dtype=torch.double), torch.randn(2, 3, 4, dtype=torch.double)):
        ours = grid(frames)
        summed = torch.einsum("gl,bl...d->gb...d", grid.layer_weights.softmax(-1), frames)
        plain = torch.stack([outer(grid, g, inner(grid, g, summed[g])) for g in range(2)])
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            torch.autograd.grad(ours.square().sum(), grid.stacked()),
            torch.autograd.grad(plain.square().sum(), grid.stacked()),
            rtol=1e-10,
            atol=1e-10,
        )


GRIDS = {
    "stacked": lambda size: LinearGrid(size, 2, 4, 5, SETTINGS),
    "multiplied": lambda size: LinearGrid(size, 2, 4, 2, SETTINGS),
    "separate": lambda size: SeparateGrid(size, 2, RecurrentHead(4, 5, SETTINGS)),
}


@pytest.mark.parametrize("weight_decay", [0.0, 0.02])
@pytest.mark.parametrize("kind", GRIDS)
def test_updates_are_those_of_torch_for_each_head_alone(kind, weight_decay):
    torch.manual_seed(0)
    grid, rates, largest = GRIDS[kind](3).double(), (0.1, 0.01, 0.001), 0.5
    optimizer = GridAdamW(grid, rates, weight_decay)
    alone = [GRIDS[kind](1).double() for _ in rates]
    for each in alone:
        for ours, theirs in zip(each.of(0), grid.of(0), strict=True):
            ours.data.copy_(theirs)
    optimizers = [
        torch.optim.AdamW(each.parameters(), rate, weight_decay=weight_decay)
        if weight_decay
        else torch.optim.Adam(each.parameters(), rate)
        for each, rate in zip(alone, rates, strict=True)
    ]
    # The first head's gradient is far above the limit, the last one's below.
    scales = torch.tensor([100.0, 1.0, 1e-5])
    for _ in range(4):
        batches = [torch.randn(rows, 2, 6, 4, dtype=torch.double) for rows in (2, 1)]
        grid.begin()
        for x in batches:
            (grid(x, lengths_of(x)).square().sum((1, 2, 3)) * scales).sum().backward()
        optimizer.step(largest)
        for each, scale, one in zip(alone, scales, optimizers, strict=True):
            each.zero_grad()
            for x in batches:
                (each(x, lengths_of(x)).square().sum() * scale).backward()
            nn.utils.clip_grad_norm_(each.parameters(), largest)
            one.step()
    for g, each in enumerate(alone):
        torch.testing.assert_close(grid.of(g), each.of(0), rtol=1e-10, atol=1e-12)


def lengths_of(x):
    """Six valid frames of the first utterance, and four of the second."""
    return torch.tensor([6, 4])[: len(x)]


@pytest.mark.parametrize("kind", GRIDS)
def test_a_head_with_a_gradient_that_is_not_finite_skips_the_update(kind):
    torch.manual_seed(0)
    grid = GRIDS[kind](3)
    optimizer = GridAdamW(grid, (0.1, 0.1, 0.1), 0.0)
    before = [[p.detach().clone() for p in grid.of(g)] for g in range(3)]
    grid.begin()
    losses = grid(torch.randn(2, 2, 6, 4), torch.tensor([6, 4])).square().mean((1, 2, 3))
    (losses * torch.tensor([1.0, float("nan"), float("inf")])).sum().backward()
    optimizer.step(1.0)
    changed = [any(not torch.equal(a, b) for a, b in zip(before[g], grid.of(g), strict=True)) for g in range(3)]
    assert changed == [True, False, False]
    assert all(p.isfinite().all() for p in grid.parameters())


def copy_linear(ours, theirs):
    """The same weights in a linear grid of one head and in a linear model of S3PRL."""
    theirs.hidden_layers[0].load_state_dict({"weight": ours.inner[0], "bias": ours.inner_bias[0]})
    theirs.final_proj.load_state_dict({"weight": ours.outer[0], "bias": ours.outer_bias[0]})


@pytest.mark.slow
def test_linear_heads_are_s3prls():
    from s3prl.nn.common import FrameLevel, UtteranceLevel

    torch.manual_seed(0)
    grid = LinearGrid(1, 1, 20, 5, replace(SETTINGS, hidden=256))
    utterance_level, frame_level = UtteranceLevel(20, 5), FrameLevel(20, 5)
    copy_linear(grid, utterance_level)
    copy_linear(grid, frame_level)
    x, lengths = torch.randn(3, 30, 20), torch.tensor([12, 30, 1])
    means = torch.stack([row[:length].mean(0) for row, length in zip(x, lengths, strict=True)])
    torch.testing.assert_close(grid(means[:, None])[0], utterance_level(x, lengths), rtol=0, atol=1e-5)
    torch.testing.assert_close(grid(x[:, None], lengths)[0], frame_level(x, lengths)[0], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_recurrent_head_is_s3prls():
    from s3prl.nn.rnn import RNNEncoder

    torch.manual_seed(0)
    settings = replace(SETTINGS, hidden=64, recurrent=48, dropout=0.2)
    grid = SeparateGrid(1, 1, RecurrentHead(20, 5, settings)).eval()
    recipe = {"dropout": [0.2, 0.2], "layer_norm": [False, False], "proj": [False, False], "sample_rate": [1, 1]}
    official = RNNEncoder(20, 5, proj_size=64, hidden_size=[48, 48], bidirectional=True, **recipe).eval()
    head = grid.heads[0]
    official.proj.load_state_dict(head.project.state_dict())
    official.linear.load_state_dict(head.output.state_dict())
    for ours, theirs in zip(head.recurrent, official.rnns, strict=True):
        backwards = {f"{name}_reverse": value for name, value in ours.backwards.state_dict().items()}
        theirs.layer.load_state_dict(ours.forwards.state_dict() | backwards)
    x, lengths = torch.randn(3, 60, 20), torch.tensor([33, 60, 1])
    got, (expected, _) = grid(x[:, None], lengths)[0], official(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(got[row, :length], expected[row, :length], rtol=0, atol=1e-5)
