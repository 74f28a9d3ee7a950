"""DPHuBERT and DPWavLM as their authors release them: pruned networks whose widths stand in the file.

Sources: model-zoo.md 3.6 and 5.1, arXiv 2305.17651.
"""

from pathlib import Path
from typing import Any

from students.foreign_settings import Fields
from students.torch_file import read_torch_file, state_dict
from students.transformer import BUCKETS, FARTHEST
from students.translate import from_torchaudio, network_from
from students.upstreams import Upstream, UpstreamError, from_network

_USED: dict[str, Any] = {
    "extractor_mode": str,
    "extractor_conv_layer_config": list,
    "extractor_conv_bias": bool,
    "encoder_embed_dim": int,
    "encoder_pos_conv_kernel": int,
    "encoder_pos_conv_groups": int,
    "encoder_num_layers": int,
    "encoder_use_attention": list,
    "encoder_use_feed_forward": list,
    "encoder_ff_interm_features": list,
    "encoder_layer_norm_first": bool,
    "normalize_waveform": bool,
}
_HUBERT: dict[str, Any] = {"encoder_num_heads": list, "encoder_head_dim": int}
_WAVLM: dict[str, Any] = {
    "encoder_total_num_heads": list,
    "encoder_remaining_heads": list,
    "encoder_num_buckets": int,
    "encoder_max_distance": int,
}
# The published list ends before the last LayerNorm of such a network, ours after it.
_ONLY: dict[str, Any] = {"encoder_layer_norm_first": False}
_ONLY_WAVLM: dict[str, Any] = {"encoder_num_buckets": BUCKETS, "encoder_max_distance": FARTHEST}
_IGNORED = frozenset(
    "encoder_projection_dropout encoder_attention_dropout encoder_ff_interm_dropout encoder_dropout encoder_layer_drop "
    "aux_num_out extractor_prune_conv_channels encoder_prune_attention_heads encoder_prune_attention_layer "
    "encoder_prune_feed_forward_intermediate encoder_prune_feed_forward_layer".split()
)
_NORMS = {"group_norm": "group", "layer_norm": "layer"}
_VARIANCE_ADDED = 1e-5  # where waveforms are normalised


def dphubert(file: Path) -> Upstream:
    """A released DPHuBERT or DPWavLM as an upstream: the projected features, then the output of each layer.

    file: what the authors save, state_dict and config. Raises UpstreamError for a file that cannot be used.
    """
    source, content = str(file), read_torch_file(file)
    config = content.get("config")
    if not isinstance(config, dict) or "state_dict" not in content:
        raise UpstreamError(f"{file} holds {', '.join(map(str, content))}: expected state_dict and config of DPHuBERT")
    values = _values(config, source)
    weights = from_torchaudio(state_dict(source, content["state_dict"]))
    renamed = {name.replace(".dummy_weight", ".scale"): value for name, value in weights.items()}
    network = network_from(source, _sizes(values, source), renamed)
    normalisation = _VARIANCE_ADDED if values["normalize_waveform"] else None
    return from_network(f"dphubert:{file.name}", "upstream", network, "projected and layers", normalisation)


def _values(config: dict[str, Any], source: str) -> dict[str, Any]:
    if "encoder_remaining_heads" in config:
        return Fields(_USED | _WAVLM, _ONLY | _ONLY_WAVLM, _IGNORED).read(config, source)
    return Fields(_USED | _HUBERT, _ONLY, _IGNORED).read(config, source)


def _sizes(values: dict[str, Any], source: str) -> dict[str, Any]:
    """The sizes of Dims that a config says."""
    width = values["encoder_embed_dim"]
    try:
        heads, kept = _heads(values)
        head_width = width // heads
        layers = _layers(values, [len(of_layer) for of_layer in kept] or values["encoder_num_heads"])
        stem = tuple((channels, kernel, stride) for channels, kernel, stride in values["extractor_conv_layer_config"])
        odd = [size for row in (*layers, *stem, *kept) for size in row if type(size) is not int or size < 0]
        if odd:
            raise ValueError(f"{odd[0]!r} among heads, widths and convolutions, expected whole numbers")
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UpstreamError(f"cannot use the config of {source}: {error}; expected that of a released model") from error
    return {
        "stem": stem,
        "stem_norm": _NORMS.get(values["extractor_mode"], values["extractor_mode"]),
        "stem_bias": values["extractor_conv_bias"],
        "stem_scale": True,
        "projection": True,
        "width": width,
        "layers": values["encoder_num_layers"],
        "heads": heads,
        "head_width": head_width,
        "ffn": max(1, *(ffn for _, ffn in layers)),
        "sizes": layers,
        "kept_heads": kept,
        "gated_position": bool(kept),
        "pos_kernel": values["encoder_pos_conv_kernel"],
        "pos_groups": values["encoder_pos_conv_groups"],
    }


def _heads(values: dict[str, Any]) -> tuple[int, tuple[tuple[int, ...], ...]]:
    """Heads of a layer before pruning; for WavLM, where each has its own position bias, also which are left of each."""
    if "encoder_head_dim" in values:
        return values["encoder_embed_dim"] // values["encoder_head_dim"], ()
    totals, attends = set(values["encoder_total_num_heads"]), values["encoder_use_attention"]
    if len(totals) != 1 or attends[:1] != [True]:
        raise ValueError(
            f"encoder_total_num_heads is {sorted(totals)} and encoder_use_attention starts with {attends[:1]}, "
            "expected one number of heads and attention in the first layer, which holds every layer's position bias"
        )
    left = zip(values["encoder_remaining_heads"], attends, strict=True)
    return totals.pop(), tuple(tuple(kept) if attends_too else () for kept, attends_too in left)


def _layers(values: dict[str, Any], heads: list[int]) -> tuple[tuple[int, int], ...]:
    """(heads, FFN width) of each layer, 0 for a half that pruning removed."""
    columns = (
        values["encoder_use_attention"],
        heads,
        values["encoder_use_feed_forward"],
        values["encoder_ff_interm_features"],
    )
    if {len(column) for column in columns} != {values["encoder_num_layers"]}:
        lengths = ", ".join(str(len(column)) for column in columns)
        raise ValueError(
            f"the lists of heads and widths have {lengths} entries for {values['encoder_num_layers']} layers"
        )
    rows = zip(*columns, strict=True)
    return tuple((count if attends else 0, ffn if feeds else 0) for attends, count, feeds, ffn in rows)
