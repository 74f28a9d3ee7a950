"""The encoder against Hugging Face's and torchaudio's modules with the same weights."""

import re
from dataclasses import replace

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.models import wav2vec2_model, wavlm_model
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel

from students.dims import Dims
from students.encoder import SpeechEncoder
from students.presets import hubert_base, starhubert, wide_stem
from students.transformer import _position_buckets

POST = Dims(wide_stem(16), 32, 3, 4, 48, 16, 4, projection=True)
PRE = replace(POST, stem_norm="layer", pre_norm=True)
HUBERT, WAV2VEC2 = (HubertModel, HubertConfig), (Wav2Vec2Model, Wav2Vec2Config)
WAVLM = (WavLMModel, WavLMConfig)
# By name: Hugging Face's classes and the sizes.
VARIANTS = {
    "mini-hubert": (HUBERT, replace(hubert_base().dims("mini"), mask_vector=False)),
    "starhubert": (HUBERT, starhubert().dims("mini")),
    "hubert": (HUBERT, POST),
    "hubert-large": (HUBERT, PRE),
    "distilhubert": (HUBERT, replace(POST, projection_norm=False)),
    "lighthubert": (HUBERT, replace(POST, stem_norm="layer")),
    "wav2vec2": (WAV2VEC2, POST),
    "wav2vec2-large": (WAV2VEC2, replace(PRE, stem_bias=True)),
    "wavlm": (WAVLM, replace(POST, gated_position=True)),
    "wavlm-large": (WAVLM, replace(PRE, gated_position=True)),
}
SAMPLES = (400, 5000, 40_000)  # one frame, 15 and 124, more than WavLM tells apart one by one


@pytest.fixture(params=list(VARIANTS))
def variant(request):
    return VARIANTS[request.param]


def reference_weights(encoder: SpeechEncoder) -> dict[str, Tensor]:
    """The encoder's weights; an identity stands in for a projection that it lacks and the references always have."""
    weights = encoder.state_dict()
    if not encoder.dims.projection:
        weights["feature_projection.projection.weight"] = torch.eye(encoder.dims.width)
        weights["feature_projection.projection.bias"] = torch.zeros(encoder.dims.width)
    return weights


def hugging_face_twin(classes, dims: Dims, weights: dict[str, Tensor]) -> nn.Module:
    model_class, config_class = classes
    channels, kernels, strides = zip(*dims.stem, strict=True)
    config = config_class(
        hidden_size=dims.width,
        num_hidden_layers=dims.layers,
        num_attention_heads=dims.heads,
        intermediate_size=dims.ffn,
        conv_dim=channels,
        conv_kernel=kernels,
        conv_stride=strides,
        conv_bias=dims.stem_bias,
        num_feat_extract_layers=len(channels),
        num_conv_pos_embeddings=dims.pos_kernel,
        num_conv_pos_embedding_groups=dims.pos_groups,
        feat_extract_norm=dims.stem_norm,
        feat_proj_layer_norm=dims.projection_norm,
        do_stable_layer_norm=dims.pre_norm,
        mask_time_prob=0.05 if dims.mask_vector else 0.0,
        attn_implementation="eager",
    )
    twin = model_class(config)
    twin.load_state_dict(weights)
    return twin.eval()


