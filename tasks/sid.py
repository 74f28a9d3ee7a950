"""SID: speaker identification on VoxCeleb1 (superb-protocol 2.5)."""

from tasks.base import Fact, ProbeSettings, Task
from tasks.corpora.voxceleb import OFFICIAL_COUNTS, voxceleb1_identification
from tasks.scores import ACCURACY

SID = Task(
    name="sid",
    corpus="VoxCeleb1",
    metrics=(ACCURACY,),
    head="pooled",
    batching="shuffled",
    folds=voxceleb1_identification,
    counts=(OFFICIAL_COUNTS,),
    facts=(Fact("speakers in train", 1_251, lambda fold: len({item.label for item in fold["train"]})),),
    classes=lambda train: (tuple(sorted({item.label for item in train})),),
    official=ProbeSettings(steps=200_000, batch=32, learning_rates=(1e-1, 1e-2, 5e-3, 1e-3), eval_every=5000),
    differences=("training utterances over 8 s drawn from 4 stretches at fixed starts, not at any sample",),
)
