"""AdamW for a grid of heads (superb-protocol 1.4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.heads import Grid

BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclass(frozen=True)
class _Head:
    rate: float
    parameters: list[Tensor]
    means: list[Tensor]  # running means of the gradients
    squares: list[Tensor]  # and of their squares
    updates: list[Tensor]  # so far, the same for every parameter


class GridAdamW:
    """Each head of a grid is updated as torch.optim.AdamW would alone, with its own learning rate."""

    def __init__(self, grid: Grid, learning_rates: tuple[float, ...], weight_decay: float) -> None:
        self.grid, self.weight_decay = grid, weight_decay
        self._heads = []
        for g, rate in enumerate(learning_rates):
            parameters = [parameter.detach() for parameter in grid.of(g)]
            means, squares = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
            self._heads.append(_Head(rate, parameters, means, squares, [torch.zeros(())] * len(parameters)))

    @property
    def updates(self) -> list[int]:
        """How many updates each head has had; the others it skipped."""
        return [int(head.updates[0]) for head in self._heads]

    def state(self) -> list[list[Tensor]]:
        """Of each head, the running means and the number of updates: with its parameters, all that decides the next."""
        return [[*head.means, *head.squares, head.updates[0]] for head in self._heads]

    @torch.no_grad()
    def restore(self, state: list[list[Tensor]]) -> None:
        """Go on from what `state` gave."""
        for own, kept in zip(self.state(), state, strict=True):
            for tensor, value in zip(own, kept, strict=True):
                tensor.copy_(value)

    @torch.no_grad()
    def step(self, largest: float) -> None:
        """Update every head by its gradients, scaled to an L2 norm of at most `largest`.

        A head whose norm is not finite skips the update (superb-protocol 1.4).
        """
        for head, gradients in zip(self._heads, self.grid.clipped(largest), strict=True):
            if gradients is None:
                continue
            head.updates[0].add_(1)
            # What torch.optim.AdamW(fused=True) calls: with a group for every rate, its own Python takes longer.
            torch._fused_adamw_(
                head.parameters,
                gradients,
                head.means,
                head.squares,
                [],
                head.updates,
                lr=head.rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=self.weight_decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )
