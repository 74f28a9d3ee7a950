"""ER: emotion recognition on IEMOCAP, the mean of five folds (superb-protocol 2.10)."""

from tasks.base import ProbeSettings, Task
from tasks.corpora.iemocap import CLASSES, OFFICIAL_COUNTS, iemocap
from tasks.scores import ACCURACY

ER = Task(
    name="er",
    corpus="IEMOCAP",
    metrics=(ACCURACY,),
    head="pooled",
    batching="shuffled",
    folds=iemocap,
    counts=OFFICIAL_COUNTS,
    official=ProbeSettings(steps=30_000, batch=32, learning_rates=(1e-3, 1e-4), eval_every=1000),
    classes=lambda _: (CLASSES,),
    differences=("heads start from the seed of the run, plus one a fold; officially from seed 0 in each",),
)
