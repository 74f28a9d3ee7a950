"""What an encoder shows of itself as an upstream: all of its states, or what its heads predict."""

from typing import TYPE_CHECKING

from torch import Tensor

from students.dims import STRIDE, Dims
from students.encoded import Encoded

if TYPE_CHECKING:
    from students.presets import Exposes


def shown(encoded: Encoded, dims: Dims, exposes: "Exposes") -> tuple[list[Tensor], Tensor]:
    """The states that the encoder exposes, each (batch, frames, dim), and their valid lengths (batch,) in frames."""
    if exposes == "predictions":
        states = list(encoded.predictions.values())
    elif exposes == "last prediction":
        states = list(encoded.predictions.values())[-1:]
    elif exposes == "projected and layers":
        states = [encoded.projected, *encoded.states[1:]]
    else:
        states = encoded.states[1:] if exposes == "layers" else encoded.states
    return states, encoded.frames * (dims.reduction * STRIDE // shown_stride(dims, exposes))


def shown_stride(dims: Dims, exposes: "Exposes") -> int:
    """Samples at 16 kHz from one frame of those states to the next; heads are back at the stem's frame rate."""
    return STRIDE if "prediction" in exposes else STRIDE * dims.reduction
