"""Corpora that are not as they should be: everything wrong in one line, before anything is computed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.corpora import fluent_speech_commands as fsc
from tasks.corpora import iemocap, libri2mix, librispeech, quesst, snips, speech_commands, voxceleb
from tasks.corpora import voxceleb_verification as trials
from tasks.text import LEXICON_FILES

FSC, SD = fsc.FOLDER, f"{libri2mix.FOLDER}/sd"
QUESST = f"{quesst.FOLDER}/scoring"
CORPORA = {  # by task: name, layout, folder
    "asr": ("LibriSpeech", librispeech.LAYOUT, "LibriSpeech"),
    "pr": ("LibriSpeech", librispeech.LAYOUT, "LibriSpeech"),
    "ks": ("Speech Commands v0.01", speech_commands.LAYOUT, speech_commands.MAIN),
    "sid": ("VoxCeleb1", voxceleb.LAYOUT, "VoxCeleb1"),
    "asv": ("VoxCeleb1", trials.LAYOUT, "VoxCeleb1"),
    "er": ("IEMOCAP", iemocap.LAYOUT, "IEMOCAP_full_release"),
    "ic": ("Fluent Speech Commands", fsc.LAYOUT, FSC),
    "sf": ("Audio SNIPS", snips.LAYOUT, "SNIPS"),
    "qbe": ("QUESST 2014", quesst.LAYOUT, quesst.FOLDER),
    "sd": ("Libri2Mix", libri2mix.LAYOUT, libri2mix.FOLDER),
}


def first(root: Path, pattern: str) -> Path:
    return min(root.glob(pattern))


def rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(change(lines)) + "\n", encoding="utf-8")


def transcripts(root: Path) -> Path:
    return first(root, "LibriSpeech/dev-clean/*/*/*.trans.txt")


def replaced(place: int, line: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [line if i == place else old for i, old in enumerate(lines)]


def path_of(name: str) -> Callable[[list[str]], list[str]]:
    """What gives the first row of a list of Fluent Speech Commands another path."""

    def change(lines: list[str]) -> list[str]:
        place = lines[0].split(",").index("path")
        fields = lines[1].split(",")
        fields[place] = name
        return [lines[0], ",".join(fields), *lines[2:]]

    return change


def linked_out(root: Path, path: Path) -> None:
    """The file goes out of the corpora folder, and a link stays in its place."""
    path.rename(root.parent / "elsewhere.wav")
    path.symlink_to(root.parent / "elsewhere.wav")


def no_transcript(root: Path) -> str:
    path = transcripts(root)
    id = path.read_text().split()[0]
    rewrite(path, lambda lines: lines[1:])
    return f"1 audio files of dev-clean without transcript ({id})"


def no_audio(root: Path) -> str:
    path = first(root, "LibriSpeech/dev-clean/*/*/*.flac")
    path.unlink()
    return f"1 transcripts of dev-clean without audio ({path.stem})"


def two_transcripts(root: Path) -> str:
    id = transcripts(root).read_text().split()[0]
    rewrite(transcripts(root), lambda lines: [*lines, f"{id} ANOTHER"])
    return f"1 utterances with two transcripts in dev-clean ({id})"


def two_files(root: Path) -> str:
    path = first(root, "LibriSpeech/dev-clean/*/*/*.flac")
    (path.parents[1] / "other").mkdir()
    shutil.copy(path, path.parents[1] / "other")
    return f"1 utterances with two audio files in dev-clean ({path.stem})"


def no_words(root: Path) -> str:
    id = transcripts(root).read_text().split()[0]
    rewrite(transcripts(root), replaced(0, id))
    return f"1 transcripts of dev-clean without words ({id})"


def not_utf8(root: Path) -> str:
    path = transcripts(root)
    path.write_bytes(path.read_bytes().rstrip() + b" CAF\xc9\n")
    return f"1 text files that are not UTF-8 ({path.relative_to(root)} line {len(path.read_bytes().splitlines())})"


def empty_part(root: Path) -> str:
    for path in (root / "LibriSpeech/test-clean").iterdir():
        shutil.rmtree(path)
    return "nothing in test-clean"


def strange_word(root: Path) -> str:
    (root / speech_commands.MAIN / "backward").mkdir()
    return f"1 folders in {speech_commands.MAIN} that v0.01 does not have (backward)"


def bad_line(root: Path) -> str:
    rewrite(root / "VoxCeleb1" / voxceleb.LIST, lambda lines: [*lines, "4 nobody.wav"])
    return "1 unreadable lines in iden_split.txt (4 nobody.wav)"


def listed_twice(root: Path) -> str:
    line = (root / "VoxCeleb1" / voxceleb.LIST).read_text().splitlines()[0]
    rewrite(root / "VoxCeleb1" / voxceleb.LIST, lambda lines: [*lines, line])
    return f"1 utterances listed twice in iden_split.txt ({line.split()[1]})"


def unknown_speaker(root: Path) -> str:
    path = root / "VoxCeleb1" / voxceleb.LIST
    speaker = path.read_text().split()[1].split("/")[0]
    rewrite(path, lambda lines: [f"3{line[1:]}" if line[2:].startswith(speaker) else line for line in lines])
    return f"1 speakers of dev and test without training utterances ({speaker})"


def absent_trial(root: Path) -> str:
    rewrite(root / "VoxCeleb1" / trials.LIST, lambda lines: [*lines, "1 id1/a/1.wav id1/a/2.wav"])
    return "2 utterances of veri_test.txt without audio (id1/a/1.wav, id1/a/2.wav)"


def trial_outside(root: Path) -> str:
    rewrite(root / "VoxCeleb1" / trials.LIST, lambda lines: [*lines, "1 ../../x.wav /x.wav"])
    return "2 paths in veri_test.txt that leave the test archive (../../x.wav, /x.wav)"


def one_kind(root: Path) -> str:
    rewrite(root / "VoxCeleb1" / trials.LIST, lambda lines: [line for line in lines if line.startswith("1")])
    return "every trial of veri_test.txt is of one speaker"


def unknown_emotion(root: Path) -> str:
    path = first(root, "IEMOCAP_full_release/Session1/dialog/EmoEvaluation/*.txt")
    rewrite(path, lambda lines: [line.replace("\tneu\t", "\tbored\t") for line in lines])
    return "1 labels in Session1 that IEMOCAP does not have (bored)"


def two_emotions(root: Path) -> str:
    path = first(root, "IEMOCAP_full_release/Session1/dialog/EmoEvaluation/*.txt")
    line = next(line for line in path.read_text().splitlines() if "\tneu\t" in line)
    rewrite(path, lambda lines: [*lines, line.replace("\tneu\t", "\tang\t")])
    return f"1 utterances with two labels in Session1 ({line.split()[3]})"


def climbing_path(root: Path) -> str:
    rewrite(root / FSC / "data/test_data.csv", path_of("wavs/../../x.wav"))
    return f"1 paths in test_data.csv that lead out of {FSC} (wavs/../../x.wav)"


def absolute_path(root: Path) -> str:
    rewrite(root / FSC / "data/test_data.csv", path_of("/etc/passwd"))
    return f"1 paths in test_data.csv that lead out of {FSC} (/etc/passwd)"


def link_outside(root: Path) -> str:
    path = heard_in_test(root)
    linked_out(root, path)
    name = path.relative_to(root / FSC).as_posix()
    return f"1 paths in test_data.csv that links lead out of {FSC}, which may itself be a link ({name})"


def link_to_itself(root: Path) -> str:
    path = heard_in_test(root)
    path.unlink()
    path.symlink_to(path)
    return f"1 paths in test_data.csv without audio ({path.relative_to(root / FSC).as_posix()})"


def heard_in_test(root: Path) -> Path:
    listed = (root / FSC / "data/test_data.csv").read_text()
    return min(path for path in root.glob(f"{FSC}/wavs/speakers/*/*.wav") if path.name in listed)


def unknown_intent(root: Path) -> str:
    rewrite(
        root / FSC / "data/test_data.csv",
        lambda lines: [lines[0], ",".join([*lines[1].split(",")[:-1], "cellar"]), *lines[2:]],
    )
    return "1 values in test_data.csv that train_data.csv lacks (location cellar)"


def no_column(root: Path) -> str:
    rewrite(root / FSC / "data/test_data.csv", lambda lines: [lines[0].replace("action", "deed"), *lines[1:]])
    return "1 columns missing in test_data.csv (action)"


def unknown_slot(root: Path) -> str:
    rewrite(root / "SNIPS" / snips.SLOTS, lambda lines: [line for line in lines if line != "artist"])
    return "1 slots in all.iob.snips.txt that slots.txt does not list (artist)"


def two_texts(root: Path) -> str:
    path = root / "SNIPS" / snips.TEXTS
    id = path.read_text().split()[0]
    rewrite(path, lambda lines: [*lines, f"{id} BOS STOP EOS\tO O RateBook"])
    return f"1 ids with two lines in all.iob.snips.txt ({id})"


def unequal_slots(root: Path) -> str:
    path = root / "SNIPS" / snips.TEXTS
    id = path.read_text().split()[0]
    rewrite(path, lambda lines: [lines[0] + " more", *lines[1:]])
    return f"1 lines of all.iob.snips.txt with unequal words and slots ({id})"


def query_outside(root: Path) -> str:
    rewrite(root / QUESST / quesst.LISTS["dev"], lambda lines: [*lines, "x/../../y.wav nnenglish"])
    return f"1 paths in language_key_dev.lst that leave {quesst.FOLDER} (x/../../y.wav)"


def query_by_link(root: Path) -> str:
    path = first(root, f"{quesst.FOLDER}/dev_queries/*.wav")
    linked_out(root, path)
    name = "entries of language_key_dev.lst that links lead out of quesst14Database, which may itself be a link"
    return f"1 {name} ({path.name})"


def no_occurrence(root: Path) -> str:
    english = [
        Path(line.split()[0]).stem
        for line in (root / QUESST / quesst.LISTS["dev"]).read_text().splitlines()
        if line.endswith("nnenglish")
    ]
    for path in (root / QUESST / quesst.TRUTHS["dev"]).glob("*.rttm"):
        rewrite(path, lambda lines: [line for line in lines if not set(english) & set(line.split())])
    return "no nnenglish query of language_key_dev.lst occurs in any document"


def mixture_outside(root: Path) -> str:
    name = (root / SD / "dev/wav.scp").read_text().split()[0]
    rewrite(root / SD / "dev/wav.scp", replaced(0, f"{name} /etc/passwd"))
    return f"1 recordings whose path in dev/wav.scp leaves the corpora folder ({name})"


def mixture_by_link(root: Path) -> str:
    name, path = (root / SD / "dev/wav.scp").read_text().split()[:2]
    linked_out(root, root / libri2mix.FOLDER / path)
    return f"1 recordings that links lead out of {libri2mix.FOLDER}, which may itself be a link ({name})"


def two_paths(root: Path) -> str:
    name = (root / SD / "dev/wav.scp").read_text().split()[0]
    rewrite(root / SD / "dev/wav.scp", lambda lines: [*lines, f"{name} wav16k/other.wav"])
    return f"1 recordings with two paths in dev/wav.scp ({name})"


def third_speaker(root: Path) -> str:
    utterance = (root / SD / "dev/segments").read_text().split()
    for name, line in (("segments", f"third {utterance[1]} 0.1 0.2"), ("utt2spk", "third third")):
        rewrite(root / SD / "dev" / name, lambda lines, line=line: [*lines, line])
    rttm = f"SPEAKER {utterance[1]} 1 0.1 0.1 <NA> <NA> third <NA>"
    rewrite(root / SD / "dev/rttm", lambda lines: [*lines, rttm])
    return f"1 recordings in dev/segments with more than 2 speakers ({utterance[1]})"


CASES = {
    "asr": (no_transcript, no_audio, two_transcripts, two_files, no_words, not_utf8, empty_part),
    "ks": (strange_word,),
    "sid": (bad_line, listed_twice, unknown_speaker),
    "asv": (absent_trial, trial_outside, one_kind),
    "er": (unknown_emotion, two_emotions),
    "ic": (climbing_path, absolute_path, link_outside, link_to_itself, unknown_intent, no_column),
    "sf": (unknown_slot, two_texts, unequal_slots),
    "qbe": (query_outside, query_by_link, no_occurrence),
    "sd": (mixture_outside, mixture_by_link, two_paths, third_speaker),
}


@pytest.mark.parametrize(("task", "spoil"), [(task, spoil) for task, some in CASES.items() for spoil in some])
def test_a_corpus_that_is_spoilt_is_one_line(task, spoil, suite, harness, tmp_path):
    name, layout, folder = CORPORA[task]
    root = suite(folder)
    if task == "ks":
        suite(speech_commands.TEST)
    problem = spoil(root)
    result = harness("evaluate", "--upstream", "fbank", "--tasks", task, "--corpora", root, "--out", tmp_path / "out")
    cure = libri2mix.CURE if task == "sd" else "Unpack the official archives"
    message = (
        f"Error: cannot read {name} in {root}: {problem}. Expected {layout}. {cure} there, then "
        f"type: harness doctor --corpora {root}"
    )
    assert (result.exit_code, result.stderr.splitlines()[2:]) == (2, [message])  # behind the suite's progress
    assert not (tmp_path / "out").exists()


def one_file_each(root: Path) -> str:
    for speaker in (root / "VoxCeleb1/dev/wav").iterdir():
        for path in sorted(speaker.rglob("*.wav"))[1:]:
            path.unlink()
    held_out = ", ".join(sorted(path.name for path in (root / "VoxCeleb1/dev/wav").iterdir())[::2])
    return (
        f"the speakers of VoxCeleb1/dev that are held out have one file each ({held_out}): expected several of one of "
        "them, for trials of one speaker. Unpack the official archives again"
    )


def three_speakers(root: Path) -> str:
    shutil.rmtree(first(root, "VoxCeleb1/dev/wav/*"))
    return "VoxCeleb1/dev has 3 speakers: expected 4 or more, to hold two of them out"


def empty_dev(root: Path) -> str:
    rewrite(
        root / "VoxCeleb1" / voxceleb.LIST, lambda lines: [f"3{line[1:]}" if line[0] == "2" else line for line in lines]
    )
    return f"nothing in dev of VoxCeleb1 in {root}: expected some examples; type harness doctor --corpora {root}"


def words_unknown(root: Path) -> str:
    rewrite(transcripts(root), lambda lines: [f"{lines[0]} ZEBRA OKAPI", *lines[1:]])
    return (
        "the lexicon has no pronunciation for 2 words (OKAPI, ZEBRA). Every word of the corpus must be listed "
        f"(superb-protocol 2.1). Add lines 'WORD phones' to {LEXICON_FILES[1]}."
    )


def no_lexicon(root: Path) -> str:
    (root / "LibriSpeech" / LEXICON_FILES[0]).unlink()
    return (
        f"cannot read the lexicon in {root / 'LibriSpeech'}: no file {LEXICON_FILES[0]}. Expected S3PRL's two lexicon "
        f"files with lines 'WORD phones'. Put them there, then type: harness doctor --corpora {root}"
    )


def garbled_lexicon(root: Path) -> str:
    path = root / "LibriSpeech" / LEXICON_FILES[0]
    path.write_bytes(b"CAF\xc9 K AE2 F EY1\n")
    return (
        f"cannot use line 1 of {path}: 'CAF\ufffd K AE2 F EY1'. Expected a word and ARPAbet phones with stress digits, "
        "in UTF-8. Correct or remove the line."
    )


@pytest.mark.parametrize(
    ("task", "spoil"),
    [
        ("asv", one_file_each),
        ("asv", three_speakers),
        ("sid", empty_dev),
        ("pr", words_unknown),
        ("pr", no_lexicon),
        ("pr", garbled_lexicon),
    ],
)
def test_a_task_that_cannot_be_made_of_a_corpus_is_one_line(task, spoil, suite, harness, tmp_path):
    root = suite(CORPORA[task][2])
    problem = spoil(root)
    result = harness("evaluate", "--upstream", "fbank", "--tasks", task, "--corpora", root, "--out", tmp_path / "out")
    assert (result.exit_code, result.stderr.splitlines()[2:]) == (2, [f"Error: {problem}"])


def test_the_problems_of_several_corpora_are_told_at_once(suite, harness, tmp_path):
    root = suite("VoxCeleb1")
    one_kind(root), bad_line(root)
    result = harness(
        "evaluate", "--upstream", "fbank", "--tasks", "sid,asv,ic", "--corpora", root, "--out", tmp_path / "out"
    )
    lines = result.stderr.splitlines()[2:]
    assert result.exit_code == 2 and len(lines) == 3
    assert "unreadable lines in iden_split.txt" in lines[0] and "every trial of veri_test.txt" in lines[1]
    assert lines[2].startswith(f"Error: cannot read Fluent Speech Commands in {root}: no file ")


def test_a_corpus_that_is_itself_a_link_is_read(suite, tmp_path):
    """The user's own links to where corpora lie are no way out of a folder."""
    root = suite(FSC)
    (root / FSC).rename(tmp_path / "disk")
    (root / FSC).symlink_to(tmp_path / "disk")
    assert all(fsc.fluent_speech_commands(root)[0].values())
