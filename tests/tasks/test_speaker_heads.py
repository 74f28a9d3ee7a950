import math

import pytest
import torch
from torch.nn import functional as F

from tasks.speaker_heads import DiarizationHead, XVectorHead, am_softmax_loss

LENGTHS = torch.tensor([23, 40, 16])


def batch(dim: int) -> torch.Tensor:
    """Frames in double precision whose padding would show if it leaked."""
    x = torch.randn(len(LENGTHS), int(LENGTHS.max()), dim, dtype=torch.double)
    for row, length in enumerate(LENGTHS):
        x[row, length:] = 1e6
    return x


def slow_embedding(head: XVectorHead, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of both utterance layers for one utterance (frames, dim), one frame and one context after another."""
    frames = [head.project(frame) for frame in x]
    offsets = [(-2, -1, 0, 1, 2), (-2, 0, 2), (-3, 0, 3), (0,), (0,)]
    for layer, around in zip(head.frame_layers, offsets, strict=True):
        centres = range(-around[0], len(frames) - around[-1])
        frames = [F.relu(layer(torch.cat([frames[t + offset] for offset in around]))) for t in centres]
    assert len(frames) == len(x) - 14
    values = torch.stack(frames)
    first = F.relu(head.first(torch.cat([values.mean(0), values.std(0, correction=1)])))
    return first, F.relu(head.second(first))


def test_x_vector_equals_the_slow_one_per_utterance_in_values_and_gradients():
    torch.manual_seed(0)
    head = XVectorHead(dim=6, speakers=4, hidden=8, pooled=10).double()
    x = batch(6)
    slow = [slow_embedding(head, row[:length]) for row, length in zip(x, LENGTHS, strict=True)]
    expected = torch.stack(
        [torch.stack([F.cosine_similarity(second, column, dim=0) for column in head.speakers.T]) for _, second in slow]
    )
    cosines = head(x, LENGTHS)
    torch.testing.assert_close(cosines, expected, rtol=1e-10, atol=1e-12)
    parameters = list(head.parameters())
    ours = torch.autograd.grad(cosines.square().sum(), parameters)
    theirs = torch.autograd.grad(expected.square().sum(), parameters)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    embeddings = head.eval()(x, LENGTHS)
    for embedding, (first, _) in zip(embeddings, slow, strict=True):
        torch.testing.assert_close(embedding, first / first.square().sum().sqrt(), rtol=1e-10, atol=1e-12)


def test_x_vector_has_the_protocols_sizes():
    shapes = [tuple(p.shape) for p in XVectorHead(768, 1211, 512, 1500).parameters() if p.ndim == 2]
    frame_layers = [(512, 5 * 512), (512, 3 * 512), (512, 3 * 512), (512, 512), (1500, 512)]
    assert sorted(shapes) == sorted([(512, 768), *frame_layers, (512, 3000), (512, 512), (512, 1211)])


def test_speaker_columns_start_xavier_normal():
    torch.manual_seed(0)
    columns = XVectorHead(4, 1211, 512, 4).speakers
    assert columns.std().item() == pytest.approx(math.sqrt(2 / (512 + 1211)), rel=0.01)
    assert columns.mean().item() == pytest.approx(0, abs=2e-4)


def test_equal_frames_pass_the_gradients_of_the_slow_head():
    torch.manual_seed(0)
    head = XVectorHead(3, 5, 8, 6).double()
    frame = torch.randn(3, dtype=torch.double)
    x = frame.expand(1, 30, 3)  # 16 frames remain, whose mean is exact and whose deviation is 0
    _, second = slow_embedding(head, x[0])
    expected = torch.stack([F.cosine_similarity(second, column, dim=0) for column in head.speakers.T])
    parameters = list(head.parameters())
    ours = torch.autograd.grad(head(x, torch.tensor([30])).square().sum(), parameters)
    theirs = torch.autograd.grad(expected.square().sum(), parameters)
    assert all(gradient.isfinite().all() for gradient in ours)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_fifteen_frames_are_too_few():
    head = XVectorHead(3, 5, 8, 6).eval()
    with pytest.raises(ValueError, match="an utterance has 15 frames: an x-vector needs 16 or more, leave shorter"):
        head(torch.randn(2, 20, 3), torch.tensor([20, 15]))
    assert head(torch.randn(1, 16, 3), torch.tensor([16])).isfinite().all()


def test_am_softmax_by_hand():
    # True speaker 0 at cosine 0.9, the other two at 0.5 and -1.
    own, others = math.exp(30 * (0.9 - 0.4)), math.exp(30 * 0.5) + math.exp(-30)
    expected = -math.log(own / (own + others))
    assert expected == pytest.approx(math.log(2))  # 0.9 - 0.4 is the other's 0.5
    loss = am_softmax_loss(torch.tensor([[0.9, 0.5, -1.0]], dtype=torch.double), torch.tensor([0]))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_am_softmax_keeps_the_grid_and_averages_the_batch():
    torch.manual_seed(0)
    cosines = torch.rand(3, 4, 5, dtype=torch.double) * 2 - 1
    targets = torch.tensor([4, 0, 2, 2])
    expected = []
    for head in cosines.tolist():
        losses = []
        for row, target in zip(head, targets.tolist(), strict=True):
            scaled = [30 * (cosine - 0.4 * (i == target)) for i, cosine in enumerate(row)]
            losses.append(math.log(sum(math.exp(value) for value in scaled)) - scaled[target])
        expected.append(sum(losses) / 4)
    assert am_softmax_loss(cosines, targets).tolist() == pytest.approx(expected, rel=1e-12)


def test_diarization_head_equals_the_recurrence_by_hand():
    torch.manual_seed(0)
    head = DiarizationHead(dim=3, width=4, layers=1).double()
    x = batch(3)
    logits = head(x, LENGTHS)
    assert logits.shape == (3, 40, 2)
    weight_in, weight_back, bias_in, bias_back = head.recurrent.parameters()
    for row, length in enumerate(LENGTHS.tolist()):
        hidden = cell = torch.zeros(4, dtype=torch.double)
        for t in range(length):
            gates = weight_in @ x[row, t] + bias_in + weight_back @ hidden + bias_back
            enter, forget, candidate, leave = gates.chunk(4)
            cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            expected = head.output.weight @ hidden + head.output.bias
            torch.testing.assert_close(logits[row, t], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_x_vector_and_loss_are_s3prls():
    from s3prl.nn.speaker_loss import amsoftmax
    from s3prl.nn.speaker_model import SuperbXvector

    torch.manual_seed(0)
    official, loss = SuperbXvector(20).double(), amsoftmax(512, 30, margin=0.4, scale=30.0).double()
    head = XVectorHead(20, 30, 512, 1500).double()
    layers = [official.projector, *(tdnn.kernel for tdnn in official.tdnns.module)]
    layers += [official.affine.linear1, official.affine.linear2]
    for ours, theirs in zip([head.project, *head.frame_layers, head.first, head.second], layers, strict=True):
        ours.load_state_dict(theirs.state_dict())
    head.speakers.data.copy_(loss.W.data)
    x, targets = batch(20), torch.tensor([29, 0, 7])
    got = am_softmax_loss(head(x, LENGTHS), targets)
    expected, _ = loss(official(x, LENGTHS), targets)
    torch.testing.assert_close(got, expected, rtol=2e-8, atol=0)  # S3PRL's margin is 0.4 in single precision
    got.backward()
    expected.backward()
    torch.testing.assert_close(head.project.weight.grad, official.projector.weight.grad, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(head.speakers.grad, loss.W.grad, rtol=1e-7, atol=1e-12)
    embeddings = F.normalize(official.eval()(x, LENGTHS), dim=1)
    torch.testing.assert_close(head.eval()(x, LENGTHS), embeddings, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2])
def test_diarization_head_is_s3prls(layers):
    from s3prl.nn.rnn import SuperbDiarizationModel

    torch.manual_seed(0)
    official = SuperbDiarizationModel(20, 2, rnn_layers=layers, hidden_size=32)
    head = DiarizationHead(20, 32, layers)
    head.recurrent.load_state_dict(official.rnn.state_dict())
    head.output.load_state_dict(official.linear.state_dict())
    x = torch.randn(3, 40, 20)
    torch.testing.assert_close(head(x, LENGTHS), official(x, LENGTHS)[0], rtol=0, atol=1e-6)
