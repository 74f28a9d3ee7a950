"""SF: slot filling on Audio SNIPS (superb-protocol 2.9)."""

from dataclasses import replace
from functools import partial

from tasks.asr import ASR
from tasks.base import Codec, Fact, Item, Task
from tasks.corpora.snips import OFFICIAL_COUNTS, snips
from tasks.pr import HALVED
from tasks.scores import SLOT_CER, SLOT_F1
from tasks.slots import decode, encode, vocabulary


def _slots(train: list[Item]) -> tuple[str, ...]:
    return tuple(sorted({token[2:] for item in train for token in item.label.split() if token.startswith("B-")}))


def _codec(train: list[Item]) -> Codec:
    """The characters, and the tags of the slots that training has."""
    slots = _slots(train)
    return Codec(partial(encode, slots=slots), partial(decode, slots=slots), len(vocabulary(slots)))


SF = Task(
    name="sf",
    corpus="Audio SNIPS",
    metrics=(SLOT_F1, SLOT_CER),
    head="ctc-bilstm",
    batching="windows",
    folds=snips,
    counts=(OFFICIAL_COUNTS,),
    facts=(Fact("kinds of slots in train", 39, lambda fold: len(_slots(fold["train"]))),),
    official=replace(ASR.official, batch=32),  # the head is ASR's
    codec=_codec,
    differences=(
        "a text whose last word is punctuation still ends with <eos>, without a blank before it",
        "a span whose first or last word is punctuation keeps both its tags; a span of punctuation alone has none",
        "an empty line at the end of slots.txt is not a slot",
        HALVED,
        "outputs for the slots of the training texts, in the order of their names",
    ),
)
