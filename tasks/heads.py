"""Probe heads of SUPERB, built for a whole grid of learning rates at once (superb-protocol 2).

A grid of G heads starts from the same weights and sees the same batches; each is trained at its own rate. Inputs are
frozen hidden states; every head owns one layer weight per state, softmax-normalised (superb-protocol 1.1).
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from tasks.augment import spec_augment
from tasks.base import ProbeSettings


class Grid(nn.Module):
    """G equal copies of one head, each with its own layer weights over the states.

    What all heads compute together has stacked parameters (G, ...), layer_weights (G, states) among them; heads are
    those that work alone, if any.
    """

    def __init__(self, size: int, num_states: int, heads: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.size, self.num_states = size, num_states
        self.layer_weights = nn.Parameter(torch.zeros(size, num_states))
        self.heads = nn.ModuleList(heads)
        self._rows: list[list[nn.Parameter]] = []

    def stacked(self) -> list[nn.Parameter]:
        """The stacked parameters that are trained. A single state has no layer weights to train."""
        return [self.layer_weights] if self.num_states > 1 else []

    def groups(self, learning_rates: tuple[float, ...]) -> list[dict[str, object]]:
        """One optimiser group per head, each with its own learning rate; their gradients come from `clip`."""
        # An optimiser knows no rate per row, so every row becomes a parameter of its own in the same memory.
        self._rows = [[nn.Parameter(p.detach()[g]) for p in self.stacked()] for g in range(self.size)]
        return [{"params": [*self._rows[g], *self.alone(g)], "lr": rate} for g, rate in enumerate(learning_rates)]

    def alone(self, index: int) -> list[nn.Parameter]:
        """The parameters of one head that are not stacked."""
        return list(self.heads[index].parameters()) if self.heads else []

    def of(self, index: int) -> list[Tensor]:
        """The trained parameters of one head: its rows of the stacked ones, and those of its own."""
        return [*(parameter.detach()[index] for parameter in self.stacked()), *self.alone(index)]

    def clip(self, largest: float) -> None:
        """Scale each head's gradient to an L2 norm of at most `largest` and hand it to the optimiser's groups.

        A head whose norm is not finite gets none, which skips its update (superb-protocol 1.4).
        """
        stacked = [_gradient(parameter) for parameter in self.stacked()]
        alone = [[_gradient(parameter) for parameter in self.alone(g)] for g in range(self.size)]
        norms = [gradient.flatten(1).norm(dim=1) for gradient in stacked]
        norms += [torch.stack([get_total_norm(gradients) for gradients in alone])] if self.heads else []
        norm = torch.stack(norms).norm(dim=0)
        factors = (largest / (norm + 1e-6)).clamp(max=1)
        if bool((factors < 1).any()):
            for gradient in stacked:
                gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))
            for gradients, factor in zip(alone, factors, strict=True):
                for gradient in gradients:
                    gradient.mul_(factor)
        for g, finite in enumerate(norm.isfinite().tolist()):
            for row, gradient in zip(self._rows[g], stacked, strict=True):
                row.grad = gradient[g] if finite else None
            for parameter in self.alone(g) if not finite else []:
                parameter.grad = None

    def weighted_sum(self, states: Tensor) -> Tensor:
        """States (batch, states, ..., dim) to their weighted sum for every head (G, batch, ..., dim)."""
        flat = states.flatten(2)
        return torch.einsum("gl,bln->gbn", self.layer_weights.softmax(-1), flat).unflatten(-1, states.shape[2:])


def _gradient(parameter: nn.Parameter) -> Tensor:
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
    """

    def __init__(self, size: int, num_states: int, dim: int, outputs: int, settings: ProbeSettings) -> None:
        super().__init__(size, num_states)
        inner, outer = nn.Linear(dim, settings.hidden), nn.Linear(settings.hidden, outputs)
        self.inner, self.inner_bias = _copies(inner.weight, size), _copies(inner.bias, size)
        self.outer, self.outer_bias = _copies(outer.weight, size), _copies(outer.bias, size)

    def stacked(self) -> list[nn.Parameter]:
        """The layer weights and both layers."""
        return [*super().stacked(), self.inner, self.inner_bias, self.outer, self.outer_bias]

    def forward(self, states: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.weighted_sum(states)
        (_, outputs, hidden), dim = self.outer.shape, x.shape[-1]
        rows = x[0].numel() // dim
        if rows * (dim + outputs) * hidden < (rows + hidden) * dim * outputs:
            return _affine(_affine(x, self.inner, self.inner_bias), self.outer, self.outer_bias)
        # With few outputs, or many frames, it is less work to multiply the two layers first; the same function.
        bias = torch.baddbmm(self.outer_bias[..., None], self.outer, self.inner_bias[..., None])[..., 0]
        return _affine(x, self.outer @ self.inner, bias)


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
