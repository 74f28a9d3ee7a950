"""Checkpoint files in fairseq's layout, its toolkit conversions and WavLM's, loaded into our network."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from students.conv_string import parse_conv_layers
from students.torch_file import read_torch_file, state_dict
from students.transformer import BUCKETS, FARTHEST
from students.translate import from_fairseq, network_from, refuse
from students.upstreams import Upstream, UpstreamError, from_network

_SUPPORTED = {
    "activation_fn": "gelu",
    "layer_type": "transformer",
    "pos_conv_depth": 1,
    "conv_pos_batch_norm": False,
    "quantize_input": False,
}
_GATED = {"num_buckets": BUCKETS, "max_distance": FARTHEST, "gru_rel_pos": True}
_NORMS = {"default": "group", "layer_norm": "layer"}
_LIGHTHUBERT = ("hubert_pruner", "student_hubert")
_DEFAULTS = {
    "conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2",
    "extractor_mode": "default",
    "conv_bias": False,
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "layer_norm_first": False,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "relative_position_embedding": False,
    "max_distance": 1280,
}
_VARIANCE_ADDED = 1e-5  # by fairseq, where it normalises waveforms


@dataclass(frozen=True)
class _Checkpoint:
    """settings: of the model; normalises: whether it was trained on normalised waveforms."""

    settings: dict[str, Any]
    normalises: bool
    weights: Any


def fairseq_file(file: Path) -> Upstream:
    """A HuBERT, wav2vec 2.0 or WavLM checkpoint as an upstream: layers + 1 states.

    file: of fairseq (model with cfg or args), converted by the s3prl toolkit (model_weight with model_cfg and task_cfg)
    or of WavLM's authors (model with a flat cfg); its keys tell (model-zoo.md 5.1). Raises UpstreamError for a file of
    another form, with objects other than plain values, or that does not make a network of our blocks.
    """
    source = str(file)
    checkpoint = _parts(source, read_torch_file(file))
    settings = _DEFAULTS | checkpoint.settings
    if settings.get("_name") in _LIGHTHUBERT:
        raise UpstreamError(
            f"{source} is a LightHuBERT supernet, which s3prl runs: type s3prl:lighthubert_local:{file}"
        )
    if "w2v_path" in settings:
        raise UpstreamError(
            f"{source} is fine-tuned for recognition: expected a pretrained model; type that one's file"
        )
    gated = settings["relative_position_embedding"]
    refuse(source, settings, _SUPPORTED | (_GATED if gated else {}))
    network = network_from(source, _sizes(source, settings), from_fairseq(state_dict(source, checkpoint.weights)))
    return from_network(file.name, "upstream", network, "states", _VARIANCE_ADDED if checkpoint.normalises else None)


def _parts(source: str, content: dict[str, Any]) -> _Checkpoint:
    """The parts of a checkpoint by the keys of its form."""
    if "model_weight" in content:
        task = _plain(content.get("task_cfg"))
        return _Checkpoint(_plain(content.get("model_cfg")), bool(task.get("normalize")), content["model_weight"])
    settings = _plain(content.get("cfg") or content.get("args"))
    if "model" not in content or not settings:
        shown = ", ".join(list(map(str, content))[:4])
        raise UpstreamError(
            f"{source} holds {shown}, ...: expected model_weight with model_cfg and task_cfg, or model with cfg or "
            "args; for a state dict of torchaudio type torchaudio:BUNDLE:FILE"
        )
    model, task = _plain(settings.get("model")) or settings, _plain(settings.get("task")) or settings
    return _Checkpoint(model, bool(task.get("normalize")), content["model"])


def _plain(settings: Any) -> dict[str, Any]:
    """Settings as a dict, empty for what holds none."""
    if isinstance(settings, argparse.Namespace):
        return vars(settings)
    return settings if isinstance(settings, dict) else {}


def _sizes(source: str, settings: dict[str, Any]) -> dict[str, Any]:
    try:
        stem = parse_conv_layers(str(settings["conv_feature_layers"]))
    except ValueError as error:
        raise UpstreamError(f"{source}: {error}") from error
    return {
        "stem": stem,
        "stem_norm": _NORMS.get(str(settings["extractor_mode"]), settings["extractor_mode"]),
        "stem_bias": settings["conv_bias"],
        "projection": stem[-1][0] != settings["encoder_embed_dim"],
        "width": settings["encoder_embed_dim"],
        "layers": settings["encoder_layers"],
        "heads": settings["encoder_attention_heads"],
        "ffn": settings["encoder_ffn_embed_dim"],
        "pos_kernel": settings["conv_pos"],
        "pos_groups": settings["conv_pos_groups"],
        "pre_norm": settings["layer_norm_first"],
        "gated_position": settings["relative_position_embedding"],
    }
