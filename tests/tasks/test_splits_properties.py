"""Split rules on drawn corpora: nothing is lost, nothing stands on two sides."""

import hashlib
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.asv
from tasks.base import Item, Trial
from tasks.corpora.iemocap import DIALOGS, iemocap, train_dev_split
from tasks.corpora.speech_commands import official_part

NAMES = st.text("abcdef0123456789", min_size=1, max_size=8)


@given(NAMES, st.integers(0, 9), st.integers(0, 9))
def test_a_speakers_commands_stay_in_one_part(speaker: str, first: int, second: int) -> None:
    part = official_part(f"{speaker}_nohash_{first}.wav")
    assert part == official_part(f"{speaker}_nohash_{second}.wav")
    digest = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)
    percentage = Fraction(100 * (digest % 2**27), 2**27 - 1)
    assert part == ("dev" if percentage < 10 else "discarded" if percentage < 20 else "train")


@given(st.integers(0, 300))
def test_train_and_dev_are_a_partition(size: int) -> None:
    train, dev = train_dev_split(range(size))
    assert sorted([*train, *dev]) == list(range(size)) and len(train) == size * 4 // 5


@settings(max_examples=15)
@given(st.data())
def test_each_emotion_is_tested_once_and_no_session_stands_on_two_sides(data: st.DataObject) -> None:
    labels = st.lists(st.sampled_from(["neu", "exc", "ang", "sad", "xxx"]), min_size=1, max_size=3)
    with TemporaryDirectory() as folder:
        kept = set()
        for session, dialogs in DIALOGS.items():
            root = Path(folder) / "IEMOCAP_full_release" / f"Session{session}"
            (root / "dialog/EmoEvaluation").mkdir(parents=True)
            for dialog in data.draw(st.sets(st.sampled_from(dialogs.split()), min_size=1, max_size=2)):
                name, lines = f"Ses{session:02d}{dialog}", []
                (root / "sentences/wav" / name).mkdir(parents=True)
                for turn, label in enumerate(data.draw(labels)):
                    (root / "sentences/wav" / name / f"{name}_F{turn}.wav").touch()
                    lines.append(f"[0.0 - 1.0]\t{name}_F{turn}\t{label}\t[1, 1, 1]")
                    kept |= {f"{name}_F{turn}"} if label != "xxx" else set()
                (root / f"dialog/EmoEvaluation/{name}.txt").write_text("\n".join(lines))
        folds = iemocap(Path(folder))
    assert sorted(item.id for fold in folds for item in fold["test"]) == sorted(kept)
    for session, fold in enumerate(folds, 1):
        assert sorted(item.id for part in fold.values() for item in part) == sorted(kept)
        assert {item.id[:5] for item in fold["test"]} <= {f"Ses{session:02d}"}
        assert f"Ses{session:02d}" not in {item.id[:5] for part in ("train", "dev") for item in fold[part]}


@settings(max_examples=40)
@given(st.dictionaries(NAMES, st.integers(2, 4), min_size=4, max_size=25))
def test_no_speaker_of_the_dev_trials_is_trained_on(files: dict[str, int]) -> None:
    train = [
        Item(f"{speaker}/video{number % 2}/{number}.wav", Path(speaker), speaker)
        for speaker, count in files.items()
        for number in range(count)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.asv, "voxceleb1_verification", lambda root: [{"train": train, "test": []}])
        (fold,) = tasks.asv.ASV.folds(Path())
    label_of = {item.id: item.label for item in train}
    held_out = files.keys() - {item.label for item in fold["train"]}
    assert len(held_out) >= 2 and {item.id for item in fold["train"]} <= label_of.keys()
    pairs = [item.id.split(" ") for item in fold["dev"]]
    assert {label_of[id] for pair in pairs for id in pair} <= held_out
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) and all(one != other for one, other in pairs)
    for item, (one, other) in zip(fold["dev"], pairs, strict=True):
        assert isinstance(item, Trial) and item.label == str(int(label_of[one] == label_of[other]))
    kept = [item for item in train if item.label in held_out]
    assert {id for pair in pairs for id in pair} <= {item.id for item in kept}
    assert len(fold["train"]) + len(kept) == len(train)
