"""Files in fairseq's layout: written by hand from Hugging Face's models, and by s3prl's own classes."""

import argparse
import re
import sys
from types import ModuleType

import pytest
import torch
from torch.nn import functional as F

from students.resolve import resolve
from students.upstreams import UpstreamError

SETTINGS = {
    "conv_feature_layers": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2",
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
}
LARGE = {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True}
GATED = {"relative_position_embedding": True, "gru_rel_pos": True, "num_buckets": 320, "max_distance": 800}
# model-zoo.md 5.3, from Hugging Face to fairseq.
NAMES = [
    (r"conv_layers\.(\d+)\.conv\.", r"conv_layers.\1.0."),
    (r"feature_projection\.layer_norm\.", "layer_norm."),
    (r"feature_projection\.projection\.", "post_extract_proj."),
    ("masked_spec_embed", "mask_emb"),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original0", "pos_conv.0.weight_g"),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original1", "pos_conv.0.weight_v"),
    (r"pos_conv_embed\.conv\.", "pos_conv.0."),
    (r"(layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"attention\.gru_rel_pos_linear", "self_attn.grep_linear"),
    (r"attention\.gru_rel_pos_const", "self_attn.grep_a"),
    (r"attention\.rel_attn_embed", "self_attn.relative_attention_bias"),
    (r"\.attention\.", ".self_attn."),
    (r"feed_forward\.intermediate_dense", "fc1"),
    (r"feed_forward\.output_dense", "fc2"),
]
LEFTOVERS = {
    "final_proj.weight": torch.zeros(8, 32),
    "label_embs_concat": torch.zeros(5, 8),
    "quantizer.vars": torch.zeros(1, 4, 4),
    "project_q.bias": torch.zeros(8),
}


def fairseq_weights(model, large):
    weights = {}
    for key, value in model.state_dict().items():
        key = re.sub(r"(conv_layers\.\d+)\.layer_norm\.", r"\1.2.1." if large else r"\1.2.", key)
        for pattern, name in NAMES:
            key = re.sub(pattern, name, key)
        weights[key] = value
    return weights | LEFTOVERS


class Dictionary:
    """Stands in for fairseq's dictionary of labels, which its HuBERT files hold."""

    def __init__(self) -> None:
        self.symbols = ["a", "b"]


