"""Pretraining of the mini teacher: HuBERT's two iterations of masked prediction on synthetic speech.

Source: Hsu et al., "HuBERT", 2021 (arXiv 2106.07447): k-means units of MFCCs first, then k-means units of the first
model's own features; the second model starts afresh.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from harness import provenance
from harness.progress import Stages
from harness.run import alone
from harness.schedule import warmup_cosine
from harness.states import StateFile
from reports.records import write_bytes, write_text
from students.checkpoints import save_checkpoint
from students.encoder import SpeechEncoder
from students.presets import hubert_base
from tasks.audio import read_audio
from tasks.mini.pretraining import PretrainingCorpus, write_corpus

FRAME, RECEPTIVE_FIELD = 320, 400
CROP_FRAMES = 150
REPORT_EVERY, SAVE_EVERY = 50, 200  # updates
CROP_SAMPLES = CROP_FRAMES * FRAME + RECEPTIVE_FIELD - FRAME


@dataclass(frozen=True)
class PretrainSettings:
    """Everything that decides the result; times are for two CPU cores with bf16 units."""

    corpus: PretrainingCorpus = field(default_factory=PretrainingCorpus)
    units: tuple[int, int] = (100, 250)
    steps: tuple[int, int] = (1200, 3200)
    target_layer: int = 4  # of the first model; clustered for the second iteration
    batch: int = 16
    learning_rate: float = 1e-3
    warmup: float = 0.08
    weight_decay: float = 0.01
    clip: float = 10.0
    seed: int = 0


# Thousands of steps, not hundreds of thousands: the model underfits, so nothing is dropped.
_NO_DROPOUT = {
    "encoder_projection_dropout": 0.0,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_drop": 0.0,
}
_MASKING = {
    "mask_prob": 0.8,
    "mask_selection": "static",
    "mask_other": 0.0,
    "mask_length": 10,
    "no_mask_overlap": False,
    "mask_min_space": 1,
    "mask_channel_prob": 0.0,
    "mask_channel_selection": "static",
    "mask_channel_other": 0.0,
    "mask_channel_length": 10,
    "no_mask_channel_overlap": False,
    "mask_channel_min_space": 1,
    "skip_masked": False,
    "skip_nomask": True,
}


def build_model(units: int) -> nn.Module:
    """torchaudio's HuBERT pretraining model at mini size with a prediction head over `units` classes."""
    from torchaudio.models import hubert_pretrain_model

    dims = hubert_base().dims("mini")
    sizes = {
        "extractor_mode": "group_norm",
        "extractor_conv_layer_config": list(dims.stem),
        "extractor_conv_bias": False,
        "encoder_embed_dim": dims.width,
        "encoder_pos_conv_kernel": dims.pos_kernel,
        "encoder_pos_conv_groups": dims.pos_groups,
        "encoder_num_layers": dims.layers,
        "encoder_num_heads": dims.heads,
        "encoder_ff_interm_features": dims.ffn,
        "encoder_layer_norm_first": False,
    }
    settings: dict[str, Any] = {**sizes, **_NO_DROPOUT, **_MASKING}
    model = hubert_pretrain_model(**settings, num_classes=units, final_dim=64, feature_grad_mult=None)
    model.logit_generator = UnitPredictor(dims.width, 64, units)
    return model


class UnitPredictor(nn.Module):
    """HuBERT's prediction head, as one matrix product in fp32.

    Logits of the masked frames (masked, units): cosine between the projected frame and each unit's embedding over
    the temperature 0.1 (arXiv 2106.07447, equation 3). torchaudio's own head spreads a (units, frames, dim) tensor.
    """

    def __init__(self, dim: int, final_dim: int, units: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, final_dim)
        self.embeddings = nn.Parameter(torch.rand(units, final_dim))

    def forward(self, x: Tensor, _labels: Tensor, masked: Tensor, _unmasked: Tensor) -> tuple[Tensor, Tensor]:
        projected = nn.functional.normalize(self.project(x[masked]).float(), dim=-1)
        return projected @ nn.functional.normalize(self.embeddings, dim=-1).T / 0.1, masked


