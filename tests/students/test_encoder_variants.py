"""The students' own layers against a version that computes one head of one utterance at a time."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from students.dims import Dims
from students.presets import STUDENTS, armhubert, fithubert, wide_stem

SMALL = Dims(wide_stem(16), 32, 4, 4, 48, 16, 4, projection=True)
VARIANTS = {
    "reuse": replace(SMALL, reuse=(2, 4)),
    "reuse-softmax-twice": replace(SMALL, reuse=(2, 4), softmax_twice=True),
    "reuse-in-a-row": replace(SMALL, reuse=(2, 3)),
    "reuse-in-a-row-softmax-twice": replace(SMALL, reuse=(2, 3), softmax_twice=True),
    "armhubert": armhubert().dims("mini"),
    "fithubert": fithubert().dims("mini"),
    "reduction-by-three": replace(SMALL, reduction=3, predicted=(2, 4), prediction_width=6, prediction_bias=False),
    "pruned": replace(SMALL, head_width=5, sizes=((3, 20), (0, 48), (1, 0), (0, 0))),
}


def plain_layer(dims: Dims, number: int, weights: dict[str, Tensor], x: Tensor, before: list[Tensor]):
    """One post-norm layer on x (frames, width): the output and each head's map; before: the maps to be reused."""
    w = {key.partition(f"layers.{number - 1}.")[2]: value for key, value in weights.items()}
    size, maps, mixed = dims.layer(number).head_width, [], torch.zeros_like(x)
    for head in range(dims.layer(number).heads):
        rows = slice(head * size, (head + 1) * size)
        if number in dims.reuse:
            scores = before[head] if dims.softmax_twice else before[head].log()
        else:
            query = x @ w["attention.q_proj.weight"][rows].T + w["attention.q_proj.bias"][rows]
            key = x @ w["attention.k_proj.weight"][rows].T + w["attention.k_proj.bias"][rows]
            scores = query @ key.T / size**0.5
        maps.append(scores.exp() / scores.exp().sum(1, keepdim=True))
        value = x @ w["attention.v_proj.weight"][rows].T + w["attention.v_proj.bias"][rows]
        mixed = mixed + maps[-1] @ value @ w["attention.out_proj.weight"][:, rows].T
    if maps:
        mixed = mixed + w["attention.out_proj.bias"]
    x = F.layer_norm(x + mixed, (dims.width,), w["layer_norm.weight"], w["layer_norm.bias"])
    inner = torch.zeros_like(x)
    if dims.layer(number).ffn:
        inner = F.gelu(x @ w["feed_forward.intermediate_dense.weight"].T + w["feed_forward.intermediate_dense.bias"])
        inner = inner @ w["feed_forward.output_dense.weight"].T + w["feed_forward.output_dense.bias"]
    x = F.layer_norm(x + inner, (dims.width,), w["final_layer_norm.weight"], w["final_layer_norm.bias"])
    return x, maps


def plain_input(dims: Dims, weights: dict[str, Tensor], projected: Tensor) -> Tensor:
    """What enters layer 1, from the projected features (frames, width) of one utterance."""
    gain, direction = (weights[f"encoder.pos_conv_embed.conv.parametrizations.weight.original{i}"] for i in (0, 1))
    kernel = gain * direction / direction.square().sum((0, 1), keepdim=True).sqrt()
    bias, half = weights["encoder.pos_conv_embed.conv.bias"], dims.pos_kernel // 2
    padded = F.pad(projected.T, (half, half - 1))
    x = projected + F.gelu(F.conv1d(padded, kernel, bias, groups=dims.pos_groups)).T
    x = F.layer_norm(x, (dims.width,), weights["encoder.layer_norm.weight"], weights["encoder.layer_norm.bias"])
    if dims.reduction == 1:
        return x
    kernel, bias = weights["encoder.reduction.conv.weight"], weights["encoder.reduction.conv.bias"]
    step = dims.reduction
    joined = [x[start : start + step] for start in range(0, len(x) - step + 1, step)]
    return torch.stack([sum(kernel[:, :, i] @ frame for i, frame in enumerate(part)) + bias for part in joined])


def plain_prediction(dims: Dims, weights: dict[str, Tensor], layer: int, x: Tensor) -> Tensor:
    """What the head of a layer says of its output x (frames, width)."""
    w = {key.partition(f"heads.{layer}.")[2]: value for key, value in weights.items()}
    if dims.reduction > 1:
        kernel, bias = w["upsampler.weight"], w["upsampler.bias"]
        x = torch.stack([frame @ kernel[:, :, i] + bias for frame in x for i in range(dims.reduction)])
    return x @ w["projection.weight"].T + w.get("projection.bias", 0.0)


@pytest.mark.parametrize("samples", [5000, 5320], ids=["15 frames", "16 frames"])
@pytest.mark.parametrize("dims", VARIANTS.values(), ids=VARIANTS.keys())
@torch.no_grad()
def test_layers_and_heads_equal_a_plain_version(dims, samples, random_encoder):
    encoder = random_encoder(dims).double()
    weights = encoder.state_dict()
    waves, lengths = torch.randn(2, samples, dtype=torch.float64), [samples] * 2
    projected = encoder.feature_projection(encoder.feature_extractor(waves, lengths))
    found = encoder(waves, torch.tensor(lengths), with_maps=True)
    for row in range(2):
        x = plain_input(dims, weights, projected[row])
        states, all_maps, own_maps = [x], [], []
        for number in range(1, dims.layers + 1):
            x, maps = plain_layer(dims, number, weights, x, own_maps)
            own_maps = own_maps if number in dims.reuse else maps
            states.append(x)
            all_maps += [torch.stack(maps)] if maps else []
        pairs = [*zip(found.states, states, strict=True), *zip(found.maps, all_maps, strict=True)]
        pairs += [(found.predictions[i], plain_prediction(dims, weights, i, states[i])) for i in dims.predicted]
        for batched, plain in pairs:
            torch.testing.assert_close(batched[row], plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("samples", "frames"), [(720, 1), (1039, 1), (1040, 1), (1360, 2), (5000, 7), (5320, 8)])
@torch.no_grad()
def test_fithuberts_heads_predict_at_the_teachers_rate(samples, frames, random_encoder):
    """One odd frame at the end is cut: 2 * floor(N / 2) predictions for N frames of the stem (model-zoo.md 2.1)."""
    encoder = random_encoder(fithubert().dims("mini"))
    encoded = encoder(torch.randn(1, samples), torch.tensor([samples]))
    assert encoded.frames.tolist() == [frames]
    assert {len(state[0]) for state in encoded.states} == {frames}
    assert [prediction.shape for prediction in encoded.predictions.values()] == [(1, 2 * frames, 192)]
    assert encoded.projected.shape[1] == 2 * frames


@pytest.mark.parametrize("name", STUDENTS)
def test_bare_networks_lack_heads_and_mask_vector_alone(name, random_encoder):
    dims = STUDENTS[name]().dims("mini")
    whole, bare = random_encoder(dims), random_encoder(dims.bare())
    lost = {key.split(".")[0] for key in whole.state_dict().keys() - bare.state_dict().keys()}
    assert lost == ({"heads"} if dims.predicted else set()) | ({"masked_spec_embed"} if dims.mask_vector else set())
