"""Files that a run can do without: left out, counted, named in the record and shown in the table, up to a limit."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import soundfile

import harness.suite
from harness.distill_data import DistillationData
from harness.features import Extractor, bad_file_limit
from reports.records import read_records
from students.upstreams import fbank
from tasks.base import Item, Trial
from tasks.mini.settings import MINI_PROBES


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Probes of a few updates."""
    probes = {name: replace(probe, steps=4, eval_every=2, batch=2) for name, probe in MINI_PROBES.items()}
    monkeypatch.setattr(harness.suite, "MINI_PROBES", probes)


def listed(root: Path, part: str) -> list[Path]:
    """Files of VoxCeleb1 in one part of the identification list, by its number."""
    lines = (root / "VoxCeleb1/iden_split.txt").read_text().splitlines()
    names = [line[2:] for line in lines if line.startswith(part)]
    return [next((root / "VoxCeleb1").glob(f"*/wav/{name}")) for name in names]


def evaluate(harness, root: Path, out: Path, task: str):
    return harness("evaluate", "--upstream", "fbank", "--tasks", task, "--corpora", root, "--out", out)


def test_what_is_set_aside_is_counted_named_and_shown(suite, harness, tmp_path):
    root, out = suite("VoxCeleb1"), tmp_path / "out"
    (broken, long, *_), (short, *_) = listed(root, "1"), listed(root, "3")
    broken.write_bytes(b"RIFF no audio")
    soundfile.write(long, np.zeros(181 * 16_000), 16_000)
    soundfile.write(short, np.zeros(100), 16_000)
    result = evaluate(harness, root, out, "sid")
    assert result.exit_code == 0
    (record,) = read_records(out / "records")
    reasons = {
        broken: f"cannot read {broken.name}: Format not recognised.",
        long: f"cannot use {long.name}: it lasts 181 s, more than the 180 s that are read: cut it into shorter files",
        short: f"cannot use {short.name}: 100 samples from 0, fewer than a frame's 400",
    }
    names = {path: path.relative_to(path.parents[2]).as_posix() for path in reasons}
    assert sorted(record.skipped) == sorted(f"{names[path]}: {reason}" for path, reason in reasons.items())
    assert record.n_examples == record.n_total - 1 and record.value is not None
    note = f"3 items set aside, named in the records; {record.n_examples} of {record.n_total} items scored."
    assert note in result.stdout and note in (out / "report.md").read_text()
    page = unescape((out / "report.html").read_text())
    assert note in page and all(f"{names[path]}: {reason}" in page for path, reason in reasons.items())
    assert note in harness("report", out, "--format", "latex").stdout


def test_above_the_limit_a_task_stops_and_says_so(suite, harness, tmp_path, monkeypatch):
    root = suite("VoxCeleb1")
    monkeypatch.setattr("harness.features.FEWEST_BAD", 2)
    for path in listed(root, "1")[:3]:
        path.write_bytes(b"RIFF no audio")
    result = evaluate(harness, root, tmp_path / "out", "sid")
    (record,) = read_records(tmp_path / "out/records")
    (reason,) = record.skipped
    assert record.value is None and result.exit_code == 1
    assert reason.startswith("3 audio files cannot be used, more than the limit of 2; the last: cannot read ")
    assert re.search(r"\.wav: Format not recognised\. \(id\S+\.wav\): unpack the archive of these files again$", reason)
    assert f"Error: fbank on sid: {reason}" in result.stderr.splitlines()


def test_the_limit_is_one_file_in_a_thousand_and_20_at_least():
    files = [Item(str(i), Path(f"{i}.wav"), "") for i in range(24_000)]
    assert bad_file_limit([{"train": files[:10], "test": files[10:15]}]) == 20
    assert bad_file_limit([{"train": files[:20_999]}]) == 20
    assert bad_file_limit([{"train": files}, {"train": files[1_000:]}]) == 24  # files count once
    stretches = [Item(item.id, item.path, "", start) for item in files[:6_000] for start in range(4)]
    assert bad_file_limit([{"train": stretches}]) == 20
    pairs = zip(files[:12_000], files[12_000:], strict=True)
    assert bad_file_limit([{"test": [Trial(a.id, a.path, "0", other=b.path) for a, b in pairs]}]) == 24


def last_of_dev(root: Path) -> str:
    for path in listed(root, "2"):
        path.write_bytes(b"RIFF no audio")
    return f"none of {len(listed(root, '2'))} utterances can be used; the last: "


def one_kind_of_trials(root: Path) -> str:
    lines = (root / "VoxCeleb1/veri_test.txt").read_text().splitlines()
    same = [line.split()[1:] for line in lines if line[0] == "1"]
    for name in {pair[0] for pair in same}:
        (root / "VoxCeleb1/test/wav" / name).write_bytes(b"RIFF no audio")
    left = [line for line in lines if not {pair[0] for pair in same} & set(line.split())]
    return f"{len(left)} of {len(lines)} trials can be used: expected some of one speaker and some of two"


def no_document(root: Path) -> str:
    for path in (root / "quesst14Database/Audio").iterdir():
        path.write_bytes(b"RIFF no audio")
    return "6 files cannot be used, and no query of dev occurs in what is left; the last: cannot read "


@pytest.mark.parametrize(
    ("task", "corpus", "spoil"),
    [
        ("sid", "VoxCeleb1", last_of_dev),
        ("asv", "VoxCeleb1", one_kind_of_trials),
        ("qbe", "quesst14Database", no_document),
    ],
)
def test_a_part_of_which_nothing_is_left_stops_its_task(task, corpus, spoil, suite, harness, tmp_path):
    root = suite(corpus)
    reason = spoil(root)
    result = evaluate(harness, root, tmp_path / "out", task)
    (record,) = read_records(tmp_path / "out/records")
    assert result.exit_code == 1 and record.value is None
    assert record.skipped[0].startswith(reason)


def test_distillation_leaves_out_what_is_too_long_by_its_header(tmp_path, monkeypatch):
    for name, seconds in (("a", 1), ("b", 181)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(seconds * 8_000), 8_000)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("the samples were read"))
    teacher = Extractor(fbank())
    items = [Item(name, tmp_path / f"{name}.wav", "") for name in ("a", "b")]
    data = DistillationData(items, teacher, live=True, advance=lambda count: None)
    assert list(data.items) == ["a"] and data.samples == {"a": 16_000}
    assert list(teacher.skipped) == ["b"] and "it lasts 181 s, more than the 180 s" in teacher.skipped["b"]
