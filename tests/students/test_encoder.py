"""The encoder against torchaudio's and Hugging Face's with the same weights, and the properties it promises."""

import re

import pytest
import torch
from torch import Tensor, nn

from students.dims import Dims
from students.encoder import SpeechEncoder
from students.presets import hubert_base, starhubert, thin_stem, wide_stem

SIZES = {"hubert": hubert_base().mini, "starhubert": starhubert().mini}
# Frames of the 32 profiling utterances (model-zoo.md 1).
PROFILING_FRAMES = """
    20560 64 34560 107 38480 120 42560 132 45600 142 48720 152 52000 162 55120 172
    59120 184 62720 195 66400 207 71200 222 75200 234 78640 245 82800 258 87520 273
    92720 289 98560 307 104400 326 111120 347 118480 370 125040 390 132720 414 142640 445
    154000 481 166720 520 180880 565 197920 618 217920 680 239280 747 268160 837 326000 1018
"""


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=list(SIZES))
def dims(request) -> Dims:
    return SIZES[request.param]


def random_encoder(dims: Dims) -> SpeechEncoder:
    """An encoder in eval mode whose every parameter, biases and norms too, is away from its initial value."""
    encoder = SpeechEncoder(dims).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return encoder


def weights_with_projection(encoder: SpeechEncoder) -> dict[str, Tensor]:
    """The encoder's weights; an identity stands in for a projection that it lacks and the references always have."""
    weights = encoder.state_dict()
    if not encoder.dims.projection:
        weights["feature_projection.projection.weight"] = torch.eye(encoder.dims.width)
        weights["feature_projection.projection.bias"] = torch.zeros(encoder.dims.width)
    return weights


def torchaudio_twin(encoder: SpeechEncoder) -> nn.Module:
    from torchaudio.models import wav2vec2_model

    dims = encoder.dims
    twin = wav2vec2_model(
        extractor_mode="group_norm",
        extractor_conv_layer_config=list(dims.stem),
        extractor_conv_bias=False,
        encoder_embed_dim=dims.width,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=dims.pos_kernel,
        encoder_pos_conv_groups=dims.pos_groups,
        encoder_num_layers=dims.layers,
        encoder_num_heads=dims.heads,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=dims.ffn,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=False,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )
    renamed = {}
    for name, value in weights_with_projection(encoder).items():
        name = re.sub(r"^encoder\.", "encoder.transformer.", name)
        renamed[re.sub(r"^feature_projection\.", "encoder.feature_projection.", name)] = value
    twin.load_state_dict(renamed)
    return twin.eval()


def hugging_face_twin(encoder: SpeechEncoder) -> nn.Module:
    from transformers import HubertConfig, HubertModel

    dims = encoder.dims
    channels, kernels, strides = zip(*dims.stem, strict=True)
    config = HubertConfig(
        hidden_size=dims.width,
        num_hidden_layers=dims.layers,
        num_attention_heads=dims.heads,
        intermediate_size=dims.ffn,
        conv_dim=channels,
        conv_kernel=kernels,
        conv_stride=strides,
        conv_bias=False,
        num_feat_extract_layers=len(channels),
        num_conv_pos_embeddings=dims.pos_kernel,
        num_conv_pos_embedding_groups=dims.pos_groups,
        feat_extract_norm="group",
        do_stable_layer_norm=False,
    )
    twin = HubertModel(config)
    missing, unexpected = twin.load_state_dict(weights_with_projection(encoder), strict=False)
    assert (missing, unexpected) == (["masked_spec_embed"], [])
    return twin.eval()


@torch.no_grad()
def states_of(encoder: SpeechEncoder, waves: Tensor, lengths: list[int] | None = None) -> tuple[list[Tensor], Tensor]:
    return encoder(waves, torch.tensor(lengths or [waves.shape[1]] * len(waves)))


