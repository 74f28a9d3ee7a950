"""torchaudio's pretrained bundles, loaded into our network."""

from pathlib import Path
from typing import Any

from torch import Tensor

from students.names import suggestion
from students.torch_file import read_torch_file, state_dict
from students.transformer import BUCKETS, FARTHEST
from students.translate import from_torchaudio, network_from, refuse
from students.upstreams import Upstream, UpstreamError, from_network, one_line

# Our names of the teachers, and the bundle that holds each.
TEACHER_BUNDLES = {
    "hubert_base": "HUBERT_BASE",
    "hubert_large": "HUBERT_LARGE",
    "wav2vec2_base": "WAV2VEC2_BASE",
    "wav2vec2_large": "WAV2VEC2_LARGE_LV60K",
    "wavlm_base": "WAVLM_BASE",
    "wavlm_base_plus": "WAVLM_BASE_PLUS",
    "wavlm_large": "WAVLM_LARGE",
}
_SUPPORTED = {"encoder_num_buckets": BUCKETS, "encoder_max_distance": FARTHEST}
_NORMS = {"group_norm": "group", "layer_norm": "layer"}
_VARIANCE_ADDED = 1e-5  # by torchaudio, where it normalises waveforms


def torchaudio_bundle(name: str, file: Path | None = None, title: str = "") -> Upstream:
    """A pretrained bundle of torchaudio (torchaudio.pipelines.NAME) as an upstream: layers + 1 states.

    file: a state dict for it; without one torchaudio downloads its own. title: what the upstream is called,
    torchaudio:NAME without it. The output layer of a model fine-tuned for recognition is left out. Raises
    UpstreamError for an unknown bundle and for weights that cannot be had or do not fit.
    """
    from torchaudio import pipelines

    bundles = {key: value for key, value in vars(pipelines).items() if isinstance(value, pipelines.Wav2Vec2Bundle)}
    if name not in bundles:
        raise UpstreamError(f"unknown torchaudio bundle {name!r}: {suggestion(name, bundles)} Type torchaudio:BUNDLE")
    bundle = bundles[name]
    weights = _download(name, bundle) if file is None else state_dict(str(file), read_torch_file(file))
    source = f"torchaudio's {name}" if file is None else f"{file} as torchaudio's {name}"
    refuse(source, bundle._params, _SUPPORTED)
    network = network_from(source, _sizes(bundle), from_torchaudio(weights))
    title = title or f"torchaudio:{name}" + (f":{file.name}" if file else "")
    return from_network(title, "upstream", network, "states", _VARIANCE_ADDED if bundle._normalize_waveform else None)


def _sizes(bundle: Any) -> dict[str, Any]:
    params = bundle._params
    return {
        "stem": tuple(map(tuple, params["extractor_conv_layer_config"])),
        "stem_norm": _NORMS[params["extractor_mode"]],
        "stem_bias": params["extractor_conv_bias"],
        "projection": True,
        "width": params["encoder_embed_dim"],
        "layers": params["encoder_num_layers"],
        "heads": params["encoder_num_heads"],
        "ffn": params["encoder_ff_interm_features"],
        "pos_kernel": params["encoder_pos_conv_kernel"],
        "pos_groups": params["encoder_pos_conv_groups"],
        "pre_norm": params["encoder_layer_norm_first"],
        "gated_position": bundle._model_type == "WavLM",
    }


def _download(name: str, bundle: Any) -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = bundle._get_state_dict({"weights_only": True, "map_location": "cpu"})
    except (OSError, RuntimeError) as error:
        raise UpstreamError(
            f"cannot download torchaudio's {name}: {one_line(error)}; expected a network: fetch the file elsewhere and "
            f"type torchaudio:{name}:FILE"
        ) from error
    return weights
