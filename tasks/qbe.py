"""QbE: spoken term detection by query on QUESST 2014 (superb-protocol 2.4)."""

from dataclasses import replace

from tasks.base import AudioChain, ProbeSettings, Task
from tasks.corpora.quesst import OFFICIAL_COUNTS, quesst14
from tasks.scores import MTWV, MTWV_ALL

QBE = Task(
    name="qbe",
    corpus="QUESST 2014",
    metrics=(MTWV,),
    head="search",
    batching="shuffled",
    folds=quesst14,
    counts=(OFFICIAL_COUNTS,),
    official=ProbeSettings(steps=0, batch=1, learning_rates=(), eval_every=0),
    audio=AudioChain(gain_db=-3.0),
    differences=(
        "scored over the queries and documents that are searched; officially over those of all languages, "
        "with the default score -10 for the trials that are not submitted",
    ),
)
QBE_OFFICIAL = replace(QBE, protocol="official", metrics=(MTWV_ALL,), differences=())
