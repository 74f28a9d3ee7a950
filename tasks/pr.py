"""PR: phoneme recognition on LibriSpeech (superb-protocol 2.1)."""

from dataclasses import replace
from pathlib import Path

from tasks.base import Codec, ProbeSettings, Splits, Task
from tasks.corpora.librispeech import OFFICIAL_COUNTS, librispeech
from tasks.scores import PER
from tasks.text import PHONEMES, Lexicon, decode_phonemes, encode_phonemes

HALVED = "windows of long utterances are halved by lengths in whole frames of 20 ms, not in samples"


def _folds(root: Path) -> list[Splits]:
    """LibriSpeech with phonemes for words; raises CorpusError for words outside the lexicon."""
    lexicon = Lexicon.read(root / "LibriSpeech")
    folds = librispeech(root)
    lexicon.check(item.label for fold in folds for items in fold.values() for item in items)
    return [
        {name: [replace(item, label=lexicon.transcribe(item.label)) for item in items] for name, items in fold.items()}
        for fold in folds
    ]


PR = Task(
    name="pr",
    corpus="LibriSpeech",
    metrics=(PER,),
    head="ctc-linear",
    batching="windows",
    folds=_folds,
    counts=(OFFICIAL_COUNTS,),
    official=ProbeSettings(steps=100_000, batch=16, accumulate=2, learning_rates=(1e-2, 1e-3, 5e-4), eval_every=1000),
    codec=lambda _: Codec(encode_phonemes, decode_phonemes, len(PHONEMES)),
    differences=(HALVED,),
)
