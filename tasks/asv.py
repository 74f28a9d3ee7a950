"""ASV: speaker verification on VoxCeleb1 (superb-protocol 2.6)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from tasks.base import AudioChain, CorpusError, Fact, Item, ProbeSettings, Splits, Task, Trial
from tasks.corpora.voxceleb_verification import OFFICIAL_COUNTS, voxceleb1_verification
from tasks.scores import EER

HELD_OUT = 10  # one training speaker in so many is kept for dev
DEV_FILES = 10  # of each held-out speaker
DEV_OTHERS = 20_000  # trials of different speakers at most, of the 726 000 that the official corpus would give


def _held_out(root: Path) -> list[Splits]:
    """The corpus with dev trials between speakers that are taken out of training.

    Raises CorpusError if there are fewer than four training speakers, or if those held out have one file each.
    """
    (fold,) = voxceleb1_verification(root)
    kept = _every(fold["train"])
    dev = _pairs([item for item in fold["train"] if item.label in kept])
    if all(trial.label == "0" for trial in dev):
        raise CorpusError(
            f"the speakers of VoxCeleb1/dev that are held out have one file each ({', '.join(sorted(kept)[:5])}): "
            "expected several of one of them, for trials of one speaker. Unpack the official archives again"
        )
    return [
        {
            "train": [item for item in fold["train"] if item.label not in kept],
            "dev": dev,
            "test": fold["test"],
        }
    ]


def _speakers(fold: Splits) -> int:
    """Those of training, and those held out for the trials of dev."""
    held_out = {id.split("/")[0] for trial in fold["dev"] for id in trial.id.split(" ")}
    return len({item.label for item in fold["train"]} | held_out)


def _every(train: Sequence[Item]) -> set[str]:
    """Every tenth speaker, two at least."""
    speakers = sorted({item.label for item in train})
    if len(speakers) < 4:
        raise CorpusError(f"VoxCeleb1/dev has {len(speakers)} speakers: expected 4 or more, to hold two of them out")
    return set(speakers[:: min(HELD_OUT, max(len(speakers) // 2, 2))])


def _pairs(items: Sequence[Item]) -> list[Item]:
    """All trials among a few files of each speaker, of as many videos as there are; different speakers meet in evenly
    drawn ones of them."""
    seen, kept = Counter[str](), Counter[str]()
    ranked = []
    for item in items:
        video = item.id.rpartition("/")[0]
        seen[video] += 1
        ranked.append((seen[video], item.id, item))
    files = []
    for _, _, item in sorted(ranked, key=lambda entry: entry[:2]):
        kept[item.label] += 1
        files += [item] if kept[item.label] <= DEV_FILES else []
    files.sort(key=lambda item: item.id)
    pairs = list(combinations(files, 2))
    targets = [(a, b, "1") for a, b in pairs if a.label == b.label]
    others = [(a, b, "0") for a, b in pairs if a.label != b.label]
    step = -(-len(others) // DEV_OTHERS)
    return [Trial(f"{a.id} {b.id}", a.path, label, other=b.path) for a, b, label in targets + others[:: max(step, 1)]]


def _official(root: Path) -> list[Splits]:
    """The corpus as the protocol has it: nothing held out, checkpoints chosen on the test trials."""
    return [fold | {"dev": fold["test"]} for fold in voxceleb1_verification(root)]


ASV = Task(
    name="asv",
    corpus="VoxCeleb1",
    metrics=(EER,),
    head="x-vector",
    batching="shuffled",
    folds=_held_out,
    counts=(OFFICIAL_COUNTS,),
    facts=(Fact("speakers in train and dev", 1_211, _speakers),),
    official=ProbeSettings(
        steps=200_000,
        batch=50,
        learning_rates=(1e-4, 5e-5),
        eval_every=20_000,
        hidden=512,
        pooled=1500,
        clip=1000.0,
        weight_decay=0.01,
        shortest=2.0,
    ),
    audio=AudioChain(gain_db=-3.0, trim_silence=True),
    differences=(
        "every tenth training speaker held out, checkpoint and rate chosen on trials among these; officially the "
        "lowest test error rate of ten checkpoints, nothing held out",
        "training utterances whole, not cut to 8 s; those under 2 s are left out by whole frames, 20 ms each",
        "statistics over exactly the valid frames",
    ),
)
ASV_OFFICIAL = replace(ASV, protocol="official", folds=_official, differences=ASV.differences[1:])
