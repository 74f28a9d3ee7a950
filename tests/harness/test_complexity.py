"""Counts against cases worked by hand and against traces, and what counting refuses."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness import complexity
from harness.complexity import (
    PROFILING_SAMPLES,
    ComplexityError,
    MacCount,
    count_network,
    macs,
    parameters,
    profile,
    superb_extra,
    traced_macs,
)
from students.dims import Dims
from students.encoded import Encoded
from students.encoder import SpeechEncoder
from students.presets import hubert_base, starhubert

ALL_SAMPLES = [samples for lengths in PROFILING_SAMPLES.values() for samples in lengths]

# 1605 samples: the first convolution gives (1605 - 10) // 5 + 1 = 320 frames, the second (320 - 4) // 64 + 1 = 5.
TOY = Dims(((2, 10, 5), (3, 4, 64)), width=4, layers=2, heads=2, ffn=5, pos_kernel=2, pos_groups=2, projection=True)
TOY_SAMPLES = 1605
TOY_MACS = MacCount(
    conv=6520,  # 320 frames * kernel 10 * 1 * 2 + 5 frames * kernel 4 * 2 * 3 = 6400 + 120
    projection=60,  # 5 * 3 * 4
    positional=96,  # (5 + 1) positions * kernel 2 * 4 * 4 / 2 groups
    linear=1040,  # 2 layers * 5 * (query, key, value, output 4 * 4 * 4 + FFN 2 * 4 * 5) = 2 * 5 * 104
    attention=400,  # 2 layers * 2 products * 5 * 5 * 4
)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_profiling_samples_add_up_to_the_published_sums():
    assert {bucket: sum(lengths) for bucket, lengths in PROFILING_SAMPLES.items()} == {
        "short": 337_600,
        "medium": 583_600,
        "long": 925_680,
        "longer": 1_750_880,
    }
    assert all(len(lengths) == 8 for lengths in PROFILING_SAMPLES.values())
    frames = [hubert_base().paper.frames(samples) for samples in ALL_SAMPLES]
    assert (sum(frames), sum(n * n for n in frames)) == (11_223, 5_589_441)


def test_toy_encoder_counts_as_by_hand():
    assert macs(TOY, TOY_SAMPLES) == TOY_MACS
    assert macs(TOY, TOY_SAMPLES).total == 8116
    # stem 20 + 24, group norm 4, layer norm 6, projection 16, positional 16 + 4 + 2, layer norm 8,
    # 2 layers of attention 4 * (16 + 4), FFN 20 + 5 + 20 + 4, layer norms 16
    assert parameters(TOY) == 44 + 4 + 6 + 16 + 22 + 8 + 2 * (80 + 49 + 16)
    assert superb_extra(TOY, TOY_SAMPLES, True) == 2 * (4 * 5 * 4 + 4 * 2 * 25)
    assert superb_extra(TOY, TOY_SAMPLES, False) == 2 * (4 * 5 * 4 + 3 * 2 * 25)


def test_odd_positional_kernel_makes_no_extra_position():
    odd = Dims(TOY.stem, 4, 2, 2, 5, pos_kernel=3, pos_groups=2, projection=True)
    assert macs(odd, TOY_SAMPLES).positional == 5 * 3 * 4 * 4 // 2
    assert traced_macs(SpeechEncoder(odd), TOY_SAMPLES) == macs(odd, TOY_SAMPLES).total


def test_trace_of_the_toy_encoder_counts_as_by_hand():
    assert traced_macs(SpeechEncoder(TOY), TOY_SAMPLES) == 8116


# What changes about the toy, worked by hand: its MACs by part, and the values it has more than the toy.
TOY_VARIANTS = [
    # each layer: 5 frames * 2 heads * head width 2 * 8; 2 * (2 * 8 + 8 + 2) values and 320 buckets of 2 heads
    ({"gated_position": True}, {"linear": 1040 + 2 * 160}, 52 + 640),
    # one layer lacks query and key: 5 * 2 * 4 * 4, and one of its two products: 5 * 5 * 4
    ({"reuse": (2,)}, {"linear": 1040 - 160, "attention": 400 - 100}, -2 * (16 + 4)),
    # 2 frames for the layers; the reduction itself 2 * 2 * 4 * 4
    ({"reduction": 2}, {"linear": 2 * 2 * 104 + 64, "attention": 2 * 2 * 2 * 2 * 4}, 2 * 16 + 4),
    # two heads on 2 frames: upsampling 2 * 2 * 4 * 4, then 4 frames * 4 * 3
    (
        {"reduction": 2, "predicted": (1, 2), "prediction_width": 3},
        {"linear": 2 * 2 * 104 + 64, "attention": 64, "heads": 2 * (64 + 48)},
        36 + 2 * (36 + 15),
    ),
    ({"predicted": (2,), "prediction_width": 3, "prediction_bias": False}, {"heads": 5 * 4 * 3}, 12),
    # layer 1: one head of width 3 and no FFN, 5 * 4 * 4 * 3; layer 2: FFN alone, 5 * 2 * 4 * 5
    (
        {"head_width": 3, "sizes": ((1, 0), (0, 5))},
        {"linear": 240 + 200, "attention": 2 * 25 * 3},
        (4 * 4 * 3 + 3 * 3 + 4) - (80 + 49) - 80,
    ),
    ({"stem_norm": "layer", "pre_norm": True}, {}, 2 * 3),
    ({"stem_bias": True, "stem_scale": True}, {}, 2 + 3 + 3),
    ({"mask_vector": True, "projection_norm": False}, {}, 4 - 6),
]


@pytest.mark.parametrize(("changes", "parts", "more"), TOY_VARIANTS, ids=[str(list(row[0])) for row in TOY_VARIANTS])
def test_variants_of_the_toy_count_as_by_hand(changes, parts, more):
    dims, expected = replace(TOY, **changes), replace(TOY_MACS, **parts)
    assert macs(dims, TOY_SAMPLES) == expected
    assert parameters(dims) == parameters(TOY) + more
    encoder = SpeechEncoder(dims)
    assert traced_macs(encoder, TOY_SAMPLES) == expected.total
    assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters(TOY) + more


def test_padding_to_a_multiple_lengthens_the_transformer_alone():
    """6 frames instead of 5 for the layers, not for the projection, the positional convolution or a head."""
    dims = replace(TOY, predicted=(2,), prediction_width=3)
    expected = replace(TOY_MACS, linear=2 * 6 * 104, attention=2 * 2 * 6 * 6 * 4, heads=60)
    assert macs(dims, TOY_SAMPLES, pad_multiple=2) == expected


class Attending(nn.Module):
    """Attention of all samples to the first five, its two products either fused or written out."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.inner = nn.Linear(1, 6)

    def forward(self, waves: Tensor, lengths: Tensor) -> Encoded:
        x = self.inner(waves[..., None])
        query, key, value = x[..., :2], x[:, :5, :2], x[:, :5, 2:]
        if self.fused:
            return Encoded(x, [F.scaled_dot_product_attention(query, key, value)], lengths)
        return Encoded(x, [query @ key.transpose(1, 2) @ value], lengths)


