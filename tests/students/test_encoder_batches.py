"""What the encoder promises of batches: padding changes nothing, frames follow the closed form, misuse is refused."""

from dataclasses import replace

import pytest
import torch

from students.dims import Dims
from students.presets import NETWORKS, hubert_base, starhubert, wide_stem

GATED = Dims(wide_stem(16), 32, 2, 4, 48, 16, 4, projection=True, gated_position=True)
MINI = {dims: name for name, preset in NETWORKS.items() if (dims := preset().mini)}  # each size once
SIZES = {name: dims for dims, name in MINI.items()} | {
    "wavlm": GATED,
    "wavlm-large": replace(GATED, stem_norm="layer", pre_norm=True, stem_bias=True),
    "pruned": replace(GATED, gated_position=False, sizes=((3, 20), (0, 48)), stem_scale=True),
    "softmax-twice": replace(GATED, gated_position=False, reuse=(2,), softmax_twice=True),
}
# Frames of the 32 profiling utterances (model-zoo.md 1).
PROFILING_FRAMES = """
    20560 64 34560 107 38480 120 42560 132 45600 142 48720 152 52000 162 55120 172
    59120 184 62720 195 66400 207 71200 222 75200 234 78640 245 82800 258 87520 273
    92720 289 98560 307 104400 326 111120 347 118480 370 125040 390 132720 414 142640 445
    154000 481 166720 520 180880 565 197920 618 217920 680 239280 747 268160 837 326000 1018
"""


@pytest.fixture(params=list(SIZES))
def dims(request) -> Dims:
    return SIZES[request.param]


def contents(encoded, row, step):
    """Everything valid that an encoder says of one row; step: frames of the stem to one of the layers."""
    frames = int(encoded.frames[row])
    yield encoded.projected[row, : frames * step]
    yield from (state[row, :frames] for state in encoded.states)
    yield from (attention[row, :, :frames, :frames] for attention in encoded.maps)
    yield from (prediction[row, : frames * step] for prediction in encoded.predictions.values())


@torch.no_grad()
def test_padded_batch_equals_each_utterance_alone(dims, random_encoder):
    encoder = random_encoder(dims).double()
    lengths = [9000, 16_000, 801, 5000]
    waves = torch.zeros(4, 17_000, dtype=torch.float64)
    for wave, samples in zip(waves, lengths, strict=True):
        wave[:samples] = torch.randn(samples, dtype=torch.float64)
    together = encoder(waves, torch.tensor(lengths), with_maps=True)
    assert together.frames.tolist() == [frames // dims.reduction for frames in (27, 49, 2, 15)]
    longest = 49 // dims.reduction
    assert all(state.shape == (4, longest, dims.width) for state in together.states)
    assert all(attention.shape[2:] == (longest, longest) for attention in together.maps)
    for row, samples in enumerate(lengths):
        alone = encoder(waves[row : row + 1, :samples], torch.tensor([samples]), with_maps=True)
        pairs = zip(contents(together, row, dims.reduction), contents(alone, 0, dims.reduction), strict=True)
        for found, expected in pairs:
            assert (found - expected).norm() < 1e-12 * expected.norm()
        for attention in contents(together, row, dims.reduction):
            assert attention.isfinite().all()


@torch.no_grad()
def test_attention_to_padding_is_zero(dims, random_encoder):
    encoder = random_encoder(replace(dims, softmax_twice=False))
    encoded = encoder(torch.randn(2, 9000), torch.tensor([5000, 9000]), with_maps=True)
    frames = int(encoded.frames[0])
    assert len(encoded.maps) == sum(dims.layer(number).heads > 0 for number in range(1, dims.layers + 1))
    for attention in encoded.maps:
        assert not attention[0, ..., frames:].any()
        torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))


@pytest.mark.parametrize("lengths", [[5000, 9000], [5000, 5000]], ids=["different", "equal"])
@torch.no_grad()
def test_samples_past_an_utterance_do_not_matter(dims, lengths, random_encoder):
    encoder = random_encoder(dims)
    quiet = torch.zeros(2, 9000)
    loud = torch.full((2, 9000), torch.nan)
    for index, samples in enumerate(lengths):
        quiet[index, :samples] = loud[index, :samples] = torch.randn(samples)
    expected, found = encoder(quiet, torch.tensor(lengths)), encoder(loud, torch.tensor(lengths))
    for row in range(2):
        pairs = zip(contents(found, row, dims.reduction), contents(expected, row, dims.reduction), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_gradients_of_padding_are_zero(dims, random_encoder):
    encoder = random_encoder(dims)
    waves = torch.randn(2, 9000, requires_grad=True)
    encoded = encoder(waves, torch.tensor([5000, 9000]), with_maps=True)
    sum(part.square().sum() for part in contents(encoded, 0, dims.reduction)).backward()
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


@torch.no_grad()
def test_frames_are_those_of_the_built_stem(dims, random_encoder):
    encoder = random_encoder(dims)
    for samples in (720, 1039, 1040, 1041, 5000):
        encoded = encoder(torch.randn(1, samples), torch.tensor([samples]))
        assert encoded.frames.tolist() == [encoded.states[0].shape[1]] == [dims.frames(samples) // dims.reduction]


@pytest.mark.parametrize(("samples", "lengths"), [(800, [800, 399]), (800, [801, 800]), (300, [300])])
def test_lengths_without_a_frame_or_beyond_the_waveforms_are_refused(dims, samples, lengths, random_encoder):
    encoder = random_encoder(dims)
    with pytest.raises(ValueError, match=f"lengths are {min(lengths)} to {max(lengths)} samples; expected at least"):
        encoder(torch.zeros(len(lengths), samples), torch.tensor(lengths))


def test_an_utterance_of_one_frame_is_too_short_for_a_reduction(random_encoder):
    with pytest.raises(ValueError, match="lengths are 719 to 719 samples"):
        random_encoder(SIZES["fithubert"])(torch.zeros(1, 719), torch.tensor([719]))
