"""DPHuBERT's released layout against torchaudio's unpruned models whose pruned parts are set to zero."""

import pytest
import torch
import torchaudio

from harness.complexity import macs, parameters, traced_macs
from students.resolve import resolve
from students.upstreams import PROJECTED, UpstreamError

CONVOLUTIONS = [(6, 10, 5), (10, 3, 2), (7, 3, 2), (8, 3, 2), (9, 3, 2), (8, 2, 2), (11, 2, 2)]
WIDTH, HEADS, HEAD_WIDTH, FFN, LAYERS = 32, 4, 8, 20, 3
ATTENDS, FEEDS = [True, False, True], [True, True, False]
KEPT_HEADS, KEPT_UNITS = [[0, 2, 3], [], [1]], [[*range(3, 16)], [*range(FFN)], []]
SHARED = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": CONVOLUTIONS,
    "extractor_conv_bias": False,
    "encoder_embed_dim": WIDTH,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": LAYERS,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.05,
    "aux_num_out": None,
}
PRUNED = SHARED | {
    "encoder_use_attention": ATTENDS,
    "encoder_use_feed_forward": FEEDS,
    "encoder_ff_interm_features": [len(units) for units in KEPT_UNITS],
    "normalize_waveform": False,
}
HUBERT = PRUNED | {"encoder_num_heads": [len(heads) for heads in KEPT_HEADS], "encoder_head_dim": HEAD_WIDTH}
RELATIVE = {"encoder_num_buckets": 320, "encoder_max_distance": 800}
WAVLM = PRUNED | RELATIVE | {"encoder_remaining_heads": KEPT_HEADS, "encoder_total_num_heads": [HEADS] * LAYERS}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def saved(tmp_path):
    def save(config, weights) -> str:
        content = {"state_dict": weights, "config": config, "distill_linear_projs": {"0.weight": torch.ones(1)}}
        torch.save(content, tmp_path / "pruned.pth")
        return f"dphubert:{tmp_path / 'pruned.pth'}"

    return save


def unpruned(config):
    factory = torchaudio.models.wavlm_model if config is WAVLM else torchaudio.models.wav2vec2_model
    extra = RELATIVE if config is WAVLM else {}
    model = factory(**SHARED, **extra, encoder_num_heads=HEADS, encoder_ff_interm_features=FFN)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def released(model, scale):
    """The state dict that the authors save: torchaudio's names, only what pruning left, the stem's scale beside it."""
    full, weights = model.state_dict(), {"feature_extractor.dummy_weight": scale}
    for key, value in full.items():
        if ".transformer.layers." not in key:
            for new, old in (
                ("parametrizations.weight.original0", "weight_g"),
                ("parametrizations.weight.original1", "weight_v"),
            ):
                key = key.replace(new, old)
            weights[key] = value.clone()
    for i in range(LAYERS):
        own = f"encoder.transformer.layers.{i}."
        rest = {key.removeprefix(own): value.clone() for key, value in full.items() if key.startswith(own)}
        if "attention.attention.in_proj_weight" in rest:  # torchaudio's WavLM joins the three
            for kind in ("weight", "bias"):
                parts = rest.pop(f"attention.attention.in_proj_{kind}").chunk(3)
                rest |= {f"attention.{name}_proj.{kind}": part for name, part in zip("qkv", parts, strict=True)}
                rest[f"attention.out_proj.{kind}"] = rest.pop(f"attention.attention.out_proj.{kind}")
        columns = [head * HEAD_WIDTH + place for head in KEPT_HEADS[i] for place in range(HEAD_WIDTH)]
        for name in "qkv":
            for kind in ("weight", "bias"):
                rest[f"attention.{name}_proj.{kind}"] = rest[f"attention.{name}_proj.{kind}"][columns]
        rest["attention.out_proj.weight"] = rest["attention.out_proj.weight"][:, columns]
        for kind in ("weight", "bias"):
            dense = f"feed_forward.intermediate_dense.{kind}"
            rest[dense] = rest[dense][KEPT_UNITS[i]]
        rest["feed_forward.output_dense.weight"] = rest["feed_forward.output_dense.weight"][:, KEPT_UNITS[i]]
        gone = ("attention.",) * (not ATTENDS[i]) + ("feed_forward.",) * (not FEEDS[i])
        weights |= {own + key: value for key, value in rest.items() if not key.startswith(gone)}
    return weights


def zeroed(model):
    """The unpruned model, every pruned head and unit without effect."""
    for i, layer in enumerate(model.encoder.transformer.layers):
        out = getattr(layer.attention, "attention", layer.attention).out_proj
        dense = layer.feed_forward.output_dense
        with torch.no_grad():
            for head in set(range(HEADS)) - set(KEPT_HEADS[i]):
                out.weight[:, head * HEAD_WIDTH : (head + 1) * HEAD_WIDTH] = 0.0
            for unit in set(range(FFN)) - set(KEPT_UNITS[i]):
                dense.weight[:, unit] = 0.0
            out.bias *= ATTENDS[i]
            dense.bias *= FEEDS[i]
    return model


@pytest.mark.parametrize("config", [HUBERT, WAVLM], ids=["hubert", "wavlm"])
@pytest.mark.parametrize("normalised", [False, True])
def test_pruned_network_gives_what_torchaudio_gives(saved, waves, assert_each_alone, config, normalised) -> None:
    model, scale = unpruned(config), 0.5 + torch.rand(11)
    upstream = resolve(saved(config | {"normalize_waveform": normalised}, released(model, scale)), 0)
    reference = zeroed(model)

    def states(wave):
        wave = torch.nn.functional.layer_norm(wave, wave.shape) if normalised else wave
        features = reference.feature_extractor(wave, None)[0] * scale
        return [reference.encoder.feature_projection(features), *reference.encoder.extract_features(features, None)]

    assert upstream.states == (PROJECTED, *(f"output of layer {i}" for i in (1, 2, 3)))
    assert (upstream.name, upstream.kind, upstream.dim) == ("dphubert:pruned.pth", "upstream", WIDTH)
    assert_each_alone(upstream, waves, states)


