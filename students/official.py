"""The authors' STaRHuBERT, MaskHuBERT and ARMHuBERT: a Lightning checkpoint and the yaml of its training run.

Sources: model-zoo.md 5.1 to 5.3, arXiv 2312.09040 and 2305.11685.
"""

import ast
import re
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from students.conv_string import parse_conv_layers
from students.foreign_settings import Fields
from students.presets import Exposes
from students.torch_file import read_torch_file, state_dict
from students.translate import from_fairseq, network_from
from students.upstreams import Upstream, UpstreamError, from_network

_PREFIX = "student_model."
# What the published code assumes where a yaml is silent: not the sizes of any student.
_NETWORK: dict[str, Any] = {
    "extractor_mode": "default",
    "conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2",
    "conv_bias": False,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "pos_conv_depth": 1,
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "activation_fn": "gelu",
    "layer_type": "transformer",
    "layer_norm_first": False,
    "crop_seq_to_multiple": 1,
}
_WITH_HEADS: dict[str, Any] = {"layerwise_proj": False, "pred_head_final_dim": 768, "enable_tr_layer": True}
# layer_norm_first: the official list ends before the last LayerNorm, ours after it.
_ONLY = {
    "pos_conv_depth": 1,
    "activation_fn": "gelu",
    "layer_type": "transformer",
    "layer_norm_first": False,
    "crop_seq_to_multiple": 1,
}
_ONLY_WITH_HEADS = {"layerwise_proj": True, "enable_tr_layer": False}
# Training, conformer layers, time reduction. Frames that required_seq_len_multiple adds are masked and cut off again.
_IGNORED = frozenset(
    "dropout attention_dropout activation_dropout dropout_input encoder_layerdrop final_dim feature_grad_mult "
    "layer_grad_scale max_positions checkpoint_activations fp16 required_seq_len_multiple init_conv_layers "
    "init_encoder_layers _teacher_task_agnostic _cnn_weight _name freeze_student_mask update_teacher_mask "
    "depthwise_conv_kernel_size attn_type pos_enc_type pred_head_inter_dim pred_layer_id tr_reduce_factor "
    "tr_layer_type tr_conv1d_kernel tr_layer_index reuse_pattern".split()
)
_NORMS = {"default": "group", "layer_norm": "layer"}


def official(checkpoint: Path, settings: Path | None = None) -> Upstream:
    """A released student as an upstream with its official hidden states.

    checkpoint: the Lightning file; weights of the teacher in it are left out. settings: its yaml; without one the yaml
    of the same name or the only one in the folder. States: STaR the outputs of the layers, the others the predictions
    of their heads. A batch gives what the published code gives for one utterance at a time; that code mixes utterances
    of a batch in ARMHuBERT (model-zoo.md 8.3). Raises UpstreamError for files that cannot be used.
    """
    weights = _student_weights(checkpoint)
    found = settings or _beside(checkpoint)
    heads = any(name.startswith("heads.") for name in weights)
    sizes = _sizes(_section(found), heads, str(found))
    network = network_from(f"{checkpoint} with {found}", sizes, weights)
    exposes: Exposes = "predictions" if heads else "layers"
    return from_network(f"official:{checkpoint.name}", "upstream", network, exposes)


def _beside(checkpoint: Path) -> Path:
    near = [path for path in (checkpoint.with_suffix(".yaml"), checkpoint.with_suffix(".yml")) if path.is_file()]
    near = near or [*checkpoint.parent.glob("*.yaml"), *checkpoint.parent.glob("*.yml")]
    if len(near) == 1:
        return near[0]
    names = ", ".join(sorted(path.name for path in near)) or "no yaml"
    raise UpstreamError(
        f"{names} beside {checkpoint}: expected the one that it was trained with, which alone says how many heads its "
        f"attention has; type official:{checkpoint}:FILE.yaml"
    )


def _section(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise UpstreamError(
            f"cannot read {file}: {' '.join(str(error).split())[:200]}; expected the yaml of the training run"
        ) from error
    section = content.get("distiller") if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise UpstreamError(f"{file} has no section distiller: expected the yaml of the student's training run")
    return section


def _student_weights(file: Path) -> dict[str, Tensor]:
    """The student's weights under our names."""
    everything = state_dict(str(file), read_torch_file(file).get("state_dict"))
    weights = {name[len(_PREFIX) :]: value for name, value in everything.items() if name.startswith(_PREFIX)}
    if not weights:
        raise UpstreamError(
            f"{file} holds no weights named {_PREFIX}*: expected a Lightning checkpoint of the official students"
        )
    return {_own_head(name): value for name, value in from_fairseq(weights).items()}


def _own_head(name: str) -> str:
    return re.sub(r"^proj_head\.(\d+)\.lin_proj\.", lambda found: f"heads.{int(found[1]) + 1}.projection.", name)


def _sizes(section: dict[str, Any], heads: bool, source: str) -> dict[str, Any]:
    """The sizes of Dims, but for mask_vector, that a section says."""
    fields = Fields(_NETWORK, _ONLY, _IGNORED | _WITH_HEADS.keys())
    if heads:
        fields = Fields(_NETWORK | _WITH_HEADS, _ONLY | _ONLY_WITH_HEADS, _IGNORED)
    values = fields.read(section, source)
    layers = values["encoder_layers"]
    try:
        stem = parse_conv_layers(values["conv_feature_layers"])
        reuse = _reuse(section.get("reuse_pattern"), layers)
    except ValueError as error:
        raise UpstreamError(f"{source}: {error}") from error
    return {
        "stem": stem,
        "stem_norm": _NORMS.get(values["extractor_mode"], values["extractor_mode"]),
        "stem_bias": values["conv_bias"],
        "projection": stem[-1][0] != values["encoder_embed_dim"],
        "width": values["encoder_embed_dim"],
        "layers": layers,
        "heads": values["encoder_attention_heads"],
        "ffn": values["encoder_ffn_embed_dim"],
        "pos_kernel": values["conv_pos"],
        "pos_groups": values["conv_pos_groups"],
        "reuse": reuse,
        "softmax_twice": bool(reuse),
        "predicted": tuple(range(1, layers + 1)) if heads else (),
        "prediction_width": values["pred_head_final_dim"] if heads else 0,
    }


def _reuse(pattern: Any, layers: int) -> tuple[int, ...]:
    """The layers (from 1) that take an earlier map; the pattern says of each whether it computes its own, in a text
    such as "[True, False]"."""
    if pattern is None:
        return ()
    try:
        own = ast.literal_eval(str(pattern))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        own = pattern
    if own is None:
        return ()
    if not isinstance(own, list | tuple) or len(own) != layers or not all(type(flag) is bool for flag in own):
        raise ValueError(f"reuse_pattern is {str(pattern)[:60]!r}, expected {layers} times True or False in a list")
    return tuple(layer for layer, computes in enumerate(own, 1) if not computes)
