"""The reader of QUESST 2014 on a hand-made tree, and the mini corpus read back."""

import shutil
from collections import Counter

import numpy as np
import pytest
import soundfile

from tasks.audio import AudioError, read_audio
from tasks.corpora.quesst import OFFICIAL_COUNTS, quesst14
from tasks.mini import quesst, render
from tasks.mini.calibration import Sizes
from tasks.mini.grammar import content_words, words

SMALL = Sizes(
    archive_speakers=2, documents=6, query_speakers=1, queries=2, foreign_documents=3, foreign_queries=1
)  # 10 utterances


@pytest.fixture
def archive(tmp_path, audio_file):
    folder = tmp_path / "quesst14Database"
    scoring = folder / "scoring"
    for name in ("Audio/quesst14_00003", "Audio/quesst14_00001", "dev_queries/quesst14_dev_0001"):
        audio_file(folder / f"{name}.wav", 80, 8_000)
    for name in ("eval_queries/quesst14_eval_0007", "eval_queries/quesst14_eval_0008"):
        audio_file(folder / f"{name}.wav", 80, 8_000)
    for name in ("dev", "eval"):
        (scoring / f"groundtruth_quesst14_{name}").mkdir(parents=True)
    (scoring / "language_key_utterances.lst").write_text(
        "quesst14Database/Audio/quesst14_00003.wav nnenglish\n"
        "quesst14Database/Audio/quesst14_00002.wav albanian\n"
        "old/Audio/quesst14_00001.wav\tnnenglish\n\n"
    )
    (scoring / "language_key_dev.lst").write_text(
        "quesst14Database/dev_queries/quesst14_dev_0001.wav nnenglish\n"
        "quesst14Database/dev_queries/quesst14_dev_0002.wav czech\n"
    )
    (scoring / "language_key_eval.lst").write_text(
        "quesst14Database/eval_queries/quesst14_eval_0008.wav nnenglish\n"
        "quesst14Database/eval_queries/quesst14_eval_0007.wav nnenglish\n"
    )
    (scoring / "groundtruth_quesst14_dev/quesst14_dev.rttm").write_text(
        ";; a comment of two words\n"
        "SPKR-INFO quesst14_00003 1 <NA> <NA> <NA> unknown x <NA>\n"
        "LEXEME quesst14_00003 1 0.10 1.00 quesst14_dev_0001 lex x 0.9\n"
        "LEXEME quesst14_00003 1 2.10 1.00 quesst14_dev_0001 lex x 0.9\n"
        "LEXEME quesst14_00002 1 0.00 1.00 quesst14_dev_0002\n"
    )
    (scoring / "groundtruth_quesst14_dev/more.rttm").write_text("LEXEME quesst14_00001 1 0 1 quesst14_dev_0001\n")
    (scoring / "groundtruth_quesst14_dev/._hidden.rttm").write_bytes(b"\xff\xfe LEXEME")
    (scoring / "groundtruth_quesst14_eval/quesst14_eval.rttm").write_text(
        "LEXEME quesst14_00002 1 0 1 quesst14_eval_0007\nLEXEME quesst14_00001 1 0 1 quesst14_eval_0007\n"
    )
    return tmp_path


def test_parts_ids_and_documents_of_every_query(archive):
    (fold,) = quesst14(archive)
    assert {part: [(item.id, item.label) for item in items] for part, items in fold.items()} == {
        "documents": [("quesst14_00003", ""), ("quesst14_00001", "")],
        "other documents": [("quesst14_00002", "")],
        "dev": [("quesst14_dev_0001", "quesst14_00001 quesst14_00003")],
        "other dev": [("quesst14_dev_0002", "quesst14_00002")],
        "test": [("quesst14_eval_0008", ""), ("quesst14_eval_0007", "quesst14_00001 quesst14_00002")],
        "other test": [],
    }
    assert fold["documents"][1].path == archive / "quesst14Database/Audio/quesst14_00001.wav"


def test_official_counts_are_the_protocols():
    assert OFFICIAL_COUNTS == {"documents": 2438, "dev": 138, "test": 138}


def test_8_khz_audio_comes_in_at_16_khz(archive):
    (fold,) = quesst14(archive)
    assert all(len(read_audio(item.path)) == 160 for part in ("documents", "dev", "test") for item in fold[part])


def test_corrupt_audio_is_named(archive):
    (fold,) = quesst14(archive)
    fold["dev"][0].path.write_bytes(b"RIFFnonsense")
    with pytest.raises(AudioError, match=r"quesst14_dev_0001\.wav"):
        read_audio(fold["dev"][0].path)


def test_empty_folder_is_one_error(tmp_path, corpus_error):
    message = corpus_error(quesst14, tmp_path)
    assert "no file quesst14Database/scoring/language_key_utterances.lst" in message
    assert "no folder quesst14Database/scoring/groundtruth_quesst14_eval" in message


def test_everything_missing_is_told_at_once(archive, corpus_error):
    folder = archive / "quesst14Database"
    (folder / "Audio/quesst14_00003.wav").unlink()
    (folder / "scoring/language_key_eval.lst").unlink()
    shutil.rmtree(folder / "scoring/groundtruth_quesst14_eval")
    for path in (folder / "scoring/groundtruth_quesst14_dev").glob("*.rttm"):
        path.unlink()
    message = corpus_error(quesst14, archive)
    assert "1 nnenglish entries of language_key_utterances.lst without audio (Audio/quesst14_00003.wav)" in message
    assert "no file quesst14Database/scoring/language_key_eval.lst" in message
    assert "no folder quesst14Database/scoring/groundtruth_quesst14_eval" in message
    assert "no .rttm file in groundtruth_quesst14_dev" in message
    assert "00002" not in message


