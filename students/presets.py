"""Every network by name: a few literal numbers over the shared blocks (model-zoo.md 3)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from students.dims import Dims, Stem

Size = Literal["paper", "mini"]
# What an upstream shows: all states, the layers' outputs, the projected features before them, or what heads predict.
Exposes = Literal["states", "layers", "projected and layers", "predictions", "last prediction"]


@dataclass(frozen=True)
class Preset:
    """One network.

    paper, mini: its sizes as published and for the mini suite (None: there is none). exposes: see Exposes. teacher,
    objective: what it is distilled from and with, by name. copies: beginnings of the names of the weights that it takes
    over from its teacher before training. reconstructed: whether the sizes were inferred from a parameter count alone.
    The rest serves counting (model-zoo.md 2.2, 3.3). fused_attention: None where the published code computes attention
    step by step, else whether the fused call has attention dropout. pad_multiple: of frames in the published code.
    extra_parameters: what the printed number has beside the network itself.
    """

    name: str
    paper: Dims
    mini: Dims | None = None
    exposes: Exposes = "states"
    teacher: str = "hubert_base"
    objective: str = "star"
    copies: tuple[str, ...] = ()
    reconstructed: bool = False
    fused_attention: bool | None = None
    pad_multiple: int = 1
    extra_parameters: int = 0

    def dims_exist(self, size: Size) -> bool:
        """Whether there is a network of that size; all have a paper size."""
        return size == "paper" or self.mini is not None

    def dims(self, size: Size) -> Dims:
        """The sizes as published ("paper") or for the mini suite ("mini"). Raises ValueError where there is no mini."""
        found = {"paper": self.paper, "mini": self.mini}[size]
        if found is None:
            raise ValueError(f"{self.name} has no mini size: expected the paper size")
        return found


def wide_stem(channels: int) -> Stem:
    """HuBERT's stem: seven convolutions of equal width."""
    return ((channels, 10, 5), *((channels, 3, 2),) * 4, *((channels, 2, 2),) * 2)


def thin_stem(width: int, scale: int = 1) -> Stem:
    """The students' stem: narrow at the high frame rates, 1 x 1 convolutions where the width changes."""
    first, second = 128 // scale, 256 // scale
    return ((first, 10, 5), (second, 1, 1), *((second, 3, 2),) * 4, (width, 1, 1), *((width, 2, 2),) * 2)


_TEACHER_DROPOUT: dict[str, Any] = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "input_dropout": 0.1}
_DROPOUT: dict[str, Any] = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "ffn_dropout": 0.1, "input_dropout": 0.05}
# mini-hubert: every width of HuBERT Base divided by four, half the layers.
_MINI_POSITIONS: dict[str, Any] = {"pos_kernel": 32, "pos_groups": 4}


def _base(**changes: Any) -> Dims:
    return Dims(wide_stem(512), 768, 12, 12, 3072, projection=True, **_TEACHER_DROPOUT, **changes)


def _large(**changes: Any) -> Dims:
    return Dims(wide_stem(512), 1024, 24, 16, 4096, projection=True, stem_norm="layer", pre_norm=True, **changes)


def hubert_base() -> Preset:
    """HuBERT Base (arXiv 2106.07447). Mini: mini-hubert. Printed with projection, label table and mask vector."""
    mini = Dims(wide_stem(128), 192, 6, 3, 768, projection=True, mask_vector=True, **_MINI_POSITIONS)
    extra = 196_864 + 504 * 256 + 768
    return Preset("hubert_base", _base(), mini, fused_attention=True, extra_parameters=extra)


def hubert_large() -> Preset:
    """HuBERT Large (arXiv 2106.07447), printed with projection, label table and mask vector."""
    extra = 787_200 + 504 * 768 + 1024
    return Preset("hubert_large", _large(), fused_attention=False, extra_parameters=extra)