@dataclass
class Speech:
    """Utterances in memory with, for each, one unit per 20 ms frame."""

    waves: list[np.ndarray]
    units: list[np.ndarray]

    def crops(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A batch of random crops of equal length (count, CROP_SAMPLES) and their units (count, CROP_FRAMES)."""
        waves, units = [], []
        for i in rng.integers(len(self.waves), size=count):
            start = int(rng.integers(len(self.units[i]) - CROP_FRAMES + 1))
            waves.append(self.waves[i][start * FRAME :][:CROP_SAMPLES])
            units.append(self.units[i][start:][:CROP_FRAMES])
        return torch.from_numpy(np.stack(waves)).float(), torch.from_numpy(np.stack(units)).long()


def pretrain(
    out: Path, settings: PretrainSettings, log: Callable[[dict[str, Any]], None], tell: Callable[[str], None]
) -> nn.Module:
    """Write the corpus, run both iterations and return the second model in eval mode.

    A killed run goes on from its last checkpoint in the folder `out`; log receives one dict per report, tell a line
    about a checkpoint that cannot be used.
    """
    train_files, valid_files = write_corpus(out / "corpus", settings.corpus)
    train, valid = _load(train_files), _load(valid_files)
    model: nn.Module | None = None
    for iteration, units in enumerate(settings.units, start=1):
        features = _mfcc if model is None else _layer_features(model, settings.target_layer)
        labelled = _label(train, valid, features, units, settings.seed, out / f"units-{iteration}.npz")
        torch.manual_seed(settings.seed + iteration)
        model = build_model(units)
        kept = StateFile(out / f"iteration-{iteration}.pt", asdict(settings), tell)
        _train(model, labelled, settings, iteration, kept, log)
    assert model is not None
    return model.eval()


def _load(files: list[Path]) -> list[np.ndarray]:
    waves = (read_audio(path).astype(np.float16) for path in files)
    return [wave for wave in waves if len(wave) >= CROP_SAMPLES]


def _label(
    train: list[np.ndarray],
    valid: list[np.ndarray],
    features: Callable[[np.ndarray], np.ndarray],
    units: int,
    seed: int,
    cache: Path,
) -> tuple[Speech, Speech]:
    """Cluster the training frames and label every frame; the result is kept in `cache`."""
    stored = _units_in(cache)
    if stored is None:
        from sklearn.cluster import MiniBatchKMeans

        frames = [features(wave.astype(np.float32)) for wave in train + valid]
        kmeans = MiniBatchKMeans(units, random_state=seed, batch_size=10_000, n_init=3, max_iter=30)
        kmeans.fit(np.concatenate(frames[: len(train)]))
        labels = [kmeans.predict(frame).astype(np.int16) for frame in frames]
        stored = np.concatenate(labels), np.array([len(label) for label in labels])
        content = BytesIO()
        np.savez(content, labels=stored[0], lengths=stored[1])
        write_bytes(cache, content.getvalue())
    split = np.split(stored[0], np.cumsum(stored[1])[:-1])
    return Speech(train, split[: len(train)]), Speech(valid, split[len(train) :])


def _units_in(cache: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Labels of all frames and the length of each utterance; None if they are not there, or damaged."""
    try:
        with np.load(BytesIO(cache.read_bytes())) as stored:
            return stored["labels"], stored["lengths"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _mfcc(wave: np.ndarray) -> np.ndarray:
    """13 MFCCs with first and second differences (frames, 39), one frame per 20 ms on the model's own grid."""
    from torchaudio.compliance.kaldi import mfcc
    from torchaudio.functional import compute_deltas

    static = mfcc(torch.from_numpy(wave)[None] * 32768, use_energy=False).T
    first = compute_deltas(static)
    full = torch.cat([static, first, compute_deltas(first)]).T
    full = (full - full.mean(0)) / (full.std(0) + 1e-5)
    return full[::2][: (len(wave) - RECEPTIVE_FIELD) // FRAME + 1].numpy()


def _layer_features(model: nn.Module, layer: int) -> Callable[[np.ndarray], np.ndarray]:
    """The given layer's output (frames, 192) of one utterance, in eval mode without masking."""
    encoder: Any = model.eval().wav2vec2

    @torch.inference_mode()
    def features(wave: np.ndarray) -> np.ndarray:
        states, _ = encoder.extract_features(torch.from_numpy(wave)[None], num_layers=layer)
        return states[-1][0].numpy()

    return features


def _train(
    model: nn.Module,
    speech: tuple[Speech, Speech],
    settings: PretrainSettings,
    iteration: int,
    kept: StateFile,
    log: Callable[[dict[str, Any]], None],
) -> None:
    """Masked prediction, resumed from the state that is kept every SAVE_EVERY updates."""
    (train, valid), steps = speech, settings.steps[iteration - 1]
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, (0.9, 0.98), 1e-6, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, steps, settings.warmup))
    first = 0
    if state := kept.read():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
    started = time.monotonic()
    for step in range(first, steps):
        rng = np.random.default_rng([settings.seed, iteration, step])
        torch.manual_seed(int(rng.integers(2**31)))
        loss, accuracy = masked_prediction(model.train(), *train.crops(settings.batch, rng))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        schedule.step()
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == steps:
            report = {"iteration": iteration, "step": step + 1, "loss": loss.item(), "accuracy": accuracy}
            report["valid_loss"], report["valid_accuracy"] = _validate(model, valid)
            log({**report, "seconds": round(time.monotonic() - started, 1)})
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            kept.write({**state, "schedule": schedule.state_dict()})


def masked_prediction(model: nn.Module, waves: Tensor, units: Tensor) -> tuple[Tensor, float]:
    """Cross-entropy over the masked frames only, and its accuracy (arXiv 2106.07447, equation 1 with alpha 1)."""
    with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
        logits, masked, _ = model(waves, units, None)
    targets = units[masked]
    accuracy = (logits.argmax(-1) == targets).float().mean().item()
    return nn.functional.cross_entropy(logits.float(), targets), accuracy


@torch.no_grad()
def _validate(model: nn.Module, valid: Speech) -> tuple[float, float]:
    """Loss and accuracy on 32 crops of held-out voices, the same crops and masks every time."""
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    loss, accuracy = masked_prediction(model.eval(), *valid.crops(32, np.random.default_rng(0)))
    torch.set_rng_state(generator_state)
    return loss.item(), accuracy


def to_encoder(model: nn.Module) -> SpeechEncoder:
    """The pretrained network without its prediction head, in our own blocks, in eval mode."""
    encoder = SpeechEncoder(hubert_base().dims("mini"))
    whole: Any = model
    renamed = {"masked_spec_embed": whole.mask_generator.mask_embedding.detach()}
    pretrained: Any = whole.wav2vec2
    for key, value in pretrained.state_dict().items():
        key = key.replace("encoder.transformer.", "encoder.").replace(
            "encoder.feature_projection.", "feature_projection."
        )
        renamed[key] = value
    encoder.load_state_dict(renamed)
    return encoder.eval()


def pretrain_to(out: Path, stages: Stages) -> Path:
    """Pretrain mini-hubert and write its checkpoint and learning curve; returns the checkpoint's folder."""
    settings = PretrainSettings()
    with (
        alone(out),
        (out / "curve.jsonl").open("a", encoding="utf-8") as curve,
        stages.stage("pretrain mini-hubert", sum(settings.steps)) as advance,
    ):

        def log(report: dict[str, Any]) -> None:
            curve.write(json.dumps(report) + "\n")
            curve.flush()
            advance(REPORT_EVERY)

        model = pretrain(out, settings, log, stages.say)
    _once(out / "curve.jsonl")
    history = {"settings": asdict(settings), "commit": provenance.commit()[0], "versions": provenance.versions()}
    save_checkpoint(out / "mini-hubert", to_encoder(model), "mini-hubert", "states", history, torch.float16)
    return out / "mini-hubert"


def _once(curve: Path) -> None:
    """Keep the last of the rows that a stopped and resumed run has reported twice."""
    rows = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    last = {(row["iteration"], row["step"]): row for row in rows}
    write_text(curve, "".join(json.dumps(last[key]) + "\n" for key in sorted(last)))
