"""KS: keyword spotting on Speech Commands v0.01 (superb-protocol 2.3)."""

from tasks.base import ProbeSettings, Task
from tasks.corpora.speech_commands import CLASSES, speech_commands
from tasks.metrics import accuracy

KS = Task(
    name="ks",
    title="Keyword spotting",
    corpus="Speech Commands v0.01",
    metric="acc",
    higher_is_better=True,
    head="pooled",
    batching="balanced",
    folds=speech_commands,
    score=accuracy,
    official=ProbeSettings(steps=200_000, batch=32, learning_rates=(1e-3, 1e-4), eval_every=5000),
    gain_db=-3.0,
    classes=CLASSES,
    differences=(
        "silence drawn from 1 s stretches at fixed starts, not at any sample",
        "dev accuracy is the expectation of the balanced draw, not one draw",
        "features without padding, computed once",
    ),
)
