"""HuBERT, wav2vec 2.0 and WavLM in Hugging Face's layout, loaded into our network."""

import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from students.encoder import SpeechEncoder
from students.torch_file import read_torch_file, state_dict
from students.transformer import BUCKETS, FARTHEST
from students.translate import from_huggingface, network_from, refuse
from students.upstreams import Upstream, UpstreamError, from_network, one_line

_CONFIGS = {"hubert": "HubertConfig", "wav2vec2": "Wav2Vec2Config", "wavlm": "WavLMConfig"}
_SUPPORTED = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "conv_pos_batch_norm": False,
    "add_adapter": False,
    "adapter_attn_dim": None,
    "num_buckets": BUCKETS,
    "max_bucket_distance": FARTHEST,
}
_VARIANCE_ADDED = 1e-7  # by Wav2Vec2FeatureExtractor
_WEIGHTS, _SHARDS, _PICKLED = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"


def huggingface(source: str) -> Upstream:
    """A HuBERT, wav2vec 2.0 or WavLM model in Hugging Face's layout: layers + 1 states.

    source: a folder with config.json and model.safetensors (whole or in shards) or pytorch_model.bin, or owner/name,
    which the library takes from its cache or downloads. Of a model for a task, the encoder alone. Waveforms are
    normalised where preprocessor_config.json says do_normalize; where it does not say, for the layer-norm stem only
    (model-zoo.md 6). Raises UpstreamError if the model cannot be had, loaded whole, or built of our blocks.
    """
    folder = Path(source).expanduser()
    local = folder.is_dir()
    if local and not (folder / "config.json").is_file():
        raise UpstreamError(
            f"no config.json in {source}: expected a Hugging Face folder with config.json and {_WEIGHTS}; "
            "for a checkpoint of this harness type the folder without hf:"
        )
    if not local and not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise UpstreamError(f"no folder {source}: type hf:FOLDER, one with config.json and {_WEIGHTS}")
    place = str(folder) if local else source
    config = _config(place, local)
    normalises = _normalises(place, local, config)
    network = _network(place, config, _weights(place, local))
    name = f"hf:{folder.resolve().name if local else source}"
    return from_network(name, "upstream", network, "states", _VARIANCE_ADDED if normalises else None)


def _network(place: str, config: Any, weights: dict[str, Tensor]) -> SpeechEncoder:
    refuse(place, vars(config), _SUPPORTED)
    sizes = {
        "stem": tuple(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)),
        "stem_norm": config.feat_extract_norm,
        "stem_bias": config.conv_bias,
        "projection": True,
        "projection_norm": getattr(config, "feat_proj_layer_norm", True),
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "ffn": config.intermediate_size,
        "pos_kernel": config.num_conv_pos_embeddings,
        "pos_groups": config.num_conv_pos_embedding_groups,
        "pre_norm": config.do_stable_layer_norm,
        "gated_position": config.model_type == "wavlm",
    }
    return network_from(place, sizes, from_huggingface(weights, config.model_type))


def _fetch(place: str, name: str, local: bool) -> Path | None:
    """A file of the model, None where the model has none of that name. Raises OSError without the network it needs."""
    from transformers.utils.hub import cached_file

    file = cached_file(place, name, local_files_only=local, _raise_exceptions_for_missing_entries=False)
    return Path(file) if file else None


def _config(place: str, local: bool) -> Any:
    """The library's settings, with its defaults for what config.json does not say."""
    import transformers

    try:
        stored, _ = transformers.PreTrainedConfig.get_config_dict(place, local_files_only=local)
        model_type = stored.get("model_type")
    except (OSError, AttributeError, TypeError, RecursionError) as error:  # OSError aside, of odd JSON
        if local or not isinstance(error, OSError):
            raise UpstreamError(
                f"cannot read config.json in {place}: {one_line(error)}; save the model again"
            ) from error
        raise UpstreamError(
            f"cannot get {place} from Hugging Face: {one_line(error)}; expected a folder here, a model in the "
            "library's cache or a network: copy the model's files into a folder and type hf:FOLDER"
        ) from error
    if model_type not in list(_CONFIGS):  # it may be of any type
        raise UpstreamError(
            f"{place} has model_type {model_type!r}: expected {' or '.join(_CONFIGS)}; for other models type s3prl:NAME"
        )
    try:
        return getattr(transformers, _CONFIGS[model_type]).from_dict(stored)
    except Exception as error:  # whatever wrong settings make the library raise
        raise UpstreamError(f"cannot use config.json of {place}: {one_line(error)}; save the model again") from error


def _normalises(place: str, local: bool, config: Any) -> bool:
    """What the feature extractor's settings say; newer folders keep them inside those of the processor."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        try:
            file = _fetch(place, name, local)
            settings = json.loads(file.read_text(encoding="utf-8")) if file else {}
            settings = settings.get("feature_extractor", settings)
            if "do_normalize" in settings:
                return bool(settings["do_normalize"])
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise UpstreamError(
                f"cannot read {name} of {place}, which says whether waveforms are normalised: {one_line(error)}; "
                "expected JSON: save the feature extractor again, or remove the file"
            ) from error
    return bool(config.feat_extract_norm == "layer")


def _weights(place: str, local: bool) -> dict[str, Tensor]:
    """All weights of the model under their own names."""
    try:
        files = _weight_files(place, local)
        parts = [load_file(file) for file in files if file.name != _PICKLED]
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise UpstreamError(
            f"cannot load {place}: {one_line(error)}; expected {_WEIGHTS}: save the model with save_pretrained of "
            "transformers"
        ) from error
    parts += [state_dict(str(file), read_torch_file(file)) for file in files if file.name == _PICKLED]
    return {key: value for part in parts for key, value in part.items()}


def _weight_files(place: str, local: bool) -> list[Path]:
    """The files of the first form in which the model is there. OSError or ValueError if none is, or not whole."""
    index = None if (whole := _fetch(place, _WEIGHTS, local)) else _fetch(place, _SHARDS, local)
    if index is None:
        file = whole or _fetch(place, _PICKLED, local)
        if file is None:
            raise OSError(f"no {_WEIGHTS}, {_SHARDS} or {_PICKLED} there")
        return [file]
    stored = json.loads(index.read_text(encoding="utf-8"))
    shards = stored.get("weight_map") if isinstance(stored, dict) else None
    names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
    if not names or any(re.fullmatch(r"[\w-]+\.safetensors", name) is None for name in names):
        raise ValueError(f"{_SHARDS} names {names}, expected names of safetensors files beside it")
    found = {name: _fetch(place, name, local) for name in names}
    absent = [name for name, file in found.items() if file is None]
    if absent:
        raise OSError(f"no {absent[0]} there, which {_SHARDS} names")
    return [file for file in found.values() if file is not None]