@pytest.mark.parametrize("config", [HUBERT, WAVLM], ids=["hubert", "wavlm"])
def test_formulas_hold_for_pruned_networks(saved, config) -> None:
    weights = released(unpruned(config), torch.ones(11))
    upstream = resolve(saved(config, weights), 0)
    held = sum(value.numel() for value in weights.values())
    assert upstream.parameters == parameters(upstream.dims) == held
    before = [1, *(channels for channels, _, _ in CONVOLUTIONS)]
    by_hand = sum(k * c_in * c_out for c_in, (c_out, k, _) in zip(before, CONVOLUTIONS, strict=False)) + 2 * 6
    by_hand += 11 + 2 * 11 + WIDTH * 11 + WIDTH + (16 * WIDTH * WIDTH // 4 + WIDTH + 16) + 2 * WIDTH
    for heads, units, attends, feeds in zip(KEPT_HEADS, KEPT_UNITS, ATTENDS, FEEDS, strict=True):
        wide = HEAD_WIDTH * len(heads)
        by_hand += (4 * WIDTH * wide + 3 * wide + WIDTH if attends else 0) + 4 * WIDTH
        by_hand += 2 * WIDTH * len(units) + len(units) + WIDTH if feeds else 0
        by_hand += 8 * HEAD_WIDTH + 8 + HEADS if attends and config is WAVLM else 0
    assert held == by_hand + (320 * HEADS if config is WAVLM else 0)
    assert macs(upstream.dims, 20_560).total == traced_macs(upstream.network, 20_560)


@pytest.mark.slow
def test_unpruned_size_is_the_published_one(saved) -> None:
    wide = {
        "extractor_conv_layer_config": [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2],
        "encoder_embed_dim": 768,
        "encoder_pos_conv_kernel": 128,
        "encoder_pos_conv_groups": 16,
        "encoder_num_layers": 12,
    }
    base = torchaudio.models.wav2vec2_model(**SHARED | wide, encoder_num_heads=12, encoder_ff_interm_features=3072)
    lists = {
        "encoder_use_attention": [True] * 12,
        "encoder_use_feed_forward": [True] * 12,
        "encoder_num_heads": [12] * 12,
        "encoder_head_dim": 64,
        "encoder_ff_interm_features": [3072] * 12,
    }
    weights = {key: torch.zeros(1).expand(value.shape) for key, value in base.state_dict().items()}
    upstream = resolve(saved(HUBERT | wide | lists, weights | {"feature_extractor.dummy_weight": torch.ones(512)}), 0)
    assert upstream.parameters == parameters(upstream.dims) == 94_371_456


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (
            HUBERT,
            {"encoder_head_dim": None, "normalize_waveform": None},
            "normalize_waveform is missing; .*_dim is miss",
        ),
        (HUBERT, {"encoder_num_heads": 4}, "encoder_num_heads is 4, expected list"),
        (HUBERT, {"encoder_layer_norm_first": True}, "encoder_layer_norm_first is True: only False"),
        (HUBERT, {"encoder_use_attention": [True]}, "have 1, 3, 3, 3 entries for 3 layers"),
        (HUBERT, {"encoder_head_dim": 0}, "by zero"),
        (HUBERT, {"extractor_mode": "batch"}, "stem_norm is 'batch'"),
        (HUBERT, {"extractor_conv_layer_config": [(4, 10)]}, "not enough values"),
        (HUBERT, {"extractor_conv_layer_config": [("4", 10, 320)]}, "'4' among heads, widths"),
        (WAVLM, {"encoder_num_buckets": 32}, "encoder_num_buckets is 32: only 320"),
        (WAVLM, {"encoder_total_num_heads": [4, 4, 2]}, r"encoder_total_num_heads is \[2, 4\]"),
        (WAVLM, {"encoder_use_attention": [False] * 3}, "attention in the first layer"),
        (WAVLM, {"encoder_remaining_heads": [[0, 0, 3], [], [1]]}, "kept_heads .* does not name the heads of sizes"),
        (WAVLM, {"encoder_remaining_heads": [[0, 2, 4], [], [1]]}, "kept_heads .* does not name the heads of sizes"),
    ],
)
def test_config_that_does_not_fit_is_refused(saved, config, change, message) -> None:
    changed = {key: value for key, value in (config | change).items() if value is not None or key == "aux_num_out"}
    with pytest.raises(UpstreamError, match=message) as caught:
        resolve(saved(changed, {}), 0)
    assert "\n" not in str(caught.value)


def test_unknown_fields_and_missing_weights_are_named(saved) -> None:
    weights = released(unpruned(HUBERT), torch.ones(11)) | {"aux.weight": torch.ones(1)}
    with pytest.warns(UserWarning, match="passed over unknown fields: mask_prob"):
        resolve(saved(HUBERT | {"mask_prob": 0.5}, weights), 0)
    del weights["feature_extractor.dummy_weight"]
    with pytest.raises(UpstreamError, match=r"lacks feature_extractor\.scale; expected"):
        resolve(saved(HUBERT, weights), 0)


def test_another_file_is_refused(tmp_path) -> None:
    torch.save({"model": {}, "cfg": {}}, tmp_path / "other.pt")
    with pytest.raises(UpstreamError, match="holds model, cfg: expected state_dict and config"):
        resolve(f"dphubert:{tmp_path / 'other.pt'}", 0)
