"""torchaudio's bundles in our network, against that library one utterance at a time."""

from urllib.error import URLError

import pytest
import torch
import torchaudio
from torch.nn import functional as F

from students.bundles import TEACHER_BUNDLES
from students.encoder import SpeechEncoder
from students.presets import TEACHERS
from students.resolve import resolve
from students.upstreams import UpstreamError, parameter_count

TINY = {
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
RELATIVE = {"encoder_num_buckets": 320, "encoder_max_distance": 800}
PRE_NORM = {"extractor_mode": "layer_norm", "encoder_layer_norm_first": True, "extractor_conv_bias": True}


def build(params):
    relative = RELATIVE.keys() <= params.keys()
    return (torchaudio.models.wavlm_model if relative else torchaudio.models.wav2vec2_model)(**params)


@pytest.fixture
def bundle(monkeypatch):
    def make(name, params, normalised=True, labels=()):
        """Put a bundle of this name among torchaudio's."""
        facts = {
            "_path": "tiny.pth",
            "_params": params,
            "_sample_rate": 16_000,
            "_normalize_waveform": normalised,
            "_model_type": "WavLM" if RELATIVE.keys() <= params.keys() else "Wav2Vec2",
        }
        pipelines = torchaudio.pipelines
        made = pipelines.Wav2Vec2ASRBundle(_labels=labels, **facts) if labels else pipelines.Wav2Vec2Bundle(**facts)
        monkeypatch.setattr(pipelines, name, made, raising=False)

    return make


@pytest.fixture
def download(monkeypatch):
    def serve(weights):
        def load(url, **options):
            assert options["weights_only"] is True
            if isinstance(weights, Exception):
                raise weights
            return dict(weights)

        monkeypatch.setattr("torchaudio.pipelines._wav2vec2.utils.load_state_dict_from_url", load)

    return serve


def obvious_states(module, wave):
    """Step by step from torchaudio's parts: what goes into layer 1, then each layer's output (protocol 1.1), the last
    after the final LayerNorm of the pre-norm design."""
    transformer = module.encoder.transformer
    x = module.encoder.feature_projection(module.feature_extractor(wave, None)[0])
    x = x + transformer.pos_conv_embed(x)
    if transformer.layer_norm_first:  # negated by torchaudio: true for the post-norm design
        x = transformer.layer_norm(x)
    states, bias = [x], None
    for layer in transformer.layers:
        x, bias = layer(x, None, bias)
        states.append(x)
    return states if transformer.layer_norm_first else [*states[:-1], transformer.layer_norm(x)]


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("settings", [{}, PRE_NORM, RELATIVE, PRE_NORM | RELATIVE])
def test_states_are_those_of_one_utterance_at_a_time(
    settings, normalise, bundle, shaken, tmp_path, waves, assert_each_alone
):
    bundle("TINY", TINY | settings, normalise)
    module = shaken(build(TINY | settings))
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    upstream = resolve(f"torchaudio:TINY:{tmp_path / 'weights.pt'}", 0)

    def reference(wave):
        return obvious_states(module, F.layer_norm(wave, wave.shape) if normalise else wave)

    quiet = [1e-2 * wave for wave in waves]  # what is added to the variance is seen
    assert_each_alone(upstream, quiet, reference)
    expected, _ = module(F.layer_norm(quiet[0], quiet[0].shape)[None] if normalise else quiet[0][None])
    found, _ = upstream(quiet[0][None], torch.tensor([len(quiet[0])]))
    torch.testing.assert_close(found[-1], expected, rtol=1e-5, atol=1e-5)
    assert upstream.parameters == sum(p.numel() for p in module.parameters())
    assert (upstream.name, upstream.kind, upstream.stride) == ("torchaudio:TINY:weights.pt", "upstream", 320)


@pytest.mark.parametrize(("name", "outputs"), [("TINY", None), ("TUNED", 8)])
def test_a_bundle_takes_a_file_or_the_download(name, outputs, bundle, download, shaken, tmp_path):
    bundle(name, TINY | {"aux_num_out": outputs}, labels=tuple("abcd") if outputs else ())
    weights = shaken(build(TINY | {"aux_num_out": outputs})).state_dict()
    torch.save(weights, tmp_path / "weights.pt")
    local = resolve(f"torchaudio:{name}:{tmp_path / 'weights.pt'}", 0)
    download(weights | ({"aux.weight": torch.zeros(9, 32), "aux.bias": torch.zeros(9)} if outputs else {}))
    fetched = resolve(f"torchaudio:{name}", 0)
    assert fetched.fingerprint == local.fingerprint
    assert (fetched.name, local.name) == (f"torchaudio:{name}", f"torchaudio:{name}:weights.pt")


def test_old_names_of_the_weight_norm_are_taken(bundle, download, shaken):
    bundle("TINY", TINY)
    weights = shaken(build(TINY)).state_dict()
    download(weights)
    before = resolve("torchaudio:TINY", 0).fingerprint
    norm = "encoder.transformer.pos_conv_embed.conv."
    weights[f"{norm}weight_g"] = weights.pop(f"{norm}parametrizations.weight.original0")
    weights[f"{norm}weight_v"] = weights.pop(f"{norm}parametrizations.weight.original1")
    download(weights)
    assert resolve("torchaudio:TINY", 0).fingerprint == before


def test_a_teachers_name_is_its_bundle(bundle, download, shaken):
    bundle("HUBERT_BASE", TINY)
    download(shaken(build(TINY)).state_dict())
    found, same = resolve("hubert_base", 0), resolve("torchaudio:HUBERT_BASE", 0)
    assert (found.name, found.fingerprint) == ("hubert_base", same.fingerprint)


@pytest.mark.parametrize("name", list(TEACHERS))
def test_bundles_have_the_sizes_of_their_presets(name):
    with torch.device("meta"):
        theirs = build(getattr(torchaudio.pipelines, TEACHER_BUNDLES[name])._params)
        ours = SpeechEncoder(TEACHERS[name]().paper)
    biases = 7 * 512 if name == "wav2vec2_large" else 0  # of the convolutions in the Libri-Light model
    assert parameter_count(theirs) == parameter_count(ours) + biases


def test_weights_that_cannot_be_used_are_named(bundle, download, tmp_path):
    bundle("TINY", TINY)
    file = tmp_path / "weights.pt"
    spec = f"torchaudio:TINY:{file}"
    torch.save(build(TINY | {"encoder_num_layers": 3}).state_dict(), file)
    with pytest.raises(
        UpstreamError, match=r"as torchaudio's TINY does not fit .*has unknown encoder.layers.2\.\S+ and"
    ):
        resolve(spec, 0)
    torch.save({"model": build(TINY).state_dict()}, file)
    with pytest.raises(UpstreamError, match="holds 'model' where weights are looked for"):
        resolve(spec, 0)
    torch.save(torch.zeros(3), file)
    with pytest.raises(UpstreamError, match="holds a Tensor: expected a state dict"):
        resolve(spec, 0)
    torch.save(torch.nn.Linear(2, 2), file)  # whole pickled objects could run code
    with pytest.raises(UpstreamError, match=r"holds a torch.nn.modules.linear.Linear, which could run code"):
        resolve(spec, 0)
    bundle("FAR", TINY | RELATIVE | {"encoder_max_distance": 1280})
    with pytest.raises(UpstreamError, match="FAR has encoder_max_distance 1280, which our networks lack"):
        download({})
        resolve("torchaudio:FAR", 0)
    download(URLError("no network"))
    for spec in ("torchaudio:HUBERT_BASE", "hubert_base"):
        with pytest.raises(
            UpstreamError, match=r"cannot download torchaudio's HUBERT_BASE: .*no network.*torchaudio:HUBERT_BASE:FILE"
        ) as caught:
            resolve(spec, 0)
        assert len(str(caught.value).splitlines()) == 1