@pytest.fixture
def fairseq_module(monkeypatch):
    for name in ("fairseq", "fairseq.data", "fairseq.data.dictionary"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(Dictionary, "__module__", "fairseq.data.dictionary")
    sys.modules["fairseq.data.dictionary"].Dictionary = Dictionary


def forms(settings, weights, normalise):
    """One model in every form of file."""
    task = {"normalize": normalise, "sample_rate": 16_000}
    flat = settings | task
    return {
        "toolkit": {"task_cfg": task, "model_cfg": settings, "model_weight": weights, "dictionaries_symbols": [["a"]]},
        "toolkit wav2vec 2.0": {"task_cfg": task, "model_cfg": settings, "model_weight": weights},
        "fairseq": {
            "args": None,
            "cfg": {"model": argparse.Namespace(**settings), "task": task, "common": {"seed": 1}},
            "model": weights,
            "task_state": {"dictionaries": [Dictionary()]},
        },
        "older fairseq": {"args": argparse.Namespace(arch="wav2vec2", **flat), "cfg": None, "model": weights},
        "flat": {"cfg": flat, "model": weights},
    }


@pytest.mark.parametrize("name", ["hubert", "hubert-large", "wav2vec2-large", "wavlm", "wavlm-large"])
def test_every_form_of_file_gives_the_states_of_the_model(
    name, hugging_face_model, hugging_face_states, fairseq_module, tmp_path, waves, assert_each_alone
):
    model, large = hugging_face_model(name), name.endswith("large")
    settings = SETTINGS | (LARGE if large else {}) | (GATED if name.startswith("wavlm") else {})
    file = tmp_path / "teacher.pt"
    fingerprints = set()
    for content in forms(settings, fairseq_weights(model, large), large).values():
        torch.save(content, file)
        upstream = resolve(str(file), 0)
        fingerprints.add(upstream.fingerprint)
    assert len(fingerprints) == 1
    assert (upstream.name, upstream.kind, upstream.dims.mask_vector) == ("teacher.pt", "upstream", True)

    def reference(wave):
        return hugging_face_states(model, F.layer_norm(wave, wave.shape) if large else wave)

    assert_each_alone(upstream, waves, reference)


def test_defaults_are_those_of_hubert_base(tmp_path):
    torch.save({"model_cfg": {"label_rate": 50}, "task_cfg": {}, "model_weight": {}}, tmp_path / "a.pt")
    with pytest.raises(UpstreamError, match=r"lacks .* and 209 more; expected the 210 weights"):  # 211 with mask_emb
        resolve(str(tmp_path / "a.pt"), 0)


class Config(dict):
    """A class that no loader knows."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"cfg": Config(), "model": {}}, r"holds a \S*test_fairseq.Config, which could run code: .*hf:OWNER/NAME"),
        ({"state_dict": {}, "config": {}}, r"holds state_dict, config, ...: expected model_weight with model_cfg"),
        ({"encoder.x": torch.zeros(1)}, r"for a state dict of torchaudio type torchaudio:BUNDLE:FILE"),
        ({"model": {}, "cfg": {"model": {"_name": "student_hubert"}}}, r"type s3prl:lighthubert_local:.*a.pt"),
        ({"model": {}, "cfg": {"model": {"w2v_path": "x.pt"}}}, "fine-tuned for recognition: expected a pretrained"),
        ({"model": [], "cfg": SETTINGS}, "holds 'list' where weights are looked for"),
        ({"model": {"a": 1}, "cfg": SETTINGS}, "holds 'a' where weights are looked for"),
        (
            {"model": {}, "cfg": SETTINGS | {"layer_type": "conformer"}},
            "layer_type 'conformer', which our networks lack",
        ),
        ({"model": {}, "cfg": SETTINGS | {"activation_fn": "relu"}}, "activation_fn 'relu'"),
        ({"model": {}, "cfg": SETTINGS | {"pos_conv_depth": 5}}, "pos_conv_depth 5"),
        ({"model": {}, "cfg": SETTINGS | GATED | {"max_distance": 1280}}, "max_distance 1280"),
        ({"model": {}, "cfg": SETTINGS | {"conv_feature_layers": "f()"}}, "conv_feature_layers 'f()': Call is not"),
        ({"model": {}, "cfg": SETTINGS | {"encoder_layers": "two"}}, "sizes that make no network"),
        ({"model": {}, "cfg": SETTINGS | {"extractor_mode": "batch"}}, "stem_norm is 'batch'"),
        ([1], "holds a list: expected a state dict or a checkpoint"),
    ],
)
def test_files_that_cannot_be_used_are_one_clear_line(content, message, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(UpstreamError, match=re.escape(message) if "f()" in message else message) as caught:
        resolve(str(tmp_path / "a.pt"), 0)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_of_something_else_is_named(tmp_path):
    (tmp_path / "a.pt").write_text("weights")
    with pytest.raises(UpstreamError, match=r"cannot read .*a.pt: .*expected a file written by torch.save"):
        resolve(str(tmp_path / "a.pt"), 0)


def s3prl_parts(family):
    """s3prl's class that reads a file, and its network of small random weights."""
    from s3prl.upstream.hubert import expert as hubert
    from s3prl.upstream.hubert import hubert_model
    from s3prl.upstream.wav2vec2 import expert as wav2vec2
    from s3prl.upstream.wav2vec2 import wav2vec2_model
    from s3prl.upstream.wavlm import WavLM as wavlm_model
    from s3prl.upstream.wavlm import expert as wavlm

    def make_hubert(settings):
        task = hubert_model.HubertPretrainingConfig(label_rate=50)
        return hubert_model.HubertModel(hubert_model.HubertConfig(**settings), task, [["a", "b"]])

    return {
        "hubert": (hubert.UpstreamExpert, make_hubert),
        "wav2vec2": (
            wav2vec2.UpstreamExpert,
            lambda settings: wav2vec2_model.Wav2Vec2Model(wav2vec2_model.Wav2Vec2Config(**settings)),
        ),
        "wavlm": (wavlm.UpstreamExpert, lambda settings: wavlm_model.WavLM(wavlm_model.WavLMConfig(settings))),
    }[family]


@pytest.mark.slow
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "wavlm"])
def test_s3prls_own_networks_give_the_same_states(family, large, shaken, tmp_path, waves, assert_each_alone):
    expert, make = s3prl_parts(family)
    settings = SETTINGS | (LARGE if large else {"extractor_mode": "default"})
    settings |= {
        "hubert": {"label_rate": 50},
        "wav2vec2": {"quantize_targets": True, "latent_vars": 4, "final_dim": 8},
        "wavlm": GATED | {"normalize": large},
    }[family]
    weights = shaken(make(settings)).state_dict()
    task = {"label_rate": 50, "normalize": large} if family == "hubert" else {"data": "", "normalize": large}
    toolkit = {"task_cfg": task, "model_cfg": settings, "model_weight": weights, "dictionaries_symbols": [["a", "b"]]}
    file = tmp_path / "converted.pt"
    torch.save({"cfg": settings, "model": weights} if family == "wavlm" else toolkit, file)
    theirs = expert(str(file)).eval()
    assert_each_alone(resolve(str(file), 0), waves, lambda wave: theirs([wave[0]])["hidden_states"])
