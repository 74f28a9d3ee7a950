"""The official students' files, written by hand from model-zoo.md 5.3, against Hugging Face and a slow network."""

import math
from dataclasses import replace

import pytest
import torch
import yaml
from torch.nn import functional as F
from transformers import HubertConfig, HubertModel

from harness.complexity import parameters
from students.presets import STUDENTS
from students.resolve import resolve
from students.upstreams import UpstreamError

STEM = [(8, 10, 5), (12, 1, 1), *[(12, 3, 2)] * 4, (48, 1, 1), *[(48, 2, 2)] * 2]
STAR = {
    "extractor_mode": "default",
    "conv_feature_layers": "[(8, 10, 5)] + [(12, 1, 1)] + [(12, 3, 2)] * 4 + [(48, 1, 1)] + [(48, 2, 2)] * 2",
    "conv_bias": False,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "pos_conv_depth": 1,
    "encoder_layers": 4,
    "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 40,
    "encoder_attention_heads": 12,
    "activation_fn": "gelu",
    "layer_type": "transformer",
    "layer_norm_first": False,
    "crop_seq_to_multiple": 1,
    "required_seq_len_multiple": 1,
    "dropout": 0.1,
    "final_dim": 24,
}
MASK = STAR | {
    "layerwise_proj": True,
    "pred_head_final_dim": 24,
    "enable_tr_layer": False,
    "depthwise_conv_kernel_size": 31,
}
ARM = MASK | {"reuse_pattern": "[True, False, True, False]"}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def linear(name, before, after):
    return {f"{name}.weight": torch.randn(after, before) / before**0.5, f"{name}.bias": 0.1 * torch.randn(after)}


def norm(name, width):
    return {f"{name}.weight": 1 + 0.1 * torch.randn(width), f"{name}.bias": 0.1 * torch.randn(width)}


