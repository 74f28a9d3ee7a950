"""Upstreams of other libraries: Hugging Face, torchaudio and s3prl.

None of them is ever given a padded batch: group norm runs over the padding, and s3prl's models move as well
(model-zoo.md 6). Rows of equal length run together, which changes a feature by rounding alone.
"""

import json
import math
import pickle
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from students.checkpoints import module_hash
from students.names import suggestion
from students.upstreams import States, Upstream, UpstreamError, parameter_count, state_names

if TYPE_CHECKING:
    from torchaudio.models import Wav2Vec2Model

Forward = Callable[[Tensor], list[Tensor]]  # waveforms (rows, samples) without padding to states (rows, frames, dim)

_HF_CLASSES = {"hubert": "HubertModel", "wav2vec2": "Wav2Vec2Model", "wavlm": "WavLMModel"}
_MASK_VECTOR = "masked_spec_embed"  # used in pretraining alone, and absent from some checkpoints


def unpadded(forward: Forward, waves: Tensor, lengths: Tensor) -> States:
    """The states of each row without its padding; see Upstream for the shapes."""
    sizes = lengths.tolist()
    alone: dict[int, list[Tensor]] = {}
    for size in sorted(set(sizes)):
        rows = [row for row, length in enumerate(sizes) if length == size]
        found = forward(waves[rows, :size])
        alone |= {row: [state[place] for state in found] for place, row in enumerate(rows)}
    states = [alone[row] for row in range(len(sizes))]
    frames = torch.tensor([len(first) for first, *_ in states], device=waves.device)
    return [pad_sequence(list(state), batch_first=True) for state in zip(*states, strict=True)], frames


def huggingface(source: str) -> Upstream:
    """A HuBERT, wav2vec 2.0 or WavLM model in Hugging Face's layout: its hidden_states, layers + 1 of them.

    source: a folder with config.json and model.safetensors, or owner/name, which the library takes from its cache or
    downloads. Waveforms are normalised where preprocessor_config.json says do_normalize; where it does not say, for
    the layer-norm stem only (model-zoo.md 6). Raises UpstreamError if the model cannot be had or loaded whole.
    """
    folder = Path(source).expanduser()
    local = folder.is_dir()
    if local and not (folder / "config.json").is_file():
        raise UpstreamError(
            f"no config.json in {source}: expected a Hugging Face folder with config.json and model.safetensors; "
            "for a checkpoint of this harness type the folder without hf:"
        )
    if not local and not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise UpstreamError(f"no folder {source}: type hf:FOLDER, one with config.json and model.safetensors")
    place = str(folder) if local else source
    config = _hf_config(place, local)
    model = _hf_model(place, local, config)
    normalised = _hf_normalises(place, local, config)

    def forward(waves: Tensor) -> list[Tensor]:
        if normalised:
            waves = F.layer_norm(waves, waves.shape[1:], eps=1e-7)
        return list(model(waves, output_hidden_states=True).hidden_states)

    layers = _state_names(model.config.num_hidden_layers, pre_norm=model.config.do_stable_layer_norm)
    settings = {key: value for key, value in config.items() if key[0] != "_" and key != "transformers_version"}
    facts = {"normalised": normalised, "config": settings}
    stride, name = math.prod(model.config.conv_stride), f"hf:{folder.resolve().name if local else source}"
    return _upstream(name, model, forward, facts, (model.config.hidden_size, stride, layers))


def torchaudio_bundle(name: str, file: Path | None = None) -> Upstream:
    """A pretrained bundle of torchaudio (torchaudio.pipelines.NAME) as an upstream.

    file: a state dict for it; without one torchaudio downloads its own. The output layer of a model fine-tuned for
    recognition is left out. Raises UpstreamError for an unknown bundle and for weights that cannot be
    had or do not fit.
    """
    from torchaudio import models, pipelines

    bundles = {key: value for key, value in vars(pipelines).items() if isinstance(value, pipelines.Wav2Vec2Bundle)}
    if name not in bundles:
        raise UpstreamError(f"unknown torchaudio bundle {name!r}: {suggestion(name, bundles)} Type torchaudio:BUNDLE")
    bundle = bundles[name]
    factory = {"Wav2Vec2": models.wav2vec2_model, "WavLM": models.wavlm_model}[bundle._model_type]
    module = factory(**bundle._params | {"aux_num_out": None})
    weights = _torchaudio_download(name, bundle) if file is None else _state_dict(file)
    try:
        module.load_state_dict({key: value for key, value in weights.items() if not str(key).startswith("aux.")})
    except RuntimeError as error:
        raise UpstreamError(
            f"{file or 'the download'} does not fit torchaudio's {name}: {_line(error)}; expected the state dict of "
            "that model: name the bundle that it belongs to"
        ) from error
    title = f"torchaudio:{name}" if file is None else f"torchaudio:{name}:{file.name}"
    return from_torchaudio(title, module, bundle._normalize_waveform)