def test_fused_attention_counts_as_its_two_products_do():
    assert traced_macs(Attending(True), 7) == traced_macs(Attending(False), 7) == 7 * 6 + 7 * 5 * (2 + 4)


class FastPath(nn.Module):
    """PyTorch's own attention, which has a fast path for inference, and a layer that only training uses."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 4)

    def forward(self, waves: Tensor, lengths: Tensor) -> Encoded:
        x = waves.unflatten(1, (-1, 4))
        x, _ = self.attention(x, x, x, need_weights=False)
        return Encoded(x, [self.head(x) if self.training else x], lengths)


def test_trace_sees_past_inference_fast_paths_and_training_layers():
    network = FastPath().train()
    with torch.no_grad():
        assert traced_macs(network, 12) == 4 * 3 * 4 * 4 + 2 * 3 * 3 * 4
    assert network.training


class Planted(SpeechEncoder):
    """An encoder with one batched product that no rule counts."""

    def forward(self, waves: Tensor, lengths: Tensor) -> Encoded:
        encoded = super().forward(waves, lengths)
        first = encoded.states[0]
        return replace(encoded, states=[*encoded.states, torch.baddbmm(first, first, torch.ones(1, 4, 4))])


def test_trace_refuses_an_operator_without_a_rule():
    with pytest.raises(ComplexityError, match=r"Planted: aten::baddbmm;"):
        traced_macs(Planted(TOY), TOY_SAMPLES)


def test_trace_is_silent(recwarn, caplog, capsys):
    traced_macs(SpeechEncoder(TOY), TOY_SAMPLES)
    assert (list(recwarn), caplog.records, capsys.readouterr()) == ([], [], ("", ""))


def test_row_carries_counts_and_reports_progress():
    preset, traced = starhubert(), []
    row = count_network("student", preset.mini, ("short",), traced.append)
    assert traced == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (row.name, row.convention, row.verified) == ("student", "strict", ("short",))
    assert row.macs == profile(preset.mini)
    assert row.total.total == sum(macs(preset.mini, samples).total for samples in ALL_SAMPLES)
    assert row.parameters == sum(value.numel() for value in SpeechEncoder(preset.mini).parameters())


def test_counting_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    count_network("toy", TOY, ("short",))
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_bucket_names_the_choices():
    with pytest.raises(ComplexityError, match="unknown buckets: tiny; choose from short, medium, long, longer"):
        count_network("toy", TOY, ("short", "tiny"))


@pytest.mark.parametrize("count", [macs, lambda dims, samples: superb_extra(dims, samples, True)])
def test_utterance_without_a_frame_is_refused(count):
    with pytest.raises(ComplexityError, match="399 samples are too short"):
        count(hubert_base().paper, 399)


def test_disagreement_on_parameters_is_an_error(monkeypatch):
    monkeypatch.setattr(complexity, "parameters", lambda dims: 391)
    with pytest.raises(ComplexityError, match="toy: parameters: the formula gives 391, the built network 390"):
        count_network("toy", TOY)


def test_disagreement_on_macs_is_an_error(monkeypatch):
    monkeypatch.setattr(complexity, "macs", lambda dims, samples: MacCount(conv=1))
    with pytest.raises(ComplexityError, match="toy: MACs for 20560 samples: the formula gives 1, the built network"):
        count_network("toy", TOY, ("short",))


def test_formulas_need_no_torch():
    code = "import sys, harness.complexity; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