def wav2vec2_base() -> Preset:
    """wav2vec 2.0 Base (arXiv 2006.11477), printed with quantiser, its projection, final projection, mask vector."""
    extra = 410_240 + 65_792 + 196_864 + 768
    return Preset("wav2vec2_base", _base(), fused_attention=True, extra_parameters=extra)


def wav2vec2_large() -> Preset:
    """wav2vec 2.0 Large (arXiv 2006.11477): the sizes of HuBERT Large with attention dropout."""
    return Preset("wav2vec2_large", _large(), fused_attention=True, extra_parameters=317_380_864 - 315_434_112)


def wavlm_base() -> Preset:
    """WavLM Base (arXiv 2110.13900): HuBERT Base with gated relative positions; counted with its mask vector."""
    return Preset("wavlm_base", _base(gated_position=True), fused_attention=True, extra_parameters=768)


def wavlm_base_plus() -> Preset:
    """WavLM Base+ (arXiv 2110.13900): WavLM Base trained on more data."""
    return replace(wavlm_base(), name="wavlm_base_plus")


def wavlm_large() -> Preset:
    """WavLM Large (arXiv 2110.13900), counted with its mask vector."""
    return Preset("wavlm_large", _large(gated_position=True), fused_attention=False, extra_parameters=1024)


def lighthubert_small() -> Preset:
    """LightHuBERT a_small (arXiv 2203.15610): the sub-network of the paper's small supernet."""
    return _lighthubert("lighthubert_small", 384, 6)


def lighthubert_base() -> Preset:
    """LightHuBERT a_base (arXiv 2203.15610): the sub-network of the paper's base supernet."""
    return _lighthubert("lighthubert_base", 640, 10)


def lighthubert_stage1() -> Preset:
    """LightHuBERT after its first stage (arXiv 2203.15610): a student of its teacher's size, HuBERT Base's."""
    return _lighthubert("lighthubert_stage1", 768, 12)


def _lighthubert(name: str, width: int, heads: int) -> Preset:
    dims = Dims(
        wide_stem(512), width, 12, heads, 4 * width, projection=True, stem_norm="layer", mask_vector=True,
        predicted=(12,), prediction_width=768, prediction_bias=False,
    )  # fmt: skip
    # Counted with the supernet's wider mask vector, a plain positional convolution and no head.
    extra = (768 - width) - 128 - width * 768
    return Preset(name, dims, exposes="projected and layers", pad_multiple=2, extra_parameters=extra)


