"""What an encoder says of a batch of speech."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """The inside of an encoder for one batch.

    projected: (batch, frames, width), after the feature projection and before positional convolution. states: the
    input of the first layer, then the output of each, layers + 1 of (batch, frames, width). frames: (batch,), the valid
    lengths; what lies behind them means nothing. maps: the attention map of each layer, (batch, heads, frames, frames),
    rows that sum to one over the valid frames; empty unless asked for. predictions: by layer (from 1) what its head
    says of the teacher's output, (batch, frames, teacher's width); empty for networks without heads.
    """

    projected: Tensor
    states: list[Tensor]
    frames: Tensor
    maps: list[Tensor] = field(default_factory=list)
    predictions: dict[int, Tensor] = field(default_factory=dict)
