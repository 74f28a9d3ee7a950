"""From waveforms to the input of the transformer: strided convolutions, projection and positional convolution."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from students.dims import Dims


class ConvolutionBlock(nn.Module):
    """One strided convolution, its norm if any, GELU. Group norm is over time and per channel, layer norm over
    channels."""

    def __init__(self, before: int, convolution: tuple[int, int, int], norm: str, bias: bool) -> None:
        super().__init__()
        channels, self.kernel, self.stride = convolution
        self.norm = norm
        self.conv = nn.Conv1d(before, channels, self.kernel, self.stride, bias=bias)
        norms = {"group": nn.GroupNorm(channels, channels), "layer": nn.LayerNorm(channels), "": nn.Identity()}
        self.layer_norm = norms[norm]

    def forward(self, x: Tensor, frames: list[int]) -> Tensor:
        """x (batch, channels, time); frames: how many of the output's are valid in each row, for the group norm."""
        x = self.conv(x)
        if self.norm == "layer":
            return F.gelu(self.layer_norm(x.transpose(1, 2)).transpose(1, 2))
        if self.norm == "" or min(frames) == x.shape[-1]:
            return F.gelu(self.layer_norm(x))
        alone = [self.layer_norm(row[None, :, :count])[0] for row, count in zip(x, frames, strict=True)]
        return F.gelu(torch.stack([F.pad(row, (0, x.shape[-1] - row.shape[-1])) for row in alone]))


class Stem(nn.Module):
    """Strided convolutions: waveforms (batch, samples) to features (batch, frames, channels).

    A frame sees no sample past its own end, and the norms are taken over the valid frames alone, so that a valid frame
    is the same whatever the padding (superb-protocol 1.3 tells what happens otherwise).
    """

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        widths = [1] + [channels for channels, _, _ in dims.stem]
        norms = [dims.stem_norm if dims.stem_norm == "layer" or index == 0 else "" for index in range(len(dims.stem))]
        self.conv_layers = nn.ModuleList(
            ConvolutionBlock(before, convolution, norm, dims.stem_bias)
            for before, convolution, norm in zip(widths, dims.stem, norms, strict=False)
        )
        self.scale = nn.Parameter(torch.ones(widths[-1])) if dims.stem_scale else None

    def forward(self, waves: Tensor, sizes: list[int]) -> Tensor:
        x = waves[:, None]
        for block in cast(list[ConvolutionBlock], list(self.conv_layers)):
            sizes = [(size - block.kernel) // block.stride + 1 for size in sizes]
            x = block(x, sizes)
        x = x.transpose(1, 2)
        return x if self.scale is None else x * self.scale


class FeatureProjection(nn.Module):
    """LayerNorm of the stem's output, then a linear layer where the widths differ."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dims.stem[-1][0]) if dims.projection_norm else nn.Identity()
        self.projection = nn.Linear(dims.stem[-1][0], dims.width) if dims.projection else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.layer_norm(x))


class PositionalConvolution(nn.Module):
    """Grouped convolution over time with weight norm, GELU after it; one frame too many is cut from even kernels."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        kernel = dims.pos_kernel
        conv = nn.Conv1d(dims.width, dims.width, kernel, padding=kernel // 2, groups=dims.pos_groups)
        nn.init.normal_(conv.weight, std=math.sqrt(4.0 / (kernel * dims.width)))
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        self.conv = nn.utils.parametrizations.weight_norm(conv, dim=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.conv(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
