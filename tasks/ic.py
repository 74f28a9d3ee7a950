"""IC: intent classification on Fluent Speech Commands (superb-protocol 2.8)."""

from tasks.base import Fact, ProbeSettings, Task
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
    facts=tuple(
        Fact(f"{part}s in train", expected, lambda fold, place=place: len(slot_values(fold["train"])[place]))  # type: ignore[misc]
        for place, (part, expected) in enumerate({"action": 6, "object": 14, "location": 4}.items())
    ),
    official=ProbeSettings(steps=200_000, batch=32, learning_rates=(1e-3, 1e-4), eval_every=5000),
    classes=slot_values,
)