def test_unreadable_and_ambiguous_lines_are_told(archive, corpus_error):
    scoring = archive / "quesst14Database/scoring"
    with (scoring / "language_key_utterances.lst").open("a") as file:
        file.write("x/Other/quesst14_00003.wav czech\nquesst14_00009.wav nnenglish\nx/Audio/quesst14_00008.wav\n")
    (scoring / "language_key_eval.lst").write_text("x/eval_queries/quesst14_eval_0007.wav czech\n")
    (scoring / "groundtruth_quesst14_eval/quesst14_eval.rttm").write_text(
        "LEXEME quesst14_00077 1 0 1 quesst14_eval_0007\nLEXEME quesst14_00001 1 0 1 quesst14_eval_0099\n"
        "LEXEME quesst14_00001 1 0 1\n"
    )
    message = corpus_error(quesst14, archive)
    assert "1 names listed twice in language_key_utterances.lst (quesst14_00003)" in message
    lines = "quesst14_00009.wav nnenglish, x/Audio/quesst14_00008.wav"
    assert f"2 unreadable lines in language_key_utterances.lst ({lines})" in message
    assert "nothing tagged nnenglish in language_key_eval.lst" in message
    assert "1 queries of groundtruth_quesst14_eval that no list has (quesst14_eval_0099)" in message
    assert "1 documents of groundtruth_quesst14_eval that no list has (quesst14_00077)" in message
    assert "1 unreadable lines in groundtruth_quesst14_eval (LEXEME quesst14_00001 1 0 1)" in message


@pytest.mark.parametrize("name", ["x/../../secret.wav", "x//secret.wav", "/secret.wav/../../s.wav"])
def test_paths_that_leave_the_corpus_are_refused(archive, corpus_error, audio_file, name):
    audio_file(archive.parent / "secret.wav")
    with (archive / "quesst14Database/scoring/language_key_dev.lst").open("a") as file:
        file.write(f"{name} nnenglish\n")
    message = corpus_error(quesst14, archive)
    assert f"1 paths in language_key_dev.lst that leave quesst14Database ({name})" in message


# The mini corpus


def test_full_plan_says_every_query_in_other_voices(tmp_path):
    plan = quesst.plan(tmp_path, Sizes(), np.random.default_rng(0))
    kinds = Counter(utterance.path.parent.name for utterance in plan.utterances)
    assert kinds == {"Audio": 72, "dev_queries": 16, "eval_queries": 16}
    documents = [u for u in plan.utterances if u.path.parent.name == "Audio"]
    queries = [u for u in plan.utterances if u.path.parent.name != "Audio"]
    assert len({u.text for u in queries}) == 32
    assert {len(u.text.split()) for u in queries} == {1, 2}
    assert all(set(u.text.split()) <= content_words() for u in queries)
    spoken = [[u.path.parent.name, u.voice.accent, u.voice.variant] for u in plan.utterances]
    assert Counter(kind for kind, *_ in {tuple(row) for row in spoken}) == {
        "Audio": 8,
        "dev_queries": 4,
        "eval_queries": 4,
    }
    assert len({variant for _, _, variant in spoken}) == 16
    for query in queries:
        found = [u for u in documents if query.text in [" ".join(run) for run in runs(u.text, query.text)]]
        assert len(found) >= 2
    assert {u.rate for u in plan.utterances} == {8_000}


def runs(text: str, query: str) -> list[list[str]]:
    """Every run of words of one clause that is as long as the query."""
    length = len(query.split())
    clauses = [clause.split() for clause in text.split(", ")]
    return [clause[i : i + length] for clause in clauses for i in range(len(clause) - length + 1)]


def test_content_words_are_words_one_would_search_for():
    assert content_words() < set(words())
    assert {"lantern", "farmer", "golden", "carried"} <= content_words()
    assert not {"the", "and", "she", "behind", "while", "two"} & content_words()


def test_mini_corpus_is_read_back(monkeypatch, tmp_path):
    monkeypatch.setattr(render, "SHARDS", 1)
    plan = quesst.plan(tmp_path, SMALL, np.random.default_rng(5))
    render.render(plan.utterances, workers=1)
    plan.finish()
    (fold,) = quesst14(tmp_path)
    sizes = {"documents": 6, "other documents": 3, "dev": 2, "other dev": 1, "test": 2, "other test": 1}
    assert {part: len(items) for part, items in fold.items()} == sizes
    texts = {u.path.stem: u.text for u in plan.utterances}
    for item in fold["dev"] + fold["test"]:
        query = texts[item.id]
        said = [d.id for d in fold["documents"] if query.split() in runs(texts[d.id], query)]
        assert item.label.split() == sorted(said)
        assert len(said) >= 2
    assert fold["other dev"][0].label == "quesst14_00007 quesst14_00008"
    for item in fold["documents"]:
        assert soundfile.info(item.path).samplerate == 8_000
        assert len(read_audio(item.path)) > 16_000
