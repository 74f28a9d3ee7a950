"""What identifies data, and where states of them may be taken from."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

import harness.suite
from harness.suite import Store, Suite
from tasks.base import Trial


@pytest.fixture(autouse=True)
def fresh():
    """Files change within a test, not within a run."""
    harness.suite._described.cache_clear()
    yield
    harness.suite._described.cache_clear()


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite("superb", tmp_path, None, Store(tmp_path / "states", 10**9))


def folds(*items):
    return [{"train": list(items)}]


def rewritten(item, content: bytes):
    """The item, its file written anew a second later."""
    written = item.path.stat().st_mtime_ns
    item.path.write_bytes(content)
    os.utime(item.path, ns=(written + 10**9, written + 10**9))
    harness.suite._described.cache_clear()
    return item


def test_the_same_upstream_and_corpus_have_one_place(suite, projection, recording):
    a, b = recording("a", "x", 5), recording("b", "y", 6)
    place = suite.cache(projection, folds(a, b)).folder
    assert suite.cache(projection, folds(b, a)).folder == place  # in any order, by any task
    assert suite.cache(projection, folds(replace(a, label="z"), b)).folder == place  # labels are not heard
    assert projection.fingerprint in (place / "address.txt").read_text()


CHANGES = {
    "weights": lambda upstream: replace(upstream, fingerprint="other"),
    "name": lambda upstream: replace(upstream, name="other"),
    "states": lambda upstream: replace(upstream, states=upstream.states[:2]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_upstream_has_another_place(change, suite, projection, recording):
    some = folds(recording("a", "x", 5))
    assert suite.cache(CHANGES[change](projection), some).folder != suite.cache(projection, some).folder


def test_another_corpus_has_another_place(suite, projection, recording):
    a, b = recording("a", "x", 5), recording("b", "x", 5)
    places = [suite.cache(projection, folds(*items)).folder for items in ((a,), (b,), (a, b))]
    content = a.path.read_bytes()
    places.append(suite.cache(projection, folds(rewritten(a, content + b"  "))).folder)
    places.append(suite.cache(projection, folds(rewritten(a, content[:-2] + b"xyxy"))).folder)  # as long as before
    assert len(set(places)) == len(places)


def test_the_version_of_states_and_of_torch_have_a_place_of_their_own(suite, projection, recording, monkeypatch):
    some = folds(recording("a", "x", 5))
    places = [suite.cache(projection, some).folder]
    monkeypatch.setattr(harness.suite, "STATES_VERSION", 999)
    places.append(suite.cache(projection, some).folder)
    monkeypatch.setattr(harness.suite, "version", lambda package: f"{package} 9.9")
    places.append(suite.cache(projection, some).folder)
    assert len(set(places)) == 3


def test_the_fingerprint_of_data_tells_labels_names_and_sizes_but_not_places_or_dates(suite, recording):
    a, b = recording("a", "x", 5), recording("b", "y", 6)
    whole = suite.data_fingerprint(folds(a, b))
    assert suite.data_fingerprint(folds(rewritten(a, a.path.read_bytes()), b)) == whole
    trial = Trial("a b", a.path, "1", other=b.path)
    changed = [
        folds(replace(a, label="z"), b),
        folds(a),
        [{"dev": [a, b]}],
        folds(trial),
        folds(replace(trial, other=a.path)),
    ]
    prints = [suite.data_fingerprint(some) for some in changed]
    prints.append(suite.data_fingerprint(folds(rewritten(a, a.path.read_bytes() + b"  "), b)))
    assert len({whole, *prints}) == 1 + len(prints)


def test_a_file_that_is_not_there_has_a_fingerprint_too(suite, recording, tmp_path):
    gone = replace(recording("a", "x", 5), path=tmp_path / "gone.wav")
    assert suite.data_fingerprint(folds(gone)) == suite.data_fingerprint(folds(gone))
