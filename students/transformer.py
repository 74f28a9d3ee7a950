"""Transformer layers: attention in its variants, feed-forward, and the two orders of LayerNorm."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from students.dims import Dims, LayerDims

BUCKETS, FARTHEST = 320, 800  # WavLM's relative positions: classes, and frames beyond which all share the last


class Masks:
    """What the layers of one batch share: where they may look, WavLM's position bias, and the attention maps so far.

    keep: (batch, 1, 1, time), true for valid frames, None without padding. wanted: whether the caller wants the maps.
    """

    def __init__(self, time: int, frames: Tensor | None, wanted: bool) -> None:
        self.keep: Tensor | None = None
        if frames is not None:
            self.keep = (torch.arange(time, device=frames.device) < frames[:, None])[:, None, None]
        self.wanted = wanted
        self.maps: list[Tensor] = []
        self.previous: Tensor | None = None
        self.position_bias: Tensor | None = None


class Attention(nn.Module):
    """Multi-head self-attention, fused where nobody needs its map; a layer that reuses a map has values only."""

    def __init__(self, dims: Dims, sizes: LayerDims, reused: bool) -> None:
        super().__init__()
        self.heads, self.dropout, self.reused = sizes.heads, dims.attention_dropout, reused
        self.softmax_twice = dims.softmax_twice
        self.reuses = sizes.reuses
        if not sizes.reuses:
            self.q_proj = nn.Linear(dims.width, sizes.attention)
            self.k_proj = nn.Linear(dims.width, sizes.attention)
        self.v_proj, self.out_proj = nn.Linear(dims.width, sizes.attention), nn.Linear(sizes.attention, dims.width)

    def forward(self, x: Tensor, masks: Masks) -> Tensor:
        v = self._split(self.v_proj(x))
        if self.reuses:
            attention = self._reused(masks)
        else:
            q, k = self._split(self.q_proj(x)), self._split(self.k_proj(x))
            bias = self._bias(x, masks)
            if not (masks.wanted or self.reused):
                dropout = self.dropout if self.training else 0.0
                mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
                return self.out_proj(mixed.transpose(1, 2).flatten(2))
            attention = _map(q, k, bias)
        if masks.wanted:
            masks.maps.append(attention)
        if not self.reuses:
            masks.previous = attention
        dropped = attention if self.reuses else F.dropout(attention, self.dropout, self.training)
        return self.out_proj((dropped @ v).transpose(1, 2).flatten(2))

    def _bias(self, x: Tensor, masks: Masks) -> Tensor | None:
        """What is added to the scores, or where they count; (batch, heads or 1, time or 1, time)."""
        return masks.keep

    def _reused(self, masks: Masks) -> Tensor:
        assert masks.previous is not None
        if not self.softmax_twice:
            return masks.previous
        scores = masks.previous if masks.keep is None else masks.previous.masked_fill(~masks.keep, -math.inf)
        return scores.softmax(-1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class GatedAttention(Attention):
    """WavLM's attention: a bias for each relative position, gated by the frame that looks (arXiv 2110.13900)."""

    def __init__(self, dims: Dims, sizes: LayerDims, first: bool) -> None:
        super().__init__(dims, sizes, reused=False)
        self.gru_rel_pos_linear = nn.Linear(sizes.head_width, 8)
        self.gru_rel_pos_const = nn.Parameter(torch.ones(1, dims.heads, 1, 1))
        self.rel_attn_embed = nn.Embedding(BUCKETS, dims.heads) if first else None
        self.kept = list(sizes.kept)

    def _bias(self, x: Tensor, masks: Masks) -> Tensor | None:
        if self.rel_attn_embed is not None:
            masks.position_bias = self.rel_attn_embed(_position_buckets(x.shape[1], x.device)).permute(2, 0, 1)
        assert masks.position_bias is not None
        scale: Tensor = self.gru_rel_pos_const
        position_bias = masks.position_bias
        parts = x.unflatten(-1, (scale.shape[1], -1)).transpose(1, 2)  # as many as there were heads before pruning
        if self.kept:
            parts, scale, position_bias = parts[:, self.kept], scale[:, self.kept], position_bias[self.kept]
        gates = self.gru_rel_pos_linear(parts).unflatten(-1, (2, 4)).sum(-1).sigmoid()
        look, damp = gates.unbind(-1)
        gate = look[..., None] * (damp[..., None] * scale - 1.0) + 2.0
        bias: Tensor = gate * position_bias
        return bias if masks.keep is None else bias.masked_fill(~masks.keep, -math.inf)


class FeedForward(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dims: Dims, ffn: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(dims.width, ffn)
        self.output_dense = nn.Linear(ffn, dims.width)
        self.dropout = nn.Dropout(dims.ffn_dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(self.dropout(F.gelu(self.intermediate_dense(x))))


class Layer(nn.Module):
    """One transformer layer. Post-norm: x = LN(x + attention(x)); x = LN(x + ffn(x)). Pre-norm: x = x +
    attention(LN(x)); x = x + ffn(LN(x)). A half that pruning removed adds nothing."""

    def __init__(self, dims: Dims, number: int) -> None:
        super().__init__()
        sizes = dims.layer(number)
        self.attention: Attention | None = None
        if sizes.heads and dims.gated_position:
            self.attention = GatedAttention(dims, sizes, first=number == 1)
        elif sizes.heads:
            self.attention = Attention(dims, sizes, reused=number + 1 in dims.reuse)
        self.feed_forward = FeedForward(dims, sizes.ffn) if sizes.ffn else None
        self.layer_norm, self.final_layer_norm = nn.LayerNorm(dims.width), nn.LayerNorm(dims.width)
        self.dropout = nn.Dropout(dims.hidden_dropout)
        self.pre_norm = dims.pre_norm

    def forward(self, x: Tensor, masks: Masks) -> Tensor:
        if self.pre_norm:
            x = x + self._attend(self.layer_norm(x), masks)
            return x + self._feed(self.final_layer_norm(x))
        x = self.layer_norm(x + self._attend(x, masks))
        return self.final_layer_norm(x + self._feed(x))

    def _attend(self, x: Tensor, masks: Masks) -> Tensor | float:
        return 0.0 if self.attention is None else self.dropout(self.attention(x, masks))

    def _feed(self, x: Tensor) -> Tensor | float:
        return 0.0 if self.feed_forward is None else self.dropout(self.feed_forward(x))


def _map(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """The attention map (batch, heads, time, time) of queries and keys (batch, heads, time, head width)."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores.masked_fill(~bias, -math.inf) if bias.dtype == torch.bool else scores + bias
    return scores.softmax(-1)


def _position_buckets(time: int, device: torch.device) -> Tensor:
    """The class (time, time) of each position relative to the frame that looks, from 0 to BUCKETS - 1.

    Half of the classes lie behind, half ahead; of each half the first half stands for single frames, the rest grows
    logarithmically up to FARTHEST frames.
    """
    place = torch.arange(time, device=device)
    distance = place[None] - place[:, None]
    half, exact = BUCKETS // 2, BUCKETS // 4
    away = distance.abs()
    log = torch.log(away.clamp(min=1).float() / exact) / math.log(FARTHEST / exact) * (half - exact)
    far = (exact + log.long()).clamp(max=half - 1)
    return (distance > 0).long() * half + torch.where(away < exact, away, far)
