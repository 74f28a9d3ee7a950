"""PR: phoneme recognition on LibriSpeech (superb-protocol 2.1)."""

from dataclasses import replace
from pathlib import Path

from tasks.base import ProbeSettings, Splits, Task
from tasks.corpora.librispeech import librispeech
from tasks.metrics import error_rate
from tasks.text import PHONEMES, Lexicon, decode_phonemes, encode_phonemes


def _folds(root: Path) -> list[Splits]:
    """LibriSpeech with phonemes for words; raises CorpusError for a word outside the lexicon."""
    lexicon = Lexicon.read(root / "LibriSpeech")
    return [
        {name: [replace(item, label=lexicon.transcribe(item.label)) for item in items] for name, items in fold.items()}
        for fold in librispeech(root)
    ]


PR = Task(
    name="pr",
    title="Phoneme recognition",
    corpus="LibriSpeech",
    metric="per",
    higher_is_better=False,
    head="ctc-linear",
    batching="windows",
    folds=_folds,
    score=error_rate,
    official=ProbeSettings(steps=100_000, batch=32, learning_rates=(1e-2, 1e-3, 5e-4), eval_every=1000),
    encode=encode_phonemes,
    decode=decode_phonemes,
    units=len(PHONEMES),
)
