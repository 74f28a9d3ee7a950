"""Models of Hugging Face in our network, against that library one utterance at a time."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.utils.rnn import pad_sequence

from students.resolve import resolve
from students.upstreams import UpstreamError

NAMES = ["hubert", "hubert-large", "wav2vec2", "wav2vec2-large", "wavlm", "wavlm-large"]


@pytest.fixture
def saved(hugging_face_model, tmp_path):
    def save(name, **settings):
        model = hugging_face_model(name, **settings)
        model.save_pretrained(tmp_path / name)
        return model, f"hf:{tmp_path / name}"

    return save


@pytest.mark.parametrize("name", NAMES)
def test_states_are_those_of_one_utterance_at_a_time(
    name, saved, waves, assert_each_alone, hugging_face_states, zero_mean
):
    model, spec = saved(name)
    upstream = resolve(spec, 0)
    large = name.endswith("large")
    assert_each_alone(upstream, waves, lambda wave: hugging_face_states(model, zero_mean(wave) if large else wave))
    assert (upstream.name, upstream.kind, upstream.stride) == (f"hf:{name}", "upstream", 320)
    assert upstream.states[-1].endswith("final LayerNorm") == large
    assert upstream.parameters == sum(p.numel() for p in model.parameters())
    assert (upstream.dims.gated_position, upstream.dims.pre_norm) == (name.startswith("wavlm"), large)


@pytest.mark.parametrize("name", ["hubert-large", "wavlm-large"])
def test_states_are_those_of_the_librarys_own_padded_batch(name, saved, waves, zero_mean):
    """A layer-norm stem does not mix frames, so that the library's batches are right there as well."""
    model, spec = saved(name)
    lengths = torch.tensor([len(wave) for wave in waves])
    states, frames = resolve(spec, 0)(pad_sequence(waves, batch_first=True), lengths)
    batch = pad_sequence([zero_mean(wave) for wave in waves], batch_first=True)
    mask = (torch.arange(batch.shape[1]) < lengths[:, None]).long()
    expected = model(batch, attention_mask=mask).last_hidden_state
    for row, count in enumerate(frames.tolist()):
        torch.testing.assert_close(states[-1][row, :count], expected[row, :count], rtol=1e-5, atol=1e-5)