def torchaudio_twin(encoder: SpeechEncoder) -> nn.Module:
    dims = encoder.dims
    settings = {
        "extractor_mode": f"{dims.stem_norm}_norm",
        "extractor_conv_layer_config": list(dims.stem),
        "extractor_conv_bias": dims.stem_bias,
        "encoder_embed_dim": dims.width,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": dims.pos_kernel,
        "encoder_pos_conv_groups": dims.pos_groups,
        "encoder_num_layers": dims.layers,
        "encoder_num_heads": dims.heads,
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": dims.ffn,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": dims.pre_norm,
        "encoder_layer_drop": 0.0,
        "aux_num_out": None,
    }
    gated = {"encoder_num_buckets": 320, "encoder_max_distance": 800}
    twin = wavlm_model(**settings, **gated) if dims.gated_position else wav2vec2_model(**settings)
    renamed = {}
    for name, value in reference_weights(encoder).items():
        name = re.sub(r"^encoder\.", "encoder.transformer.", name)
        renamed[re.sub(r"^feature_projection\.", "encoder.feature_projection.", name)] = value
    for name in [name for name in renamed if dims.gated_position and ".attention.q_proj." in name]:
        parts = [renamed.pop(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        renamed[name.replace(".q_proj.", ".attention.in_proj_")] = torch.cat(parts)
        out = name.replace(".q_proj.", ".out_proj.")
        renamed[out.replace(".out_proj.", ".attention.out_proj.")] = renamed.pop(out)
    twin.load_state_dict(renamed)
    return twin.eval()


@torch.no_grad()
def encoded(encoder: SpeechEncoder, wave: Tensor, **options):
    return encoder(wave, torch.tensor([wave.shape[1]] * len(wave)), **options)


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_states_and_maps_equal_hugging_face(variant, random_encoder):
    classes, dims = variant
    encoder = random_encoder(dims)
    twin = hugging_face_twin(classes, dims, reference_weights(encoder))
    for samples in SAMPLES:
        wave = torch.randn(2, samples)
        with torch.no_grad():
            expected = twin(wave, output_hidden_states=True, output_attentions=True)
        found = encoded(encoder, wave, with_maps=True)
        assert_close(found.states[:-1], list(expected.hidden_states[:-1]))
        assert_close(found.states[-1], expected.last_hidden_state)
        maps = found.maps
        if classes == WAVLM:  # theirs are averaged over heads
            maps = [attention.mean(1, keepdim=True).expand_as(attention) for attention in maps]
        assert_close(maps, list(expected.attentions))


# torchaudio always has the LayerNorm before the projection.
@pytest.mark.parametrize("name", [name for name, (_, dims) in VARIANTS.items() if dims.projection_norm])
def test_layer_outputs_equal_torchaudio(name, random_encoder):
    _, dims = VARIANTS[name]
    encoder = random_encoder(dims)
    twin = torchaudio_twin(encoder)
    for samples in SAMPLES:
        wave = torch.randn(1, samples)
        with torch.no_grad():
            expected, _ = twin.extract_features(wave)
            last, _ = twin(wave)
        states = encoded(encoder, wave).states
        assert len(expected) == dims.layers
        assert_close(states[1:-1], expected[:-1])
        assert_close(states[-1], last)


def test_last_state_of_a_pre_norm_network_is_normalised(random_encoder):
    encoder = random_encoder(PRE)
    norm = encoder.encoder.layer_norm
    last = (encoded(encoder, torch.randn(1, 5000)).states[-1] - norm.bias) / norm.weight
    assert_close(last.mean(-1), torch.zeros(1, 15))
    torch.testing.assert_close(last.var(-1, correction=0), torch.ones(1, 15), rtol=0, atol=1e-3)


def test_maps_asked_for_change_nothing(variant, random_encoder):
    encoder = random_encoder(variant[1]).double()
    wave = torch.randn(2, 9000, dtype=torch.float64)
    fused, spelled = encoded(encoder, wave), encoded(encoder, wave, with_maps=True)
    assert not fused.maps and len(spelled.maps) == encoder.dims.layers
    for one, other in zip(fused.states, spelled.states, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("with_maps", [False, True])
def test_attention_is_fused_where_no_maps_are_asked_for(with_maps, random_encoder, monkeypatch):
    fused = []

    def counting(*arguments, original=F.scaled_dot_product_attention, **options):
        fused.append(arguments)
        return original(*arguments, **options)

    encoder = random_encoder(POST)
    monkeypatch.setattr(F, "scaled_dot_product_attention", counting)
    encoded(encoder, torch.randn(2, 9000), with_maps=with_maps)
    assert len(fused) == (0 if with_maps else POST.layers)


def test_projected_features_equal_hugging_face(variant, random_encoder):
    classes, dims = variant
    encoder = random_encoder(dims)
    twin = hugging_face_twin(classes, dims, reference_weights(encoder))
    wave = torch.randn(2, 5000)
    with torch.no_grad():
        expected = twin.feature_projection(twin.feature_extractor(wave).transpose(1, 2))
    assert_close(encoded(encoder, wave).projected, expected[0] if isinstance(expected, tuple) else expected)


@pytest.mark.parametrize(("classes", "dims"), [(HUBERT, POST), (WAV2VEC2, PRE)], ids=["post-norm", "pre-norm"])
def test_mask_vector_stands_in_for_the_masked_frames(classes, dims, random_encoder):
    dims = replace(dims, mask_vector=True)
    encoder = random_encoder(dims)
    twin = hugging_face_twin(classes, dims, reference_weights(encoder))
    wave, masked = torch.randn(2, 9000), torch.rand(2, 27) < 0.4
    with torch.no_grad():
        expected = twin(wave, mask_time_indices=masked, output_hidden_states=True)
    found = encoded(encoder, wave, masked=masked)
    assert_close([*found.states[:-1], found.states[-1]], [*expected.hidden_states[:-1], expected.last_hidden_state])
    plain = encoded(encoder, wave)
    assert torch.equal(found.projected, plain.projected)
    assert not torch.allclose(found.states[0], plain.states[0])


def test_a_mask_without_a_mask_vector_is_refused(random_encoder):
    with pytest.raises(ValueError, match=r"no mask vector: expected one with Dims\.mask_vector"):
        encoded(random_encoder(POST), torch.randn(1, 9000), masked=torch.zeros(1, 27, dtype=torch.bool))


@pytest.mark.parametrize("heads_kept", [(2, 0, 4), (1, 3, 0)])
def test_pruned_layers_equal_full_layers_whose_pruned_units_are_zero(heads_kept, random_encoder):
    ffn_kept = (48, 20, 0)
    pruned = replace(POST, sizes=tuple(zip(heads_kept, ffn_kept, strict=True)), stem_scale=True)
    encoder = random_encoder(pruned)
    weights = encoder.state_dict()
    scale = weights.pop("feature_extractor.scale")
    full = {key: torch.zeros_like(value) for key, value in SpeechEncoder(POST).state_dict().items()}
    for key, value in weights.items():
        full[key][tuple(slice(size) for size in value.shape)] = value
    twin = hugging_face_twin(HUBERT, POST, full)
    twin.feature_extractor.register_forward_hook(lambda module, inputs, output: output * scale[:, None])
    wave = torch.randn(2, 9000)
    with torch.no_grad():
        expected = twin(wave, output_hidden_states=True)
    found = encoded(encoder, wave, with_maps=True)
    assert_close(found.states, list(expected.hidden_states))
    assert [attention.shape[1] for attention in found.maps] == [heads for heads in heads_kept if heads]


def test_position_buckets_equal_wavlms_up_to_the_farthest():
    theirs = transformers.models.wavlm.modeling_wavlm.WavLMAttention(4, 1)
    place = torch.arange(1000)
    expected = theirs._relative_positions_bucket(place[None] - place[:, None])
    assert torch.equal(_position_buckets(1000, torch.device("cpu")), expected)
    assert expected.max() == 319
