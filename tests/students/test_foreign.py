"""Models of Hugging Face and torchaudio as upstreams, against those libraries one utterance at a time."""

import json
from urllib.error import URLError

import pytest
import torch
import torchaudio
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel

from students.foreign import from_torchaudio
from students.resolve import resolve
from students.upstreams import UpstreamError

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
MODELS = {
    "hubert": (HubertModel, HubertConfig, {}),
    "hubert-large": (HubertModel, HubertConfig, LARGE),
    "wav2vec2": (Wav2Vec2Model, Wav2Vec2Config, {}),
    "wav2vec2-large": (Wav2Vec2Model, Wav2Vec2Config, LARGE),
    "wavlm": (WavLMModel, WavLMConfig, {}),
    "wavlm-large": (WavLMModel, WavLMConfig, LARGE),
}
TORCHAUDIO = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 32,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 48,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.1,
    "aux_num_out": None,
}
RELATIVE = {"encoder_num_buckets": 32, "encoder_max_distance": 80}
PRE_NORM = {"extractor_mode": "layer_norm", "encoder_layer_norm_first": True}


def shaken(module: nn.Module) -> nn.Module:
    """The module in eval mode, every parameter away from its initial value."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return module.eval()


@pytest.fixture
def saved(tmp_path):
    def save(name: str, **settings) -> tuple[nn.Module, str]:
        model_class, config_class, extra = MODELS[name]
        model = shaken(model_class(config_class(**TINY | extra | settings)))
        model.save_pretrained(tmp_path / name)
        return model, f"hf:{tmp_path / name}"

    return save


def normalised(wave):
    return (wave - wave.mean()) / wave.std(correction=0)


@pytest.mark.parametrize("name", list(MODELS))
def test_hugging_face_states_are_those_of_one_utterance_at_a_time(name, saved, waves, assert_each_alone):
    model, spec = saved(name)
    upstream = resolve(spec, 0)
    entering = []
    model.encoder.layers[0].register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0]))

    def reference(wave):
        wave = normalised(wave) if name.endswith("large") else wave
        return model(wave, output_hidden_states=True).hidden_states

    assert_each_alone(upstream, waves, reference)
    first = upstream(waves[-1][None], torch.tensor([len(waves[-1])]))[0][0]
    torch.testing.assert_close(first, entering[-1], rtol=1e-5, atol=1e-5)
    assert (upstream.name, upstream.kind, upstream.stride) == (f"hf:{name}", "upstream", 320)
    assert upstream.states[-1].endswith("final LayerNorm") == name.endswith("large")


@pytest.mark.parametrize(
    ("name", "file", "settings", "expected"),
    [
        ("hubert", "preprocessor_config.json", {"do_normalize": True}, True),
        ("hubert", "processor_config.json", {"feature_extractor": {"do_normalize": True}}, True),
        ("hubert-large", "preprocessor_config.json", {"do_normalize": False}, False),
        ("hubert-large", "preprocessor_config.json", {"sampling_rate": 16_000}, True),
    ],
)
def test_the_feature_extractor_decides_about_normalisation(
    name, file, settings, expected, saved, tmp_path, waves, assert_each_alone
):
    model, spec = saved(name)
    (tmp_path / name / file).write_text(json.dumps(settings))
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=expected)

    def reference(wave):
        values = extractor(wave[0].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
        return model(values, output_hidden_states=True).hidden_states

    assert_each_alone(resolve(spec, 0), waves, reference)


def test_a_fingerprint_follows_weights_and_settings_alone(saved, tmp_path):
    model, spec = saved("hubert")
    before = resolve(spec, 0)
    assert before.parameters == sum(p.numel() for p in model.parameters()) - 32  # the mask vector is left out
    assert resolve(spec, 1).fingerprint == before.fingerprint
    settings = tmp_path / "hubert" / "preprocessor_config.json"
    settings.write_text(json.dumps({"do_normalize": True}))
    assert resolve(spec, 0).fingerprint != before.fingerprint
    settings.unlink()
    with torch.no_grad():
        model.encoder.layers[1].final_layer_norm.bias[3] += 1e-3
    model.save_pretrained(tmp_path / "hubert")
    assert resolve(spec, 0).fingerprint != before.fingerprint


def test_weights_in_half_precision_and_with_old_names_are_taken(saved, tmp_path, waves, assert_each_alone):
    """Published files hold weight_g and weight_v, some lack the mask vector, and some are in fp16."""
    model, spec = saved("hubert")
    file = tmp_path / "hubert" / "model.safetensors"
    weights = {key: value.half() for key, value in load_file(file).items() if key != "masked_spec_embed"}
    prefix = "encoder.pos_conv_embed.conv."
    for old, new in (
        ("weight_g", "parametrizations.weight.original0"),
        ("weight_v", "parametrizations.weight.original1"),
    ):
        weights[prefix + old] = weights.pop(prefix + new)
    save_file(weights, file, {"format": "pt"})
    model.half().float()
    upstream = resolve(spec, 0)
    assert_each_alone(upstream, waves, lambda wave: model(wave, output_hidden_states=True).hidden_states)
    assert resolve(spec, 1).fingerprint == upstream.fingerprint


def obvious_torchaudio_states(module, wave):
    """Step by step from torchaudio's parts: what goes into layer 1, then each layer's output (protocol 1.1)."""
    transformer = module.encoder.transformer
    x = module.encoder.feature_projection(module.feature_extractor(wave, None)[0])
    x = x + transformer.pos_conv_embed(x)
    if transformer.layer_norm_first:  # negated by torchaudio: true for the post-norm design
        x = transformer.layer_norm(x)
    states, bias = [x], None
    for layer in transformer.layers:
        x, bias = layer(x, None, bias)
        states.append(x)
    return states


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("settings", [{}, PRE_NORM, RELATIVE, PRE_NORM | RELATIVE])
def test_torchaudio_states_begin_with_what_enters_layer_1(settings, normalise, waves, assert_each_alone):
    factory = torchaudio.models.wavlm_model if RELATIVE.keys() <= settings.keys() else torchaudio.models.wav2vec2_model
    module = shaken(factory(**TORCHAUDIO | settings)).train()
    upstream = from_torchaudio("tiny", module, normalise)
    assert_each_alone(
        upstream, waves, lambda wave: obvious_torchaudio_states(module, normalised(wave) if normalise else wave)
    )
    assert upstream.parameters == sum(p.numel() for p in module.parameters())
    assert (upstream.stride, upstream.kind) == (320, "upstream")


@pytest.fixture
def bundles(monkeypatch):
    """A tiny bundle of each kind: pretrained, and fine-tuned with an output layer."""
    params = {"_sample_rate": 16_000, "_normalize_waveform": True, "_model_type": "Wav2Vec2"}
    tiny = torchaudio.pipelines.Wav2Vec2Bundle(_path="tiny.pth", _params=TORCHAUDIO, **params)
    tuned = torchaudio.pipelines.Wav2Vec2ASRBundle(
        _path="tuned.pth", _params=TORCHAUDIO | {"aux_num_out": 8}, _labels=tuple("abcd"), **params
    )
    monkeypatch.setattr(torchaudio.pipelines, "TINY", tiny, raising=False)
    monkeypatch.setattr(torchaudio.pipelines, "TUNED", tuned, raising=False)


@pytest.mark.parametrize(("bundle", "outputs"), [("TINY", None), ("TUNED", 8)])
def test_a_torchaudio_bundle_takes_a_file_or_the_download(
    bundle, outputs, bundles, tmp_path, monkeypatch, waves, assert_each_alone
):
    module = shaken(torchaudio.models.wav2vec2_model(**TORCHAUDIO | {"aux_num_out": outputs}))
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    local = resolve(f"torchaudio:{bundle}:{tmp_path / 'weights.pt'}", 0)
    assert_each_alone(local, waves, lambda wave: obvious_torchaudio_states(module, normalised(wave)))

    def download(url, **options):
        assert options["weights_only"] is True
        weights = module.state_dict()
        return weights | ({"aux.weight": torch.zeros(9, 32), "aux.bias": torch.zeros(9)} if outputs else {})

    monkeypatch.setattr("torchaudio.pipelines._wav2vec2.utils.load_state_dict_from_url", download)
    fetched = resolve(f"torchaudio:{bundle}", 0)
    assert fetched.fingerprint == local.fingerprint
    assert (fetched.name, local.name) == (f"torchaudio:{bundle}", f"torchaudio:{bundle}:weights.pt")


def test_damaged_hugging_face_folders_are_named(saved, tmp_path):
    _, spec = saved("hubert")
    folder = tmp_path / "hubert"
    weights, config = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    content = load_file(weights)
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(UpstreamError, match=r"cannot read preprocessor_config.json"):
        resolve(spec, 0)
    (folder / "preprocessor_config.json").unlink()
    save_file(
        {key: value for key, value in content.items() if "encoder.layers.1." not in key}, weights, {"format": "pt"}
    )
    with pytest.raises(UpstreamError, match=r"lacks 16 weights of a hubert \(encoder.layers.1"):
        resolve(spec, 0)
    weights.write_bytes(b"not safetensors")
    with pytest.raises(UpstreamError, match=r"cannot load .*save_pretrained"):
        resolve(spec, 0)
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(UpstreamError, match=r"cannot load .*no file named model.safetensors"):
        resolve(spec, 0)
    save_file(content, weights, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    with pytest.raises(UpstreamError, match=r"cannot load .*fits config.json"):
        resolve(spec, 0)
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": "wide"}))
    with pytest.raises(UpstreamError, match="cannot load "):
        resolve(spec, 0)
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "whisper"}))
    with pytest.raises(UpstreamError, match="model_type 'whisper': expected hubert or wav2vec2 or wavlm"):
        resolve(spec, 0)
    (folder / "config.json").write_text("{")
    with pytest.raises(UpstreamError, match=r"cannot read config.json"):
        resolve(spec, 0)


def test_hugging_face_without_a_network_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UpstreamError, match="cannot get no-such-owner/model from Hugging Face") as caught:
        resolve("hf:no-such-owner/model", 0)
    assert len(str(caught.value).splitlines()) == 1


def test_torchaudio_weights_that_cannot_be_used_are_named(bundles, tmp_path, monkeypatch):
    file = tmp_path / "weights.pt"
    module = torchaudio.models.wav2vec2_model(**TORCHAUDIO | {"encoder_num_layers": 3})
    torch.save(module.state_dict(), file)
    with pytest.raises(UpstreamError, match=r"does not fit torchaudio's TINY: .*Unexpected key.*name the bundle"):
        resolve(f"torchaudio:TINY:{file}", 0)
    torch.save(torch.zeros(3), file)
    with pytest.raises(UpstreamError, match="holds a Tensor: expected a state dict"):
        resolve(f"torchaudio:TINY:{file}", 0)
    torch.save(nn.Linear(2, 2), file)  # whole pickled objects could run code
    with pytest.raises(UpstreamError, match=r"cannot read .*expected a state dict"):
        resolve(f"torchaudio:TINY:{file}", 0)

    def download(url, **options):
        raise URLError("no network")

    monkeypatch.setattr("torchaudio.pipelines._wav2vec2.utils.load_state_dict_from_url", download)
    with pytest.raises(
        UpstreamError, match=r"cannot download torchaudio's TINY: .*no network.*type torchaudio:TINY:FILE"
    ):
        resolve("torchaudio:TINY", 0)
