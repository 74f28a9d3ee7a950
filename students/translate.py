"""Other libraries' names of weights, and their weights in our network (model-zoo.md 5.3)."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from students.dims import Dims
from students.encoder import SpeechEncoder
from students.upstreams import UpstreamError

Rules = tuple[tuple[str, str], ...]  # a pattern and what takes its place, applied one after the other

_MASK_VECTOR = "masked_spec_embed"
_SHOWN = 5
_WEIGHT_NORM: Rules = (
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
)
_FAIRSEQ: Rules = (
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"^feature_extractor\.conv_layers\.(\d+)\.2\.(?:1\.)?", r"feature_extractor.conv_layers.\1.layer_norm."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^mask_emb$", _MASK_VECTOR),
    (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.self_attn\.grep_linear\.", ".attention.gru_rel_pos_linear."),
    (r"\.self_attn\.grep_a$", ".attention.gru_rel_pos_const"),
    (r"\.self_attn\.relative_attention_bias\.", ".attention.rel_attn_embed."),
    (r"\.self_attn\.", ".attention."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
    *_WEIGHT_NORM,
)
_PRETRAINING = ("final_proj.", "label_embs_concat", "quantizer.", "project_q.", "target_glu.")
_TORCHAUDIO: Rules = (
    (r"^encoder\.feature_projection\.", "feature_projection."),
    (r"^encoder\.transformer\.", "encoder."),
    (r"\.attention\.attention\.", ".attention."),
    *_WEIGHT_NORM,
)


def from_fairseq(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of fairseq, s3prl, WavLM's authors or the official students under our names, without what only
    pretraining needs (projections to labels, label tables, quantisers)."""
    return _renamed({key: value for key, value in weights.items() if not key.startswith(_PRETRAINING)}, _FAIRSEQ)


def from_torchaudio(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of torchaudio under our names, without the output layer of a model fine-tuned for recognition."""
    ours: dict[str, Tensor] = {}
    for key, value in _renamed(weights, _TORCHAUDIO).items():
        joined = re.fullmatch(r"(.*\.attention\.)in_proj_(weight|bias)", key)
        if joined:
            ours |= {
                f"{joined[1]}{name}_proj.{joined[2]}": part
                for name, part in zip("qkv", value.tensor_split(3), strict=True)
            }
        elif not key.startswith("aux."):
            ours[key] = value
    return ours


def from_huggingface(weights: Mapping[str, Tensor], model_type: str) -> dict[str, Tensor]:
    """Weights of Hugging Face under our names; of a model for a task, those of the encoder inside it alone."""
    prefix = f"{model_type}."
    inside = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    return _renamed(inside or weights, _WEIGHT_NORM)


def _renamed(weights: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    ours = {}
    for key, value in weights.items():
        for pattern, name in rules:
            key = re.sub(pattern, name, key)
        ours[key] = value
    return ours


def refuse(source: str, settings: Mapping[str, Any], supported: Mapping[str, Any]) -> None:
    """Raise UpstreamError if a setting has another value than the only one that our networks have; it names each."""
    wrong = [key for key, value in supported.items() if settings.get(key, value) != value]
    if wrong:
        found = ", ".join(f"{key} {settings[key]!r}" for key in wrong)
        expected = ", ".join(f"{key} {supported[key]!r}" for key in wrong)
        raise UpstreamError(f"{source} has {found}, which our networks lack: expected {expected}; try s3prl:NAME")


def network_from(source: str, sizes: Mapping[str, Any], weights: Mapping[str, Tensor]) -> SpeechEncoder:
    """An encoder in fp32 with these weights, under our names.

    sizes: of Dims, but for mask_vector, which the weights tell. Raises UpstreamError for sizes that do not fit
    together, and for weights that are missing, unknown or of another shape: five of each by name, of more the first.
    """
    try:
        dims = Dims(**sizes, mask_vector=_MASK_VECTOR in weights)
        with torch.device("meta"):
            network = SpeechEncoder(dims)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise UpstreamError(f"{source} has sizes that make no network: {error}; get the model again") from error
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    both = wanted.keys() & found.keys()
    differ = {
        "lacks": sorted(wanted.keys() - both),
        "has unknown": sorted(found.keys() - both),
        "has misshapen": [
            f"{key} {found[key]}, not {wanted[key]}" for key in sorted(both) if found[key] != wanted[key]
        ],
    }
    problems = [
        f"{what} {', '.join(keys) if len(keys) <= _SHOWN else f'{keys[0]} and {len(keys) - 1} more'}"
        for what, keys in differ.items()
        if keys
    ]
    if problems:
        raise UpstreamError(
            f"{source} does not fit its settings: it {', '.join(problems)}; expected the {len(wanted)} weights of a "
            "HuBERT, wav2vec 2.0 or WavLM encoder: get the model again, or name the one that it belongs to"
        )
    network.load_state_dict({key: value.float().contiguous() for key, value in weights.items()}, assign=True)
    return network
