"""KS: keyword spotting on Speech Commands v0.01 (superb-protocol 2.3)."""

from tasks.base import AudioChain, Fact, ProbeSettings, Task
from tasks.corpora.speech_commands import CLASSES, OFFICIAL_COUNTS, main_clips, noise_files, speech_commands
from tasks.scores import ACCURACY

KS = Task(
    name="ks",
    corpus="Speech Commands v0.01",
    metrics=(ACCURACY,),
    head="pooled",
    batching="balanced",
    folds=speech_commands,
    counts=(OFFICIAL_COUNTS,),
    facts=(Fact("clips in the main archive", 64_721, main_clips), Fact("files of noise", 6, noise_files)),
    official=ProbeSettings(steps=200_000, batch=32, learning_rates=(1e-3, 1e-4), eval_every=5000),
    audio=AudioChain(gain_db=-3.0),
    classes=lambda _: (CLASSES,),
    differences=(
        "silence drawn from 1 s stretches at fixed starts, not at any sample",
        "dev accuracy is the expectation of the balanced draw, not one draw",
    ),
)
