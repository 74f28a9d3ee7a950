"""IC: intent classification on Fluent Speech Commands (superb-protocol 2.8)."""

from tasks.base import ProbeSettings, Task
from tasks.corpora.fluent_speech_commands import OFFICIAL_COUNTS, fluent_speech_commands, slot_values
from tasks.scores import ACCURACY

IC = Task(
    name="ic",
    corpus="Fluent Speech Commands",
    metrics=(ACCURACY,),
    head="pooled",
    batching="shuffled",
    folds=fluent_speech_commands,
    counts=(OFFICIAL_COUNTS,),
    official=ProbeSettings(steps=200_000, batch=32, learning_rates=(1e-3, 1e-4), eval_every=5000),
    classes=slot_values,
)
