import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tasks.base import ProbeSettings
from tasks.heads import BiLSTM, LinearGrid, RecurrentGrid

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


def test_head_on_means_equals_the_frame_level_head_in_logits_and_gradients():
    torch.manual_seed(0)
    grid = LinearGrid(1, 3, 4, 5, SETTINGS).double()
    with torch.no_grad():
        grid.layer_weights[0].copy_(torch.tensor([0.3, -1.0, 0.7]))
    frames = torch.randn(2, 3, 11, 4, dtype=torch.double)
    parameters = grid.of(0)
    pooled = grid(frames.mean(2))[0]
    first, second = grid.heads[0][0], grid.heads[0][1]
    weights = grid.layer_weights[0].softmax(-1)
    summed = sum(weight * frames[:, i] for i, weight in enumerate(weights))
    slow = torch.stack([second(first(utterance).mean(0)) for utterance in summed])
    torch.testing.assert_close(pooled, slow, rtol=1e-12, atol=1e-12)
    ours = torch.autograd.grad(pooled.square().sum(), parameters)
    theirs = torch.autograd.grad(slow.square().sum(), parameters)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_a_single_state_has_no_layer_weights_to_train():
    grid = LinearGrid(1, 1, 4, 5, SETTINGS)
    assert grid.layer_weights[0] is not grid.of(0)[0] and len(grid.of(0)) == 4


def test_all_heads_of_a_grid_start_equal():
    grid = RecurrentGrid(2, 2, 4, 5, SETTINGS).eval()
    logits = grid(torch.randn(3, 2, 6, 4), torch.tensor([6, 4, 2]))
    assert logits.shape == (2, 3, 6, 5)
    torch.testing.assert_close(logits[0], logits[1])
