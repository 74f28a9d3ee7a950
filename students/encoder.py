"""The HuBERT family of encoders: convolutional stem, positional convolution and transformer, from one set of blocks.

Teacher and students differ in their Dims alone. Parameters carry Hugging Face's HuBERT names (model-zoo.md 5.3).
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from students.dims import Dims

# Samples: padded batches are this or a multiple long. The CPU's convolutions are compiled anew for every length, which
# took longer than running them.
GRAIN = 8_000


class ConvolutionBlock(nn.Module):
    """One strided convolution without bias, per-channel norm over time where asked for, GELU."""

    def __init__(self, before: int, convolution: tuple[int, int, int], normalised: bool) -> None:
        super().__init__()
        channels, self.kernel, self.stride = convolution
        self.conv = nn.Conv1d(before, channels, self.kernel, self.stride, bias=False)
        self.layer_norm = nn.GroupNorm(channels, channels) if normalised else nn.Identity()

    def forward(self, x: Tensor, frames: list[int]) -> Tensor:
        """x (batch, channels, time); frames: how many of the output's are valid in each row, for the norm."""
        x = self.conv(x)
        if isinstance(self.layer_norm, nn.Identity) or min(frames) == x.shape[-1]:
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
        self.conv_layers = nn.ModuleList(
            ConvolutionBlock(before, convolution, normalised=index == 0)
            for index, (before, convolution) in enumerate(zip(widths, dims.stem, strict=False))
        )

    def forward(self, waves: Tensor, sizes: list[int]) -> Tensor:
        x = waves[:, None]
        for block in cast(list[ConvolutionBlock], list(self.conv_layers)):
            sizes = [(size - block.kernel) // block.stride + 1 for size in sizes]
            x = block(x, sizes)
        return x.transpose(1, 2)


class FeatureProjection(nn.Module):
    """LayerNorm of the stem's output, then a linear layer where the widths differ."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dims.stem[-1][0])
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


class Attention(nn.Module):
    """Multi-head self-attention; keep (batch, 1, 1, frames) is true where a frame may be looked at."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.heads, self.dropout = dims.heads, dims.attention_dropout
        self.q_proj, self.k_proj = nn.Linear(dims.width, dims.width), nn.Linear(dims.width, dims.width)
        self.v_proj, self.out_proj = nn.Linear(dims.width, dims.width), nn.Linear(dims.width, dims.width)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keep, dropout_p=dropout)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(dims.width, dims.ffn)
        self.output_dense = nn.Linear(dims.ffn, dims.width)
        self.dropout = nn.Dropout(dims.ffn_dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(self.dropout(F.gelu(self.intermediate_dense(x))))


class Layer(nn.Module):
    """One post-norm transformer layer: x = LN(x + attention(x)); x = LN(x + ffn(x))."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(dims), FeedForward(dims)
        self.layer_norm, self.final_layer_norm = nn.LayerNorm(dims.width), nn.LayerNorm(dims.width)
        self.dropout = nn.Dropout(dims.hidden_dropout)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        x = self.layer_norm(x + self.dropout(self.attention(x, keep)))
        return self.final_layer_norm(x + self.dropout(self.feed_forward(x)))


class Transformer(nn.Module):
    """Positional convolution, LayerNorm and layers: features (batch, frames, width) to layers + 1 states."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.pos_conv_embed = PositionalConvolution(dims)
        self.layer_norm = nn.LayerNorm(dims.width)
        self.layers = nn.ModuleList(Layer(dims) for _ in range(dims.layers))
        self.dropout = nn.Dropout(dims.hidden_dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        valid = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        padded = not bool(valid.all())
        if padded:
            x = x * valid[..., None]  # padding must not reach valid frames through the positional convolution
        keep = valid[:, None, None] if padded else None
        states = [self.layer_norm(x + self.pos_conv_embed(x))]
        x = self.dropout(states[0])
        for layer in self.layers:
            x = layer(x, keep)
            states.append(x)
        return states


class SpeechEncoder(nn.Module):
    """A HuBERT-like encoder.

    Call with waveforms (batch, samples) at 16 kHz, zero-padded on the right, and lengths (batch,) in samples. Returns
    the states, a list of layers + 1 tensors (batch, frames, width), and their valid lengths (batch,) in frames. State
    0 is the input of the first layer, after positional convolution and LayerNorm; state l is the output of layer l.
    Padding never touches a valid frame. Frames past an utterance's length hold meaningless values.
    Raises ValueError for a length without a whole frame or beyond the waveforms.
    """

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.dims = dims
        self.feature_extractor = Stem(dims)
        self.feature_projection = FeatureProjection(dims)
        self.input_dropout = nn.Dropout(dims.input_dropout)
        self.encoder = Transformer(dims)
        self.apply(_initialise)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        sizes = lengths.tolist()
        if self.dims.frames(min(sizes)) < 1 or max(sizes) > waves.shape[1]:
            raise ValueError(
                f"lengths are {min(sizes)} to {max(sizes)} samples; expected at least one frame and at most the "
                f"{waves.shape[1]} samples of the waveforms"
            )
        waves = waves[:, : max(sizes)]
        if len(set(sizes)) > 1:
            waves = F.pad(waves, (0, -max(sizes) % GRAIN))
        features = self.feature_extractor(waves, sizes)
        frames = torch.tensor([self.dims.frames(size) for size in sizes], device=waves.device)
        x = self.input_dropout(self.feature_projection(features))
        longest = int(frames.max())
        return [state[:, :longest] for state in self.encoder(x, frames)], frames


def _initialise(module: nn.Module) -> None:
    """fairseq's initialisation: normal(0, 0.02) for linear layers, He for the stem (whose convolutions lack a bias)."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv1d) and module.bias is None:
        nn.init.kaiming_normal_(module.weight)