def _star(name: str, width: int, ffn: int, **changes: Any) -> Preset:
    """A size of the STaR network: thin stem, no projection, no heads. Mini: scaled to mini-hubert as the paper's is to
    HuBERT Base, its depth; trained for hundreds of steps, not hundreds of thousands, it underfits: no dropout."""
    return Preset(
        name,
        Dims(thin_stem(width), width, 12, 12, ffn, **_DROPOUT),
        Dims(thin_stem(width // 4, 4), width // 4, 6, 3, ffn // 4, **_MINI_POSITIONS),
        exposes="layers",
        **changes,
    )


def starhubert() -> Preset:
    """STaRHuBERT (arXiv 2312.09040)."""
    return _star("starhubert", 432, 976)


def starhubert_l() -> Preset:
    """STaRHuBERT-L (arXiv 2312.09040): of the two sizes that fit the parameters, the one that fits the MACs."""
    return _star("starhubert-l", 432, 1392)


def starhubert_s() -> Preset:
    """STaRHuBERT-S, reconstructed from its parameter count (model-zoo.md 3.5)."""
    return _star("starhubert-s", 336, 784, reconstructed=True)


def starhubert_xs() -> Preset:
    """STaRHuBERT-XS, reconstructed from its parameter count (model-zoo.md 3.5)."""
    return _star("starhubert-xs", 288, 504, reconstructed=True)


def starwavlm() -> Preset:
    """The network of STaRHuBERT with WavLM Base as its teacher."""
    return replace(starhubert(), name="starwavlm", teacher="wavlm_base")


def starwav2vec2() -> Preset:
    """The network of STaRHuBERT with wav2vec 2.0 Base as its teacher."""
    return replace(starhubert(), name="starwav2vec2", teacher="wav2vec2_base")


def _masked(name: str, width: int, ffn: int, reuse: bool) -> Preset:
    """A student of masking distillation: a head on every layer, whose predictions are its features."""
    heads: dict[str, Any] = {"mask_vector": True}
    paper: dict[str, Any] = {
        "predicted": tuple(range(1, 13)),
        "prediction_width": 768,
        "reuse": tuple(range(2, 13, 2)) if reuse else (),
    }
    mini: dict[str, Any] = {
        "predicted": tuple(range(1, 7)),
        "prediction_width": 192,
        "reuse": (2, 4, 6) if reuse else (),
    }
    return Preset(
        name,
        Dims(thin_stem(width), width, 12, 12, ffn, **paper, **heads, **_DROPOUT),
        Dims(thin_stem(width // 4, 4), width // 4, 6, 3, ffn // 4, **mini, **heads, **_MINI_POSITIONS),
        exposes="predictions",
        teacher="hf:facebook/hubert-base-ls960",  # torchaudio's files lack the mask vector
        objective="masking",
    )


def maskhubert() -> Preset:
    """MaskHuBERT (arXiv 2305.11685)."""
    return _masked("maskhubert", 480, 640, reuse=False)


def armhubert() -> Preset:
    """ARMHuBERT (arXiv 2305.11685): every second layer takes the attention map of the layer before it."""
    return _masked("armhubert", 480, 864, reuse=True)


def armhubert_s() -> Preset:
    """ARMHuBERT-S (arXiv 2305.11685)."""
    return _masked("armhubert-s", 432, 816, reuse=True)


def distilhubert() -> Preset:
    """DistilHuBERT (arXiv 2110.01900): two layers and the stem of its teacher. Mini: one layer, as the depth halves."""
    dropout: dict[str, Any] = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "ffn_dropout": 0.1}
    return Preset(
        "distilhubert",
        Dims(wide_stem(512), 768, 2, 12, 3072, projection=True, projection_norm=False, **dropout),
        Dims(wide_stem(128), 192, 1, 3, 768, projection=True, projection_norm=False, **_MINI_POSITIONS),
        exposes="projected and layers",
        objective="distilhubert",
        copies=("feature_extractor.", "feature_projection.", "encoder.pos_conv_embed.", "encoder.layers."),
        fused_attention=True,
    )


def fithubert() -> Preset:
    """FitHuBERT (arXiv 2207.00555): layers at half the frame rate; the last of its heads stays. Printed with a second
    upsampler that is never called."""
    heads: dict[str, Any] = {"projection": True, "reduction": 2}
    return Preset(
        "fithubert",
        Dims(thin_stem(512), 480, 12, 12, 480, predicted=(12,), prediction_width=768, **heads, **_DROPOUT),
        Dims(thin_stem(128, 4), 120, 6, 3, 120, predicted=(6,), prediction_width=192, **heads, **_MINI_POSITIONS),
        exposes="last prediction",
        objective="hint",
        extra_parameters=461_280,
    )


_STUDENTS = (
    starhubert, starhubert_l, starhubert_s, starhubert_xs, starwavlm, starwav2vec2, maskhubert, armhubert, armhubert_s,
    distilhubert, fithubert,
)  # fmt: skip
_TEACHERS = (hubert_base, hubert_large, wav2vec2_base, wav2vec2_large, wavlm_base, wavlm_base_plus, wavlm_large)
_OTHERS = (lighthubert_small, lighthubert_base, lighthubert_stage1)  # run by s3prl; active sub-networks are counted


def _by_name(presets: tuple[Callable[[], Preset], ...]) -> dict[str, Callable[[], Preset]]:
    return {preset().name: preset for preset in presets}


STUDENTS = _by_name(_STUDENTS)
TEACHERS = _by_name(_TEACHERS)
NETWORKS = STUDENTS | TEACHERS | _by_name(_OTHERS)
