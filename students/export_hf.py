"""A network as a folder of Hugging Face's transformers: HubertModel, or WavLMModel for gated relative positions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from students.checkpoints import FILE_NAME, CheckpointInfo
from students.dims import Dims
from students.encoder import SpeechEncoder
from students.export_folder import ExportError
from students.transformer import BUCKETS, FARTHEST

# What transformers expects of a feature extractor; the networks take waveforms as they are.
_PREPROCESSOR = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "sampling_rate": 16_000,
    "padding_side": "right",
    "padding_value": 0.0,
    "do_normalize": False,
    "return_attention_mask": True,
}
_NORM = "encoder.pos_conv_embed.conv."
_OLD_NAMES = {  # of weight norm: every version of transformers reads these
    f"{_NORM}parametrizations.weight.original0": f"{_NORM}weight_g",
    f"{_NORM}parametrizations.weight.original1": f"{_NORM}weight_v",
}


def write_huggingface(folder: Path, network: SpeechEncoder, info: CheckpointInfo) -> str:
    """Write config.json, model.safetensors and preprocessor_config.json; return how to load them, in Markdown.

    A projection that the network lacks becomes the identity, and heads that its features do without are left out.
    Raises ExportError for a network that the class cannot express.
    """
    dims = network.dims
    model_class = "WavLMModel" if dims.gated_position else "HubertModel"
    reasons = list(_beyond(dims, info))
    if reasons:
        raise ExportError(
            f"cannot write {info.name} as a Hugging Face {model_class}, which has no {', no '.join(reasons)}: "
            "export it with --format s3prl or --format onnx"
        )
    (folder / FILE_NAME).write_bytes(save(_weights(network), {"format": "pt"}))  # save_file keeps it from the group
    for name, settings in (("config.json", _config(dims, model_class)), ("preprocessor_config.json", _PREPROCESSOR)):
        (folder / name).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return _usage(dims, info, model_class)


def _beyond(dims: Dims, info: CheckpointInfo) -> Iterator[str]:
    """What the network has and neither class of transformers."""
    if dims.reuse:
        yield "layers that reuse an attention map"
    if dims.reduction > 1:
        yield "time reduction"
    if len(set(dims.sizes)) > 1:
        yield "layers of unequal sizes"
    if dims.layer(1).attention != dims.width:
        yield f"attention of width {dims.layer(1).attention} in layers of width {dims.width}"
    if dims.stem_scale:
        yield "factors on the stem's output"
    if dims.gated_position and not dims.projection_norm:
        yield "projection without a LayerNorm before it"
    if "prediction" in info.exposes:
        yield "prediction heads (this network's features)"


def _weights(network: SpeechEncoder) -> dict[str, Tensor]:
    weights = {
        _OLD_NAMES.get(key, key): value.detach().float().contiguous()
        for key, value in network.state_dict().items()
        if not key.startswith("heads.")
    }
    if not network.dims.projection:
        width = network.dims.width
        weights["feature_projection.projection.weight"] = torch.eye(width)
        weights["feature_projection.projection.bias"] = torch.zeros(width)
    return weights


def _config(dims: Dims, model_class: str) -> dict[str, Any]:
    channels, kernels, strides = (list(values) for values in zip(*dims.stem, strict=True))
    config = {
        "architectures": [model_class],
        "model_type": "wavlm" if dims.gated_position else "hubert",
        "hidden_size": dims.width,
        "num_hidden_layers": dims.layers,
        "num_attention_heads": dims.layer(1).heads,
        "intermediate_size": dims.layer(1).ffn,
        "conv_dim": channels,
        "conv_kernel": kernels,
        "conv_stride": strides,
        "conv_bias": dims.stem_bias,
        "feat_extract_norm": dims.stem_norm,
        "do_stable_layer_norm": dims.pre_norm,
        "num_conv_pos_embeddings": dims.pos_kernel,
        "num_conv_pos_embedding_groups": dims.pos_groups,
        "feat_proj_dropout": dims.input_dropout,
        "hidden_dropout": dims.hidden_dropout,
        "attention_dropout": dims.attention_dropout,
        "activation_dropout": dims.ffn_dropout,
        "layerdrop": 0.0,
        "apply_spec_augment": dims.mask_vector,
        "mask_time_prob": 0.05 if dims.mask_vector else 0.0,  # at 0 transformers makes no mask vector either
    }
    if dims.gated_position:
        return config | {"num_buckets": BUCKETS, "max_bucket_distance": FARTHEST}
    return config | {"feat_proj_layer_norm": dims.projection_norm}


def _usage(dims: Dims, info: CheckpointInfo, model_class: str) -> str:
    first = 0 if info.exposes == "states" else 1
    notes = [f"`hidden_states` holds {dims.layers + 1} entries: the input of layer 1, then the output of each layer."]
    if first:
        notes.append("The harness evaluates this network by the layers' outputs, `hidden_states[1:]`.")
    if info.exposes == "projected and layers":
        notes.append("It adds the output of the feature projection, which this class does not show.")
    if dims.pre_norm:
        notes.append("The last entry is taken before the final LayerNorm; `last_hidden_state` comes after it.")
    if dims.stem_norm == "group":
        notes.append("Padding changes the features of a group-norm stem: give one utterance at a time.")
    return f"""```python
from transformers import {model_class}

model = {model_class}.from_pretrained("FOLDER").eval()
states = model(waveforms, output_hidden_states=True).hidden_states  # waveforms: (1, samples)
```

{" ".join(notes)}
"""