def test_layer_outputs_equal_torchaudio(dims):
    encoder = random_encoder(dims)
    twin = torchaudio_twin(encoder)
    for samples in (400, 5000, 16000):
        wave = torch.randn(1, samples)
        with torch.no_grad():
            expected, _ = twin.extract_features(wave)
        states, _ = states_of(encoder, wave)
        assert len(expected) == dims.layers
        torch.testing.assert_close(states[1:], expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_all_states_equal_hugging_face(dims):
    encoder = random_encoder(dims)
    twin = hugging_face_twin(encoder)
    for samples in (400, 5000, 16000):
        wave = torch.randn(1, samples)
        with torch.no_grad():
            expected = twin(wave, output_hidden_states=True).hidden_states
        states, _ = states_of(encoder, wave)
        torch.testing.assert_close(states, list(expected), rtol=0, atol=1e-5)


def test_padded_batch_equals_each_utterance_alone(dims):
    encoder = random_encoder(dims).double()
    lengths = [9000, 16000, 401, 5000]
    waves = torch.zeros(4, 17000, dtype=torch.float64)
    for wave, samples in zip(waves, lengths, strict=True):
        wave[:samples] = torch.randn(samples, dtype=torch.float64)
    states, frames = states_of(encoder, waves, lengths)
    assert frames.tolist() == [dims.frames(samples) for samples in lengths]
    assert all(state.shape == (4, dims.frames(16000), dims.width) for state in states)
    for index, samples in enumerate(lengths):
        alone, _ = states_of(encoder, waves[index : index + 1, :samples])
        for together, expected in zip(states, alone, strict=True):
            error = (together[index, : frames[index]] - expected[0]).norm() / expected.norm()
            assert error < 1e-12


@pytest.mark.parametrize("lengths", [[5000, 9000], [5000, 5000]], ids=["different", "equal"])
def test_samples_past_an_utterance_do_not_matter(dims, lengths):
    encoder = random_encoder(dims)
    quiet = torch.zeros(2, 9000)
    loud = torch.full((2, 9000), torch.nan)
    for index, samples in enumerate(lengths):
        quiet[index, :samples] = loud[index, :samples] = torch.randn(samples)
    expected, _ = states_of(encoder, quiet, lengths)
    states, frames = states_of(encoder, loud, lengths)
    for state, reference in zip(states, expected, strict=True):
        for index, count in enumerate(frames.tolist()):
            assert torch.equal(state[index, :count], reference[index, :count])


def test_gradients_of_padding_are_zero():
    encoder = random_encoder(SIZES["starhubert"])
    waves = torch.randn(2, 9000, requires_grad=True)
    states, frames = encoder(waves, torch.tensor([5000, 9000]))
    sum(state[0, : frames[0]].square().sum() for state in states).backward()
    assert waves.grad[0, :5000].abs().max() > 0
    assert not waves.grad[0, 5000:].any() and not waves.grad[1].any()


@pytest.mark.parametrize("dims", [hubert_base().paper, starhubert().paper], ids=["hubert", "starhubert"])
def test_frames_follow_the_closed_form(dims):
    for samples in range(0, 3000):
        assert dims.frames(samples) == max((samples - 80) // 320, 0)
    table = [int(word) for word in PROFILING_FRAMES.split()]
    assert len(table) == 64
    for samples, frames in zip(table[::2], table[1::2], strict=True):
        assert dims.frames(samples) == frames


def test_frames_are_those_of_the_built_stem(dims):
    encoder = random_encoder(dims)
    for samples in (400, 719, 720, 721, 5000):
        states, frames = states_of(encoder, torch.randn(1, samples))
        assert frames.tolist() == [states[0].shape[1]] == [dims.frames(samples)]


def test_dims_tell_all_problems_at_once():
    with pytest.raises(ValueError) as caught:
        Dims(((8, 10, 5),), width=30, layers=1, heads=4, ffn=8, pos_groups=16)
    message = str(caught.value)
    assert "width 30 is not a multiple of heads 4" in message
    assert "width 30 is not a multiple of pos_groups 16" in message
    assert "stem ends at 8 channels, width is 30, and no projection" in message
    assert "stem strides multiply to other than 320" in message


def test_dims_without_problems_pass():
    Dims(wide_stem(8), width=16, layers=1, heads=2, ffn=8, projection=True)
    Dims(thin_stem(16), width=16, layers=1, heads=2, ffn=8)


@pytest.mark.parametrize(("samples", "lengths"), [(800, [800, 399]), (800, [801, 800]), (300, [300])])
def test_lengths_without_a_frame_or_beyond_the_waveforms_are_refused(dims, samples, lengths):
    encoder = random_encoder(dims)
    with pytest.raises(ValueError, match=f"lengths are {min(lengths)} to {max(lengths)} samples; expected at least"):
        encoder(torch.zeros(len(lengths), samples), torch.tensor(lengths))
