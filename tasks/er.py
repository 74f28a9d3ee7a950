"""ER: emotion recognition on IEMOCAP, the mean of five folds (superb-protocol 2.10)."""

from tasks.base import ProbeSettings, Task
from tasks.corpora.iemocap import CLASSES, iemocap
from tasks.metrics import accuracy

ER = Task(
    name="er",
    title="Emotion recognition",
    corpus="IEMOCAP",
    metric="acc",
    higher_is_better=True,
    head="pooled",
    batching="shuffled",
    folds=iemocap,
    score=accuracy,
    official=ProbeSettings(steps=30_000, batch=32, learning_rates=(1e-3, 1e-4), eval_every=1000),
    classes=CLASSES,
    differences=("features without padding, computed once",),
)