def test_masked_frames_are_the_librarys(saved, waves):
    model, spec = saved("wavlm")
    upstream = resolve(spec, 0)
    lengths = torch.tensor([len(wave) for wave in waves])
    masked = torch.zeros(len(waves), 24, dtype=torch.bool)
    masked[:, 1:3] = True
    encoded = upstream.encode(pad_sequence(waves, batch_first=True), lengths, masked=masked)
    assert not any(state.requires_grad for state in encoded.states)
    for row, wave in enumerate(waves):
        count = int(encoded.frames[row])
        found = model(wave[None], mask_time_indices=masked[row : row + 1, :count], output_hidden_states=True)
        torch.testing.assert_close(encoded.states[-1][row, :count], found.last_hidden_state[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["hubert", "wav2vec2-large"])
def test_attention_maps_are_the_librarys(name, saved, waves, zero_mean):
    model, spec = saved(name)
    model.set_attn_implementation("eager")
    upstream = resolve(spec, 0)
    lengths = torch.tensor([len(wave) for wave in waves])
    encoded = upstream.encode(pad_sequence(waves, batch_first=True), lengths, with_maps=True)
    for row, wave in enumerate(waves):
        values = zero_mean(wave) if name.endswith("large") else wave
        expected = model(values[None], output_attentions=True).attentions
        count = int(encoded.frames[row])
        for found, one in zip(encoded.maps, expected, strict=True):
            torch.testing.assert_close(found[row, :, :count, :count], one[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "head"), [("hubert", "ForCTC"), ("wav2vec2", "ForPreTraining"), ("wavlm", "ForXVector")]
)
def test_of_a_model_for_a_task_the_encoder_is_taken(
    name, head, hugging_face_model, tmp_path, waves, assert_each_alone, hugging_face_states
):
    model = hugging_face_model(name, head)
    model.save_pretrained(tmp_path)
    encoder = getattr(model, name)
    assert_each_alone(resolve(f"hf:{tmp_path}", 0), waves, lambda wave: hugging_face_states(encoder, wave))


@pytest.mark.parametrize(
    "case",
    [
        ("hubert", "preprocessor_config.json", {"do_normalize": True}, True),
        ("hubert", "processor_config.json", {"feature_extractor": {"do_normalize": True}}, True),
        ("hubert-large", "preprocessor_config.json", {"do_normalize": False}, False),
        ("hubert-large", "preprocessor_config.json", {"sampling_rate": 16_000}, True),
    ],
)
def test_the_feature_extractor_decides_about_normalisation(
    case, saved, tmp_path, waves, assert_each_alone, hugging_face_states
):
    name, file, settings, expected = case
    model, spec = saved(name)
    (tmp_path / name / file).write_text(json.dumps(settings))
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=expected)

    def reference(wave):
        values = extractor(wave[0].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
        return hugging_face_states(model, values)

    assert_each_alone(resolve(spec, 0), [1e-3 * wave for wave in waves], reference)  # quiet: what is added is seen


def test_a_fingerprint_follows_weights_and_settings_alone(saved, tmp_path):
    model, spec = saved("hubert")
    before = resolve(spec, 0)
    assert resolve(spec, 1).fingerprint == before.fingerprint
    settings = tmp_path / "hubert" / "preprocessor_config.json"
    settings.write_text(json.dumps({"do_normalize": True}))
    assert resolve(spec, 0).fingerprint != before.fingerprint
    settings.unlink()
    config = tmp_path / "hubert" / "config.json"
    text = config.read_text()
    config.write_text(json.dumps(json.loads(text) | {"num_attention_heads": 2}))
    assert resolve(spec, 0).fingerprint != before.fingerprint
    config.write_text(text)
    with torch.no_grad():
        model.encoder.layers[1].final_layer_norm.bias[3] += 1e-3
    model.save_pretrained(tmp_path / "hubert")
    assert resolve(spec, 0).fingerprint != before.fingerprint


def test_weights_in_half_precision_and_with_old_names_are_taken(
    saved, tmp_path, waves, assert_each_alone, hugging_face_states
):
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
    assert_each_alone(upstream, waves, lambda wave: hugging_face_states(model, wave))
    assert not upstream.dims.mask_vector
    with pytest.raises(ValueError, match="no mask vector"):
        upstream.encode(waves[0][None], torch.tensor([8_000]), masked=torch.ones(1, 24, dtype=torch.bool))


def test_weights_in_shards_and_in_the_older_file_are_taken(saved, tmp_path):
    model, spec = saved("hubert")
    folder, before = tmp_path / "hubert", resolve(spec, 0).fingerprint
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="30KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1 and resolve(spec, 0).fingerprint == before
    shards[0].unlink()
    with pytest.raises(
        UpstreamError, match=r"cannot load .*no model-00001-of.*which model.safetensors.index.json names"
    ):
        resolve(spec, 0)
    index = folder / "model.safetensors.index.json"
    for names in ({"a": "../model.safetensors"}, {"a": "/model.safetensors"}, {}):
        index.write_text(json.dumps({"weight_map": names}))
        with pytest.raises(UpstreamError, match="expected names of safetensors files beside it"):
            resolve(spec, 0)
    index.unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert resolve(spec, 0).fingerprint == before


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "hubert",
            {"hidden_act": "relu"},
            "has hidden_act 'relu', which our networks lack: expected hidden_act 'gelu'",
        ),
        ("hubert", {"feat_extract_activation": "relu"}, "feat_extract_activation 'relu'"),
        ("hubert", {"conv_pos_batch_norm": True}, "has conv_pos_batch_norm True"),
        ("hubert", {"layer_norm_eps": 1e-6}, "has layer_norm_eps 1e-06"),
        ("wav2vec2", {"add_adapter": True}, "has add_adapter True"),
        ("wav2vec2-large", {"adapter_attn_dim": 16}, "has adapter_attn_dim 16"),
        ("wavlm", {"num_buckets": 32, "max_bucket_distance": 80}, "has num_buckets 32, max_bucket_distance 80"),
        ("hubert", {"conv_stride": (5, 2, 2, 2, 2, 2, 1)}, "sizes that make no network: stem strides"),
    ],
)
def test_what_our_networks_lack_is_named(name, settings, message, saved):
    _, spec = saved(name, **settings)
    with pytest.raises(UpstreamError, match=message) as caught:
        resolve(spec, 0)
    assert len(str(caught.value).splitlines()) == 1


def test_damaged_folders_are_named(saved, tmp_path):
    _, spec = saved("hubert")
    folder = tmp_path / "hubert"
    weights, config = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    content = load_file(weights)
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(UpstreamError, match=r"cannot read preprocessor_config.json"):
        resolve(spec, 0)
    (folder / "preprocessor_config.json").unlink()
    renamed = {key.replace("encoder.layers.1.", "encoder.layers.7."): value for key, value in content.items()}
    save_file(renamed, weights, {"format": "pt"})
    with pytest.raises(UpstreamError, match=r"lacks encoder.layers.1.\S+ and 15 more, has unknown encoder.layers.7."):
        resolve(spec, 0)
    weights.write_bytes(b"not safetensors")
    with pytest.raises(UpstreamError, match=r"cannot load .*save_pretrained"):
        resolve(spec, 0)
    weights.unlink()
    with pytest.raises(UpstreamError, match=r"cannot load .*no model.safetensors"):
        resolve(spec, 0)
    save_file(content, weights, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    with pytest.raises(UpstreamError, match=r"misshapen .*intermediate_dense.bias \(48,\), not \(40,\) and 5 more"):
        resolve(spec, 0)
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": "wide"}))
    with pytest.raises(UpstreamError, match=r"cannot use config.json"):
        resolve(spec, 0)
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "whisper"}))
    with pytest.raises(UpstreamError, match="model_type 'whisper': expected hubert or wav2vec2 or wavlm"):
        resolve(spec, 0)
    (folder / "config.json").write_text("{")
    with pytest.raises(UpstreamError, match=r"cannot read config.json"):
        resolve(spec, 0)


def test_no_network_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UpstreamError, match="cannot get no-such-owner/model from Hugging Face") as caught:
        resolve("hf:no-such-owner/model", 0)
    assert len(str(caught.value).splitlines()) == 1
