"""Probe heads of SUPERB, built for a whole grid of learning rates at once (superb-protocol 2).

A grid of G heads starts from the same weights and sees the same batches; each is trained at its own rate. Inputs are
frozen hidden states; every head owns one layer weight per state, softmax-normalised (superb-protocol 1.1).
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from tasks.base import ProbeSettings


def stacked(parameters: list[Tensor]) -> Tensor:
    """The G heads' copies of one parameter as one tensor (G, ...), through which gradients reach each copy."""
    return parameters[0][None] if len(parameters) == 1 else torch.stack(parameters)


class Grid(nn.Module):
    """G equal copies of one head, each with its own layer weights over the states."""

    def __init__(self, size: int, num_states: int, head: nn.Module) -> None:
        super().__init__()
        self.num_states = num_states
        self.layer_weights = nn.ParameterList(torch.zeros(num_states) for _ in range(size))
        self.heads = nn.ModuleList(copy.deepcopy(head) for _ in range(size))

    def groups(self, learning_rates: tuple[float, ...]) -> list[dict[str, object]]:
        """One optimiser group per head, each with its own learning rate."""
        return [{"params": self.of(g), "lr": rate} for g, rate in enumerate(learning_rates)]

    def of(self, index: int) -> list[nn.Parameter]:
        """The parameters of one head of the grid. A single state has no layer weights to train."""
        weights = [] if self.num_states == 1 else [self.layer_weights[index]]
        return [*weights, *self.heads[index].parameters()]

    def weighted_sum(self, states: Tensor) -> Tensor:
        """States (batch, states, ..., dim) to their weighted sum for every head (G, batch, ..., dim)."""
        weights = stacked(list(self.layer_weights)).softmax(-1)
        flat = states.flatten(2)
        return torch.einsum("gl,bln->gbn", weights, flat).unflatten(-1, states.shape[2:])


def _affine(x: Tensor, layers: list[nn.Linear]) -> Tensor:
    """Every head's own linear layer on its own input: (G, batch, ..., in) to (G, batch, ..., out)."""
    weight, bias = stacked([layer.weight for layer in layers]), stacked([layer.bias for layer in layers])
    flat = x.flatten(1, -2)
    return torch.baddbmm(bias[:, None], flat, weight.transpose(1, 2)).unflatten(1, x.shape[1:-1])


class LinearGrid(Grid):
    """Linear to `hidden`, linear to the outputs, no activation between (superb-protocol 2.1, 2.3, 2.5, 2.10).

    On utterance means (batch, states, dim) it gives the logits of KS, SID, IC and ER: their mean over time commutes
    with both linear layers (superb-protocol 7). On frames (batch, states, frames, dim) it gives those of PR.
    """

    def __init__(self, size: int, num_states: int, dim: int, outputs: int, settings: ProbeSettings) -> None:
        head = nn.Sequential(nn.Linear(dim, settings.hidden), nn.Linear(settings.hidden, outputs))
        super().__init__(size, num_states, head)

    def forward(self, states: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.weighted_sum(states)
        for depth in range(2):
            x = _affine(x, [cast(nn.Linear, head.get_submodule(str(depth))) for head in self.heads])
        return x


class RecurrentGrid(Grid):
    """Linear to `hidden`, BiLSTM layers, linear to the outputs (superb-protocol 2.2); one head after another."""

    def __init__(self, size: int, num_states: int, dim: int, outputs: int, settings: ProbeSettings) -> None:
        super().__init__(size, num_states, RecurrentHead(dim, outputs, settings))

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        summed = self.weighted_sum(states)
        return torch.stack([head(x, lengths) for head, x in zip(self.heads, summed, strict=True)])


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
