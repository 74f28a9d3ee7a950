"""Probe heads of SUPERB, built for a whole grid of learning rates at once (superb-protocol 2).

A grid of G heads starts from the same weights and sees the same batches; each is trained at its own rate. Inputs are
frozen hidden states; every head owns one layer weight per state, softmax-normalised (superb-protocol 1.1).
"""

import copy
from collections.abc import Iterator, Sequence
from itertools import repeat
from math import isfinite

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from tasks.augment import spec_augment
from tasks.base import ProbeSettings


class Grid(nn.Module):
    """G equal copies of one head, each with its own layer weights over the states.

    What all heads compute together has stacked parameters (G, ...), layer_weights (G, states) among them; heads are
    those that work alone, if any. An update is `begin`, one or more backward passes, and GridAdamW.step.
    """

    def __init__(self, size: int, num_states: int, heads: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.size, self.num_states = size, num_states
        self.layer_weights = nn.Parameter(torch.zeros(size, num_states))
        self.heads = nn.ModuleList(heads)

    def stacked(self) -> list[nn.Parameter]:
        """The stacked parameters that are trained. A single state has no layer weights to train."""
        return [self.layer_weights] if self.num_states > 1 else []

    def alone(self, index: int) -> list[nn.Parameter]:
        """The parameters of one head that are not stacked."""
        return list(self.heads[index].parameters()) if self.heads else []

    def of(self, index: int) -> list[Tensor]:
        """The trained parameters of one head: its rows of the stacked ones, and those of its own, as `clipped` has."""
        return [*(parameter.detach()[index] for parameter in self.stacked()), *self.alone(index)]

    def begin(self) -> None:
        """Forget the gradients of the last update."""
        self.zero_grad()

    def clipped(self, largest: float) -> Iterator[list[Tensor] | None]:
        """Each head's gradients scaled to an L2 norm of at most `largest`; a list may not outlive the next one.

        None for a head whose norm is not finite, which skips its update (superb-protocol 1.4).
        """
        stacked = self._gradients()
        alone = [[_gradient(parameter) for parameter in self.alone(g)] for g in range(self.size)]
        norms = self._norms(stacked)
        norms += [torch.stack([get_total_norm(gradients) for gradients in alone])] if self.heads else []
        norm = torch.stack(norms).norm(dim=0)
        sizes = norm.tolist()
        if any(size + 1e-6 > largest for size in sizes):
            factors = (largest / (norm + 1e-6)).clamp(max=1)
            for gradient in stacked:
                gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))
            for gradients, factor in zip(alone, factors, strict=True):
                for gradient in gradients:
                    gradient.mul_(factor)
        rows = self._rows(stacked) if stacked else repeat(())
        for size, row, gradients in zip(sizes, rows, alone, strict=False):
            yield [*row, *gradients] if isfinite(size) else None

    def _gradients(self) -> list[Tensor]:
        """Of the stacked parameters."""
        return [_gradient(parameter) for parameter in self.stacked()]

    def _norms(self, gradients: list[Tensor]) -> list[Tensor]:
        """Of each stacked gradient (G,), or of several together."""
        return [gradient.flatten(1).norm(dim=1) for gradient in gradients]

    def _rows(self, gradients: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """Each head's gradients from the stacked ones."""
        return zip(*(gradient.unbind() for gradient in gradients), strict=True)

    def weighted_sum(self, states: Tensor) -> Tensor:
        """States (batch, states, ..., dim) to their weighted sum for every head (G, batch, ..., dim).

        States may come as `centred` has them, with one more.
        """
        share, first = self.layer_weights.softmax(-1), states.transpose(0, 1)
        if len(first) > self.num_states:
            share = torch.cat([share, share.new_ones(self.size, 1)], dim=1)
        return (share @ first.flatten(1)).unflatten(1, first.shape[1:])


def centred(means: Sequence[Tensor]) -> Tensor:
    """Means (states, dim) of each utterance about their own mean, which is added as one more: (states + 1, utterances,
    dim).

    Their weighted sum is the same. The gradient of the weights is a small difference of large numbers: about the mean
    it rounds to a fifth of the error. The states come first, so that a sum over them is one product.
    """
    states, dim = means[0].shape
    both = means[0].new_empty(states + 1, len(means), dim)
    torch.stack(list(means), 1, out=both[:-1])
    torch.mean(both[:-1], 0, out=both[-1])
    both[:-1] -= both[-1]
    return both


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Every head's own affine map of its own input: (G, batch, ..., in) to (G, batch, ..., out)."""
    flat = x.flatten(1, -2)
    return torch.baddbmm(bias[:, None], flat, weight.transpose(1, 2)).unflatten(1, x.shape[1:-1])


class LinearGrid(Grid):
    """Linear to `hidden`, linear to the outputs, no activation between (superb-protocol 2.1, 2.3, 2.5, 2.10).

    On utterance means (batch, states, dim) it gives the logits of KS, SID, IC and ER: their mean over time commutes
    with both linear layers (superb-protocol 7). On frames (batch, states, frames, dim) it gives those of PR. The two
    layers are stacked: weights (G, out, in) and biases (G, out).

    With few outputs, or many frames, it is less work to multiply the two layers first; the same function. Where that
    holds for utterances, `begin` does so once an update, and gradients end at the product: from there the chain rule
    is applied head by head in `clipped`, so that the gradient of the large inner layer never leaves the cache.
    """

    def __init__(self, size: int, num_states: int, dim: int, outputs: int, settings: ProbeSettings) -> None:
        super().__init__(size, num_states)
        inner, outer = nn.Linear(dim, settings.hidden), nn.Linear(settings.hidden, outputs)
        self.inner, self.inner_bias = _copies(inner.weight, size), _copies(inner.bias, size)
        self.outer, self.outer_bias = _copies(outer.weight, size), _copies(outer.bias, size)
        self._batch = settings.batch
        self._product: tuple[Tensor, Tensor] | None = None  # weight and bias of both layers, while an update lasts

    def stacked(self) -> list[nn.Parameter]:
        """The layer weights and both layers."""
        return [*super().stacked(), self.inner, self.inner_bias, self.outer, self.outer_bias]

    def begin(self) -> None:
        """Forget the gradients of the last update, and multiply the layers if that is less work.

        The product is used until `clipped` has been read to its end.
        """
        super().begin()
        if self._to_multiply(self._batch):
            with torch.no_grad():
                weight, bias = self._multiplied()
            self._product = weight.requires_grad_(), bias.requires_grad_()

    def forward(self, states: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.weighted_sum(states)
        if self._product is not None:
            return _affine(x, *self._product)
        if self._to_multiply(x[0].numel() // x.shape[-1]):
            return _affine(x, *self._multiplied())
        return _affine(_affine(x, self.inner, self.inner_bias), self.outer, self.outer_bias)

    def clipped(self, largest: float) -> Iterator[list[Tensor] | None]:
        """Each head's gradients, as of any grid; read to the end, they end the use of the product."""
        yield from super().clipped(largest)
        self._product = None

    def _to_multiply(self, rows: int) -> bool:
        (_, outputs, hidden), dim = self.outer.shape, self.inner.shape[-1]
        return (rows + hidden) * dim * outputs <= rows * (dim + outputs) * hidden

    def _multiplied(self) -> tuple[Tensor, Tensor]:
        bias = torch.baddbmm(self.outer_bias[..., None], self.outer, self.inner_bias[..., None])[..., 0]
        return self.outer @ self.inner, bias

    @torch.no_grad()
    def _gradients(self) -> list[Tensor]:
        """Of the stacked parameters; that of a product stands in for the inner layer's."""
        if self._product is None:
            return super()._gradients()
        weight, bias = (_gradient(each) for each in self._product)
        inner_bias = (bias[:, None] @ self.outer)[:, 0]
        outer = torch.baddbmm(bias[..., None] * self.inner_bias[:, None], weight, self.inner.transpose(1, 2))
        first = [_gradient(parameter) for parameter in Grid.stacked(self)]
        return [*first, weight, inner_bias, outer, bias]

    def _norms(self, gradients: list[Tensor]) -> list[Tensor]:
        """Of the inner layer's gradient, outer^T weight, from two small products, and of all the others together."""
        if self._product is None:
            return super()._norms(gradients)
        outer, weight = self.outer.detach(), gradients[-4]
        squared = ((outer @ outer.transpose(1, 2)) * (weight @ weight.transpose(1, 2))).sum((1, 2))
        others = torch.cat([gradient.flatten(1) for gradient in gradients if gradient is not weight], dim=1)
        return [squared.clamp(min=0).sqrt(), others.norm(dim=1)]

    def _rows(self, gradients: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        if self._product is None:
            yield from super()._rows(gradients)
            return
        inner = torch.empty_like(self.inner[0])
        for outer, row in zip(self.outer.detach().transpose(1, 2), super()._rows(gradients), strict=True):
            *first, weight, inner_bias, outer_row, bias = row
            yield *first, torch.mm(outer, weight, out=inner), inner_bias, outer_row, bias


def _copies(parameter: Tensor, size: int) -> nn.Parameter:
    return nn.Parameter(parameter.detach().repeat(size, *[1] * parameter.dim()))


class SeparateGrid(Grid):
    """Heads that do not share their work: one after another, each with the random numbers it would have had alone.

    `head` maps (batch, frames, dim) and lengths to outputs. augment: whether training features are warped and masked
    (superb-protocol 1.4).
    """

    def __init__(self, size: int, num_states: int, head: nn.Module, augment: bool = False) -> None:
        super().__init__(size, num_states, [copy.deepcopy(head) for _ in range(size)])
        self.augment = augment

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        random = torch.get_rng_state()
        outputs = []
        for head, x in zip(self.heads, self.weighted_sum(states), strict=True):
            torch.set_rng_state(random)
            if self.augment and self.training:
                x = spec_augment(x, lengths)
            outputs.append(head(x, lengths))
        return torch.stack(outputs)


class RecurrentHead(nn.Module):
    """One BiLSTM head: (batch, frames, dim) and lengths to logits (batch, frames, outputs)."""

    def __init__(self, dim: int, outputs: int, settings: ProbeSettings) -> None:
        super().__init__()
        self.project = nn.Linear(dim, settings.hidden)
        widths = [settings.hidden, *[2 * settings.recurrent] * settings.layers]
        self.recurrent = nn.ModuleList(BiLSTM(before, settings.recurrent) for before in widths[:-1])
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = self.project(x)
        for layer in self.recurrent:
            x = self.dropout(layer(x, lengths))
        return self.output(x)


class BiLSTM(nn.Module):
    """A bidirectional LSTM over padded sequences, equal to the packed one on valid frames and faster on the CPU.

    Two one-direction LSTMs; the backward one reads every sequence reversed within its own length, so padding comes
    last for both and cannot reach a valid frame.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(inputs, width, batch_first=True)
        self.backwards = nn.LSTM(inputs, width, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        time = torch.arange(x.shape[1], device=x.device)
        order = torch.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)[..., None]
        reverse, _ = self.backwards(x.gather(1, order.expand_as(x)))
        ahead, _ = self.forwards(x)
        return torch.cat([ahead, reverse.gather(1, order.expand_as(reverse))], dim=-1)