def from_torchaudio(name: str, module: "Wav2Vec2Model", normalised: bool) -> Upstream:
    """A model of torchaudio as an upstream, put into eval mode.

    normalised: whether each waveform is brought to zero mean and unit variance first. torchaudio's extract_features
    gives the outputs of the layers alone; what goes into the first layer comes before them (superb-protocol 1.1).
    """
    transformer = module.encoder.transformer

    def forward(waves: Tensor) -> list[Tensor]:
        if normalised:
            waves = F.layer_norm(waves, waves.shape[1:])
        entering: list[Tensor] = []
        hook = transformer.layers[0].register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0]))
        try:
            outputs, _ = module.extract_features(waves)
        finally:
            hook.remove()
        return [*entering, *outputs]

    stride = math.prod(block.conv.stride[0] for block in module.feature_extractor.conv_layers)
    layers = _state_names(len(transformer.layers), pre_norm=not transformer.layer_norm_first)
    dim = transformer.layer_norm.normalized_shape[0]
    facts = {"normalised": normalised, "heads": transformer.layers[0].attention.num_heads, "states": layers}
    return _upstream(name, module, forward, facts, (dim, stride, layers))


def s3prl(name: str, checkpoint: str | None, seed: int) -> Upstream:
    """An entry of s3prl.hub as an upstream: its hidden_states, every utterance computed alone.

    checkpoint: the file or URL that entries without weights of their own need; s3prl unpickles it, so trust its
    source. seed: for entries with random weights. Raises UpstreamError if the entry is unknown or cannot be used.
    """
    with redirect_stdout(sys.stderr):
        hub = import_module("s3prl.hub")
    entries = {
        key: value
        for key, value in vars(hub).items()
        if key[0] != "_" and getattr(value, "__module__", "").endswith("hubconf")
    }
    if name not in entries:
        raise UpstreamError(f"unknown s3prl upstream {name!r}: {suggestion(name, entries)} Type s3prl:NAME")
    if checkpoint and "://" not in checkpoint and not Path(checkpoint).is_file():
        raise UpstreamError(f"no file {checkpoint} for s3prl's {name}: type s3prl:{name}:CHECKPOINT, a file or a URL")
    torch.manual_seed(seed)
    try:
        with redirect_stdout(sys.stderr):
            module = entries[name](**({"ckpt": checkpoint} if checkpoint else {})).eval()
    except Exception as error:  # whatever an entry's own code raises
        raise UpstreamError(
            f"s3prl cannot build {name!r}: {type(error).__name__}: {_line(error)}; expected an entry that loads: one "
            f"without weights wants s3prl:{name}:CHECKPOINT, one that downloads them a network"
        ) from error

    def forward(waves: Tensor) -> list[Tensor]:
        alone = [module([wave])["hidden_states"] for wave in waves]
        return [torch.cat(states) for states in zip(*alone, strict=True)]

    title = f"s3prl:{name}" + (f":{Path(checkpoint).name}" if checkpoint else "")
    return _upstream(title, module, forward, {"entry": name}, _s3prl_sizes(name, module, forward))


def _upstream(
    name: str, module: nn.Module, forward: Forward, facts: dict[str, Any], sizes: tuple[int, int, tuple[str, ...]]
) -> Upstream:
    """facts: what besides the weights decides the states; sizes: dim, stride in samples and names of the states."""
    module.eval().requires_grad_(False)
    dim, stride, states = sizes
    fingerprint = module_hash(module, json.dumps(facts, sort_keys=True))
    return Upstream(
        name,
        "upstream",
        dim,
        stride,
        states,
        fingerprint,
        lambda waves, lengths: unpadded(forward, waves, lengths),
        parameter_count(module),
    )


def _state_names(layers: int, pre_norm: bool) -> tuple[str, ...]:
    """Both libraries leave the last state of a pre-norm model as the last layer gives it (model-zoo.md 6)."""
    *rest, last = state_names(layers)
    return (*rest, f"{last}, before the final LayerNorm" if pre_norm else last)


