"""SD: diarization of two speakers on Libri2Mix (superb-protocol 2.7)."""

from dataclasses import replace

from tasks.base import ProbeSettings, Task
from tasks.corpora.libri2mix import OFFICIAL_COUNTS, libri2mix
from tasks.scores import DER, DER_LOWEST, FRAME_ACCURACY

SD = Task(
    name="sd",
    corpus="Libri2Mix",
    metrics=(DER,),
    head="diarization",
    batching="shuffled",
    folds=libri2mix,
    counts=(OFFICIAL_COUNTS,),
    official=ProbeSettings(
        steps=30_000,
        batch=8,
        accumulate=4,
        learning_rates=(1e-3, 5e-4, 1e-4),
        eval_every=500,
        recurrent=512,
        layers=1,
    ),
    select=FRAME_ACCURACY,
    differences=(
        "labels as long as the states, at most one frame less than the recording",
        "threshold and median filter chosen on dev; officially the best of the ten on test",
    ),
)
SD_OFFICIAL = replace(SD, protocol="official", metrics=(DER_LOWEST,), differences=SD.differences[:1])