def student_weights(section, stem=STEM, reused=()):
    """The student's tensors in fairseq's names; reused: layers (from 0) without queries and keys."""
    width, ffn, last = section["encoder_embed_dim"], section["encoder_ffn_embed_dim"], stem[-1][0]
    weights, before = {}, 1
    for j, (channels, kernel, _) in enumerate(stem):
        own = f"feature_extractor.conv_layers.{j}"
        weights[f"{own}.0.weight"] = torch.randn(channels, before, kernel) * (2 / kernel / before) ** 0.5
        if section["conv_bias"]:
            weights[f"{own}.0.bias"] = 0.1 * torch.randn(channels)
        if section["extractor_mode"] == "layer_norm":
            weights |= norm(f"{own}.2.1", channels)
        elif j == 0:
            weights |= norm(f"{own}.2", channels)
        before = channels
    weights |= norm("layer_norm", last)
    if last != width:
        weights |= linear("post_extract_proj", last, width)
    kernel = section["conv_pos"]
    weights["encoder.pos_conv.0.weight_g"] = 1 + torch.rand(1, 1, kernel)
    weights["encoder.pos_conv.0.weight_v"] = torch.randn(width, width // section["conv_pos_groups"], kernel)
    weights["encoder.pos_conv.0.bias"] = 0.1 * torch.randn(width)
    weights |= norm("encoder.layer_norm", width)
    for i in range(section["encoder_layers"]):
        own = f"encoder.layers.{i}"
        for part in ("v_proj", "out_proj") if i in reused else ("q_proj", "k_proj", "v_proj", "out_proj"):
            weights |= linear(f"{own}.self_attn.{part}", width, width)
        weights |= norm(f"{own}.self_attn_layer_norm", width)
        weights |= linear(f"{own}.fc1", width, ffn) | linear(f"{own}.fc2", ffn, width)
        weights |= norm(f"{own}.final_layer_norm", width)
    return weights


def with_heads(weights, section):
    """MaskHuBERT and ARMHuBERT: a mask vector, and a head on every layer."""
    width, final = section["encoder_embed_dim"], section["pred_head_final_dim"]
    heads = [linear(f"proj_head.{i}.lin_proj", width, final) for i in range(section["encoder_layers"])]
    return weights | {"mask_emb": torch.rand(width)} | {key: value for head in heads for key, value in head.items()}


@pytest.fixture
def saved(tmp_path):
    def save(section, weights, **changes):
        """A Lightning checkpoint with the teacher beside the student, and its yaml; the name of the checkpoint."""
        state = {f"student_model.{key}": value for key, value in weights.items()}
        state["teacher_model.model.encoder.layer_norm.weight"] = torch.ones(768)
        content = {"epoch": 3, "state_dict": state, "hyper_parameters": {"cfg": {"train": {"gpus": 2}}}} | changes
        torch.save(content, tmp_path / "student.ckpt")
        (tmp_path / "student.yaml").write_text(yaml.safe_dump({"train": {"gpus": 2}, "distiller": section}))
        return str(tmp_path / "student.ckpt")

    return save


def huggingface(section, weights, stem=STEM):
    """Hugging Face's HuBERT with the student's weights, an identity for the projection that it lacks."""
    layer = section["extractor_mode"] == "layer_norm"
    config = HubertConfig(
        hidden_size=section["encoder_embed_dim"],
        num_hidden_layers=section["encoder_layers"],
        num_attention_heads=section["encoder_attention_heads"],
        intermediate_size=section["encoder_ffn_embed_dim"],
        conv_dim=tuple(channels for channels, _, _ in stem),
        conv_kernel=tuple(kernel for _, kernel, _ in stem),
        conv_stride=tuple(stride for _, _, stride in stem),
        conv_bias=section["conv_bias"],
        feat_extract_norm="layer" if layer else "group",
        num_conv_pos_embeddings=section["conv_pos"],
        num_conv_pos_embedding_groups=section["conv_pos_groups"],
    )
    width = section["encoder_embed_dim"]
    named = {"feature_projection.projection.weight": torch.eye(width), "masked_spec_embed": torch.zeros(width)}
    named["feature_projection.projection.bias"] = torch.zeros(width)
    tops = {
        "layer_norm": "feature_projection.layer_norm",
        "post_extract_proj": "feature_projection.projection",
        "encoder.layer_norm": "encoder.layer_norm",
    }
    inside = {
        "fc1": "feed_forward.intermediate_dense",
        "fc2": "feed_forward.output_dense",
        "self_attn_layer_norm": "layer_norm",
        "final_layer_norm": "final_layer_norm",
        **{f"self_attn.{part}_proj": f"attention.{part}_proj" for part in ("q", "k", "v", "out")},
    }
    for j in range(len(stem)):
        own = f"feature_extractor.conv_layers.{j}"
        tops |= {f"{own}.0": f"{own}.conv", f"{own}.2": f"{own}.layer_norm", f"{own}.2.1": f"{own}.layer_norm"}
    for i in range(section["encoder_layers"]):
        tops |= {f"encoder.layers.{i}.{old}": f"encoder.layers.{i}.{new}" for old, new in inside.items()}
    positions = "encoder.pos_conv_embed.conv"
    for key, value in weights.items():
        module, _, kind = key.rpartition(".")
        if module == "encoder.pos_conv.0":
            old = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
            named[f"{positions}.{old.get(kind, kind)}"] = value
        else:
            named[f"{tops[module]}.{kind}"] = value
    model = HubertModel(config)
    model.load_state_dict(named)
    return model.eval()


def outputs_of_layers(model):
    return lambda wave: list(model(wave, output_hidden_states=True).hidden_states[1:])


def slow_predictions(weights, heads, own_map, wave):
    """What the official code predicts from one waveform (1, samples), a head, a layer and a row of a map at a time."""
    x = wave[:, None]
    for j, (_, _, stride) in enumerate(STEM):
        x = F.conv1d(x, weights[f"feature_extractor.conv_layers.{j}.0.weight"], stride=stride)
        if j == 0:
            x = (x - x.mean(2, keepdim=True)) / (x.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
            own = "feature_extractor.conv_layers.0.2"
            x = x * weights[f"{own}.weight"][:, None] + weights[f"{own}.bias"][:, None]
        x = x * (1 + torch.erf(x / math.sqrt(2))) / 2
    x = normed(weights, "layer_norm", x[0].T)
    v, g = weights["encoder.pos_conv.0.weight_v"], weights["encoder.pos_conv.0.weight_g"]
    kernel = torch.stack([g[0, 0, k] * v[..., k] / v[..., k].norm() for k in range(v.shape[2])], 2)
    moved = F.conv1d(x.T[None], kernel, weights["encoder.pos_conv.0.bias"], padding=8, groups=4)[0, :, :-1].T
    x = normed(weights, "encoder.layer_norm", x + F.gelu(moved))
    predictions, maps = [], {}
    for i, computes in enumerate(own_map):
        own = f"encoder.layers.{i}"
        values = affine(weights, f"{own}.self_attn.v_proj", x).split(x.shape[1] // heads, 1)
        if computes:
            queries = affine(weights, f"{own}.self_attn.q_proj", x).split(x.shape[1] // heads, 1)
            keys = affine(weights, f"{own}.self_attn.k_proj", x).split(x.shape[1] // heads, 1)
        mixed = []
        for head in range(heads):
            rows = []
            for time in range(len(x)):
                if computes:
                    scores = torch.stack([queries[head][time] @ key for key in keys[head]]) / len(keys[head][0]) ** 0.5
                    maps[head, time] = scores.exp() / scores.exp().sum()
                    row = maps[head, time]
                else:  # the released code takes the softmax of what is a softmax already
                    row = maps[head, time].exp() / maps[head, time].exp().sum()
                rows.append(sum(weight * value for weight, value in zip(row, values[head], strict=True)))
            mixed.append(torch.stack(rows))
        attended = affine(weights, f"{own}.self_attn.out_proj", torch.cat(mixed, 1))
        x = normed(weights, f"{own}.self_attn_layer_norm", x + attended)
        fed = affine(weights, f"{own}.fc2", F.gelu(affine(weights, f"{own}.fc1", x)))
        x = normed(weights, f"{own}.final_layer_norm", x + fed)
        predictions.append(affine(weights, f"proj_head.{i}.lin_proj", x)[None])
    return predictions


def affine(weights, name, x):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def normed(weights, name, x):
    spread = (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    return (x - x.mean(1, keepdim=True)) / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]


@pytest.mark.parametrize("heads", [8, 12])
def test_star_gives_the_outputs_of_its_layers(saved, waves, assert_each_alone, heads) -> None:
    section = STAR | {"encoder_attention_heads": heads}
    weights = student_weights(section)
    upstream = resolve(saved(section, weights | linear("final_proj", 48, 24)), 0)
    assert upstream.states == tuple(f"output of layer {i}" for i in (1, 2, 3, 4))
    assert (upstream.name, upstream.kind, upstream.stride) == ("official:student.ckpt", "upstream", 320)
    assert upstream.parameters == sum(value.numel() for value in weights.values())
    assert_each_alone(upstream, waves, outputs_of_layers(huggingface(section, weights)))


def test_heads_decide_the_states(saved, waves) -> None:
    weights = student_weights(STAR)
    wave, length = waves[0][None], torch.tensor([8_000])
    twelve = resolve(saved(STAR, weights), 0)(wave, length)[0]
    eight = resolve(saved(STAR | {"encoder_attention_heads": 8}, weights), 0)(wave, length)[0]
    assert (twelve[-1] - eight[-1]).abs().max() > 1e-2


def test_layer_norm_stem_with_projection_and_new_weight_norm(saved, waves, assert_each_alone) -> None:
    section = STAR | {"extractor_mode": "layer_norm", "conv_bias": True, "encoder_embed_dim": 24}
    weights = student_weights(section)
    model = huggingface(section, weights)
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        value = weights.pop(f"encoder.pos_conv.0.{old}")
        weights[f"encoder.pos_conv.0.parametrizations.weight.{new}"] = value
    assert_each_alone(resolve(saved(section, weights), 0), waves, outputs_of_layers(model))


@pytest.mark.parametrize(
    ("section", "own_map"),
    [
        (MASK, (True, True, True, True)),
        (ARM, (True, False, True, False)),
        (ARM | {"reuse_pattern": "[True, False, False, True]"}, (True, False, False, True)),
    ],
)
def test_heads_predict_as_the_released_code_does(saved, waves, assert_each_alone, section, own_map) -> None:
    reused = [i for i, computes in enumerate(own_map) if not computes]
    weights = with_heads(student_weights(section, reused=reused), section)
    upstream = resolve(saved(section, weights), 0)
    assert upstream.states == tuple(f"prediction of layer {i}" for i in (1, 2, 3, 4)) and upstream.dim == 24
    assert upstream.dims.softmax_twice == bool(reused)
    short = [wave[: max(len(wave) // 3, 1_600)] for wave in waves]
    assert_each_alone(upstream, short, lambda wave: slow_predictions(weights, 12, own_map, wave))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "widths", "count"),
    [
        ("starhubert", (432, 976), 22_308_592),
        ("maskhubert", (480, 640), 26_635_840),
        ("armhubert-s", (432, 816), 22_394_080),
    ],
)
def test_published_sizes_are_those_of_the_presets(saved, name, widths, count) -> None:
    width, ffn = widths
    text = f"[(128, 10, 5)] + [(256, 1, 1)] + [(256, 3, 2)] * 4 + [({width}, 1, 1)] + [({width}, 2, 2)] * 2"
    section = (STAR if name == "starhubert" else MASK) | {
        "conv_feature_layers": text,
        "conv_pos": 128,
        "conv_pos_groups": 16,
        "encoder_layers": 12,
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": ffn,
    }
    reused = range(1, 12, 2) if name == "armhubert-s" else ()
    if reused:
        section["reuse_pattern"] = str([True, False] * 6)
    stem = [(128, 10, 5), (256, 1, 1), *[(256, 3, 2)] * 4, (width, 1, 1), *[(width, 2, 2)] * 2]
    weights = student_weights(section, stem, reused)
    if name != "starhubert":
        section["pred_head_final_dim"] = 768
        weights = with_heads(weights, section)
    assert len(weights) == {"starhubert": 210, "maskhubert": 235, "armhubert-s": 211}[name]
    single = {key: torch.zeros(1).expand(value.shape) for key, value in weights.items()}
    upstream = resolve(saved(section, single), 0)
    dropouts = dict.fromkeys(("hidden_dropout", "attention_dropout", "ffn_dropout", "input_dropout"), 0.0)
    assert upstream.dims == replace(STUDENTS[name]().paper, softmax_twice=bool(reused), **dropouts)
    assert upstream.parameters == parameters(upstream.dims) == count


def test_unknown_and_missing_fields_are_named(saved) -> None:
    section = {key: value for key, value in STAR.items() if key not in ("encoder_attention_heads", "conv_bias")}
    file = saved(section | {"temperature": 2, "zeroth_input": "x"}, student_weights(STAR))
    expected = "defaults for conv_bias False, encoder_attention_heads 12; passed over unknown fields: temperature, zero"
    with pytest.warns(UserWarning, match=expected):
        upstream = resolve(file, 0)
    assert upstream.dims.heads == 12


def test_the_yaml_may_have_another_name(saved, tmp_path) -> None:
    file = saved(STAR, student_weights(STAR))
    (tmp_path / "student.yaml").rename(tmp_path / "other.yml")
    beside = resolve(file, 0)
    (tmp_path / "more.yaml").write_text("distiller: {}")
    with pytest.raises(UpstreamError, match=r"more.yaml, other.yml beside .* type official:.*student.ckpt:FILE.yaml"):
        resolve(file, 0)
    assert resolve(f"official:{file}:{tmp_path / 'other.yml'}", 0).fingerprint == beside.fingerprint
    (tmp_path / "more.yaml").unlink()
    (tmp_path / "other.yml").unlink()
    with pytest.raises(UpstreamError, match="no yaml beside"):
        resolve(file, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distiller: [", "cannot read .*student.yaml: while parsing"),
        ("distiller: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("train: {}", "has no section distiller"),
        ("- 1", "has no section distiller"),
    ],
)
def test_wrong_yaml_is_refused(saved, tmp_path, text, message) -> None:
    file = saved(STAR, student_weights(STAR))
    (tmp_path / "student.yaml").write_text(text)
    with pytest.raises(UpstreamError, match=message):
        resolve(file, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_fn": "relu"}, "activation_fn is 'relu': only 'gelu' is supported"),
        ({"pos_conv_depth": 2, "layer_type": "conformer"}, "pos_conv_depth is 2: .*; layer_type is 'conformer': only"),
        ({"layer_norm_first": True}, "layer_norm_first is True"),
        ({"crop_seq_to_multiple": 2}, "crop_seq_to_multiple is 2"),
        ({"enable_tr_layer": True}, "enable_tr_layer is True: only False"),
        ({"layerwise_proj": None}, "layerwise_proj is False by default: only True"),
        ({"encoder_attention_heads": "12"}, "encoder_attention_heads is '12', expected int"),
        ({"encoder_attention_heads": 7}, "width 48 is not a multiple of heads 7"),
        ({"extractor_mode": "batch"}, "stem_norm is 'batch'"),
        ({"conv_feature_layers": "__import__('os').getcwd()"}, "Call is not allowed"),
        ({"reuse_pattern": "[True, 0, True, True]"}, "reuse_pattern is .* expected 4 times True or False"),
        ({"reuse_pattern": "[i for i in j]"}, "reuse_pattern is .* expected 4 times"),
        ({"reuse_pattern": "[False, True, True, True]"}, "reuse not 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(saved, change, message) -> None:
    section = {key: value for key, value in (MASK | change).items() if value is not None}
    file = saved(section, with_heads(student_weights(STAR), MASK))
    with pytest.raises(UpstreamError, match=message) as caught:
        resolve(file, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {}}, "holds 'NoneType' where weights are looked for"),
        ({"state_dict": {"student_model.x": 1}}, r"holds 'student_model\.x' where weights are looked for"),
        ({"state_dict": {"teacher_model.x": torch.ones(1)}}, r"no weights named student_model\.\*"),
    ],
)
def test_a_checkpoint_without_a_student_is_refused(tmp_path, content, message) -> None:
    torch.save(content, tmp_path / "student.ckpt")
    with pytest.raises(UpstreamError, match=message):
        resolve(str(tmp_path / "student.ckpt"), 0)


def test_weights_that_do_not_fit_are_named(saved) -> None:
    weights = student_weights(STAR)
    for name in ("layer_norm.bias", "encoder.layers.2.fc1.weight"):
        del weights[name]
    weights |= {"encoder.layers.9.fc1.bias": torch.zeros(40), "encoder.layer_norm.bias": torch.zeros(7)}
    with pytest.raises(UpstreamError) as caught:
        resolve(saved(STAR, weights), 0)
    assert (
        "lacks encoder.layers.2.feed_forward.intermediate_dense.weight, feature_projection.layer_norm.bias, "
        "has unknown encoder.layers.9.feed_forward.intermediate_dense.bias, "
        "has misshapen encoder.layer_norm.bias (7,), not (48,);" in str(caught.value)
    )


def test_weights_of_another_yaml_are_refused(saved) -> None:
    file = saved(STAR | {"encoder_layers": 3}, student_weights(STAR))
    with pytest.raises(
        UpstreamError, match=r"student\.ckpt with .*student\.yaml does not fit .* has unknown .* and 15 more"
    ):
        resolve(file, 0)