def _line(error: Exception) -> str:
    """An error's text on one line, cut where it gets long."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _hf_config(place: str, local: bool) -> dict[str, Any]:
    from transformers import PreTrainedConfig

    try:
        config, _ = PreTrainedConfig.get_config_dict(place, local_files_only=local)
    except OSError as error:
        if local:
            raise UpstreamError(f"cannot read config.json in {place}: {_line(error)}; save the model again") from error
        raise UpstreamError(
            f"cannot get {place} from Hugging Face: {_line(error)}; expected a folder here, a model in the library's "
            "cache or a network: copy the model's files into a folder and type hf:FOLDER"
        ) from error
    if config.get("model_type") not in _HF_CLASSES:
        raise UpstreamError(
            f"{place} has model_type {config.get('model_type')!r}: expected {' or '.join(_HF_CLASSES)}; for other "
            "models type s3prl:NAME"
        )
    return config


def _hf_model(place: str, local: bool, config: dict[str, Any]) -> Any:
    import transformers

    model_class = getattr(transformers, _HF_CLASSES[config["model_type"]])
    try:
        model, loading = model_class.from_pretrained(
            place,
            local_files_only=local,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # whatever wrong settings or weights make the library raise
        raise UpstreamError(
            f"cannot load {place}: {type(error).__name__}: {_line(error)}; expected model.safetensors that fits "
            "config.json: save the model with save_pretrained of transformers"
        ) from error
    model.register_parameter(_MASK_VECTOR, None)
    missing = sorted(set(loading["missing_keys"]) - {_MASK_VECTOR})
    if missing:
        raise UpstreamError(
            f"model.safetensors of {place} lacks {len(missing)} weights of a {config['model_type']} ({missing[0]}, "
            "...): expected all of them; save the model with save_pretrained of transformers"
        )
    return model


def _hf_normalises(place: str, local: bool, config: dict[str, Any]) -> bool:
    """What the feature extractor's settings say; newer folders keep them inside those of the processor."""
    from transformers.utils.hub import cached_file

    for name in ("processor_config.json", "preprocessor_config.json"):
        try:
            file = cached_file(place, name, local_files_only=local, _raise_exceptions_for_missing_entries=False)
            settings = json.loads(Path(file).read_text(encoding="utf-8")) if file else {}
        except (OSError, ValueError) as error:
            raise UpstreamError(
                f"cannot read {name} of {place}, which says whether waveforms are normalised: {_line(error)}; "
                "expected JSON: save the feature extractor again, or remove the file"
            ) from error
        settings = settings.get("feature_extractor", settings)
        if "do_normalize" in settings:
            return bool(settings["do_normalize"])
    return bool(config.get("feat_extract_norm") == "layer")


def _torchaudio_download(name: str, bundle: Any) -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = bundle._get_state_dict({"weights_only": True, "map_location": "cpu"})
    except (OSError, RuntimeError) as error:
        raise UpstreamError(
            f"cannot download torchaudio's {name}: {_line(error)}; expected a network: fetch the file elsewhere and "
            f"type torchaudio:{name}:FILE"
        ) from error
    return weights


def _state_dict(file: Path) -> dict[str, Tensor]:
    """A file's state dict, read without running any code that it holds."""
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UpstreamError(
            f"cannot read {file}: {_line(error)}; expected a state dict written by torch.save: type "
            "torchaudio:BUNDLE:FILE"
        ) from error
    if not isinstance(weights, dict):
        raise UpstreamError(f"{file} holds a {type(weights).__name__}: expected a state dict written by torch.save")
    return weights


def _s3prl_sizes(name: str, module: Any, forward: Forward) -> tuple[int, int, tuple[str, ...]]:
    """Dim, stride and names of the states, found on a second of sound as s3prl itself does."""
    try:
        with torch.no_grad():
            states = forward(torch.sin(torch.arange(16_000) / 10)[None])
        strides = module.get_downsample_rates("hidden_states")
    except Exception as error:  # whatever an entry's own code raises
        raise UpstreamError(
            f"s3prl's {name!r} gives no hidden states for a second of sound: {type(error).__name__}: {_line(error)}; "
            "choose another entry"
        ) from error
    shapes = {tuple(state.shape) for state in states}
    rates = {strides} if isinstance(strides, int) else set(strides)
    if len(shapes) != 1 or len(rates) != 1:
        raise UpstreamError(
            f"s3prl's {name!r} has states of shapes {sorted(shapes)} and strides {sorted(rates)}: expected one shape "
            "and one stride; choose another entry"
        )
    return states[0].shape[-1], rates.pop(), tuple(f"hidden state {i}" for i in range(len(states)))
