"""SID: speaker identification on VoxCeleb1 (superb-protocol 2.5)."""

from tasks.base import ProbeSettings, Task
from tasks.corpora.voxceleb import voxceleb1_identification
from tasks.metrics import accuracy

SID = Task(
    name="sid",
    title="Speaker identification",
    corpus="VoxCeleb1",
    metric="acc",
    higher_is_better=True,
    head="pooled",
    batching="shuffled",
    folds=voxceleb1_identification,
    score=accuracy,
    official=ProbeSettings(steps=200_000, batch=32, learning_rates=(1e-1, 1e-2, 5e-3, 1e-3), eval_every=5000),
    differences=("training utterances over 8 s drawn from 4 stretches at fixed starts, not at any sample",),
)
