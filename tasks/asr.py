"""ASR: speech recognition on LibriSpeech, without a language model (superb-protocol 2.2)."""

from tasks.base import Codec, ProbeSettings, Task
from tasks.corpora.librispeech import OFFICIAL_COUNTS, librispeech
from tasks.scores import WER
from tasks.text import CHARACTERS, decode_characters, encode_characters

ASR = Task(
    name="asr",
    corpus="LibriSpeech",
    metrics=(WER,),
    head="ctc-bilstm",
    batching="buckets",
    folds=librispeech,
    counts=(OFFICIAL_COUNTS,),
    official=ProbeSettings(
        steps=200_000,
        batch=16,
        learning_rates=(1e-3, 1e-4),
        eval_every=2000,
        hidden=1024,
        recurrent=1024,
        layers=2,
        dropout=0.2,
        spec_augment=True,
    ),
    codec=lambda _: Codec(encode_characters, decode_characters, len(CHARACTERS)),
)
