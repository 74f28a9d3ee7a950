"""ASR: speech recognition on LibriSpeech, without a language model (superb-protocol 2.2)."""

from tasks.base import ProbeSettings, Task
from tasks.corpora.librispeech import librispeech
from tasks.metrics import error_rate
from tasks.text import CHARACTERS, decode_characters, encode_characters

ASR = Task(
    name="asr",
    title="Automatic speech recognition",
    corpus="LibriSpeech",
    metric="wer",
    higher_is_better=False,
    head="ctc-bilstm",
    batching="buckets",
    folds=librispeech,
    score=error_rate,
    official=ProbeSettings(
        steps=200_000,
        batch=16,
        learning_rates=(1e-3, 1e-4),
        eval_every=2000,
        hidden=1024,
        recurrent=1024,
        layers=2,
        dropout=0.2,
    ),
    encode=encode_characters,
    decode=decode_characters,
    units=len(CHARACTERS),
    differences=("no SpecAugment on the features",),
)
