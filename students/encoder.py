"""The HuBERT family of encoders: convolutional stem, positional convolution and transformer, from one set of blocks.

Teachers and students differ in their Dims alone. Parameters carry Hugging Face's names (model-zoo.md 5.3).
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from students.dims import Dims
from students.encoded import Encoded
from students.stem import ConvolutionBlock, FeatureProjection, PositionalConvolution, Stem
from students.transformer import Layer, Masks

# Samples: padded batches are this or a multiple long. The CPU's convolutions are compiled anew for every length, which
# took longer than running them.
GRAIN = 8_000


class Reduction(nn.Module):
    """FitHuBERT's strided convolution over `reduction` frames, before the first layer; frames short of one are cut."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dims.width, dims.width, dims.reduction, dims.reduction)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


class Head(nn.Module):
    """What a layer predicts of the teacher, (batch, frames, teacher's width) at the stem's frame rate."""

    def __init__(self, dims: Dims, width: int, bias: bool = True) -> None:
        super().__init__()
        step = dims.reduction
        self.upsampler = nn.ConvTranspose1d(dims.width, dims.width, step, step) if step > 1 else None
        self.projection = nn.Linear(dims.width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.upsampler is not None:
            x = self.upsampler(x.transpose(1, 2)).transpose(1, 2)
        return self.projection(x)


class Transformer(nn.Module):
    """Positional convolution, LayerNorm and layers: features (batch, frames, width) to layers + 1 states."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.dims = dims
        self.pos_conv_embed = PositionalConvolution(dims)
        self.layer_norm = nn.LayerNorm(dims.width)
        self.reduction = Reduction(dims) if dims.reduction > 1 else None
        self.layers = nn.ModuleList(Layer(dims, number) for number in range(1, dims.layers + 1))
        self.dropout = nn.Dropout(dims.hidden_dropout)

    def forward(self, x: Tensor, frames: Tensor | None, with_maps: bool) -> tuple[list[Tensor], list[Tensor]]:
        """x (batch, time, width), frames (batch,) valid at the stem's rate, None if all are; the states and, if asked
        for, the maps."""
        if frames is not None:
            valid = torch.arange(x.shape[1], device=x.device) < frames[:, None]
            # Padding must not reach valid frames through the positional convolution, not even as NaN.
            x = x.masked_fill(~valid[..., None], 0.0)
        x = x + self.pos_conv_embed(x)
        if not self.dims.pre_norm:
            x = self.layer_norm(x)
        if self.reduction is not None:
            x = self.reduction(x)
            frames = None if frames is None else frames // self.dims.reduction
        states = [x]
        x = self.dropout(x)
        masks = Masks(x.shape[1], frames, with_maps)
        for layer in self.layers:
            x = layer(x, masks)
            states.append(x)
        if self.dims.pre_norm:
            states[-1] = self.layer_norm(x)
        return states, masks.maps


class SpeechEncoder(nn.Module):
    """A HuBERT-like encoder.

    Call with waveforms (batch, samples) at 16 kHz, zero-padded on the right, and lengths (batch,) in samples. with_maps
    asks for attention maps; masked (batch, frames) is true where the mask vector stands in for a frame. Padding never
    touches a valid frame; frames past an utterance's length hold meaningless values. The last state of a pre-norm
    network is taken after its final LayerNorm (superb-protocol 1.1).
    Raises ValueError for a length without a whole frame or beyond the waveforms, and for a mask without a mask vector.
    """

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.dims = dims
        self.feature_extractor = Stem(dims)
        self.feature_projection = FeatureProjection(dims)
        self.input_dropout = nn.Dropout(dims.input_dropout)
        self.encoder = Transformer(dims)
        self.masked_spec_embed = nn.Parameter(torch.rand(dims.width)) if dims.mask_vector else None
        self.heads = nn.ModuleDict(
            {str(layer): Head(dims, dims.prediction_width, dims.prediction_bias) for layer in dims.predicted}
        )
        self.apply(_initialise)

    def forward(self, waves: Tensor, lengths: Tensor, with_maps: bool = False, masked: Tensor | None = None) -> Encoded:
        sizes = lengths.tolist()
        if self.dims.frames(min(sizes)) < self.dims.reduction or max(sizes) > waves.shape[1]:
            raise ValueError(
                f"lengths are {min(sizes)} to {max(sizes)} samples; expected at least one frame and at most the "
                f"{waves.shape[1]} samples of the waveforms"
            )
        waves = waves[:, : max(sizes)]
        ragged = len(set(sizes)) > 1
        if ragged:
            waves = F.pad(waves, (0, -max(sizes) % GRAIN))
        projected = self.feature_projection(self.feature_extractor(waves, sizes))
        frames = torch.tensor([self.dims.frames(size) for size in sizes], device=waves.device)
        x = self.input_dropout(projected)
        if masked is not None:
            x = self._mask(x, masked)
        states, maps = self.encoder(x, frames if ragged else None, with_maps)
        step = self.dims.reduction
        frames, rate = frames // step, int(frames.max()) // step
        states = [state[:, :rate] for state in states]
        predictions = {layer: self.heads[str(layer)](states[layer]) for layer in self.dims.predicted}
        return Encoded(projected[:, : rate * step], states, frames, [m[..., :rate, :rate] for m in maps], predictions)

    def _mask(self, x: Tensor, masked: Tensor) -> Tensor:
        if self.masked_spec_embed is None:
            raise ValueError("this encoder has no mask vector: expected one with Dims.mask_vector")
        masked = F.pad(masked, (0, x.shape[1] - masked.shape[1]))
        return torch.where(masked[..., None], self.masked_spec_embed.to(x.dtype), x)


def _initialise(module: nn.Module) -> None:
    """fairseq's initialisation: normal(0, 0.02) for linear layers, He for the convolutions of the stem."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Stem):
        for block in cast(list[ConvolutionBlock], list(module.conv_layers)):
            nn.init.kaiming_normal_(block.conv.weight)
