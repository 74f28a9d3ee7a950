"""A run's cells in one file: round trip, whole files or none, and every refusal."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.baseline import read_cells, save_baseline
from reports.records import Record, RecordError, write_record

ROWS = [{"id": "a", "reference": "x\u2028y", "hypothesis": "x"}, {"id": "ü", "reference": "z", "hypothesis": ""}]
Store = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path, record: Callable[..., Record]) -> Store:
    """Write a record and two predictions into the run's folder; keywords replace fields of the record."""

    def write(rows: list[dict[str, Any]] | None = ROWS, **changes: Any) -> Path:
        return write_record(tmp_path / "run" / "records", record(**{"n_examples": 2, "n_total": 2} | changes), rows)

    return write


def saved(tmp_path: Path) -> Path:
    save_baseline(tmp_path / "run", tmp_path / "b.json.gz")
    return tmp_path / "b.json.gz"


def test_round_trip(store: Store, tmp_path: Path) -> None:
    store()
    store(task="sf", metric="f1", seed=3)
    store(task="sf", metric="cer", seed=3)
    assert save_baseline(tmp_path / "run", tmp_path / "new" / "b.json.gz") == 3
    cells = read_cells(tmp_path / "new" / "b.json.gz")
    assert cells == read_cells(tmp_path / "run")
    assert sorted(cells) == [("starhubert", "pr", 0), ("starhubert", "sf_cer", 3), ("starhubert", "sf_f1", 3)]
    assert all(list(cell.predictions) == ROWS and not cell.problem for cell in cells.values())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["b.json.gz"]


def test_equal_runs_give_equal_bytes_and_a_baseline_can_be_saved_again(store: Store, tmp_path: Path) -> None:
    store()
    first = saved(tmp_path).read_bytes()
    assert saved(tmp_path).read_bytes() == first
    save_baseline(tmp_path / "b.json.gz", tmp_path / "c.json.gz")
    assert (tmp_path / "c.json.gz").read_bytes() == first


def test_predictions_that_two_metrics_share_are_kept_once(store: Store, tmp_path: Path) -> None:
    store(task="sf", metric="f1")
    store(task="sf", metric="cer")
    content = json.loads(gzip.decompress(saved(tmp_path).read_bytes()))["content"]
    assert content["predictions"] == [ROWS] and [cell["predictions"] for cell in content["cells"]] == [0, 0]


def test_a_failed_write_leaves_the_old_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store()
    before = saved(tmp_path).read_bytes()
    store(value=1.0)

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        saved(tmp_path)
    assert (tmp_path / "b.json.gz").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json.gz", "run"]


def test_incomplete_cells_are_told_at_once_and_nothing_is_written(store: Store, tmp_path: Path) -> None:
    store()
    store(seed=1, value=None, skipped=["out of memory"])
    store(seed=2, rows=None)
    with pytest.raises(RecordError) as caught:
        saved(tmp_path)
    assert str(caught.value).splitlines() == [
        "starhubert on pr: failed (out of memory)",
        "starhubert on pr: no predictions kept beside the record: run it again",
        "a baseline holds complete results only: run these tasks again",
    ]
    assert not (tmp_path / "b.json.gz").exists()


def test_predictions_that_cannot_be_read_are_a_problem_of_their_cell(store: Store, tmp_path: Path) -> None:
    store()
    store(seed=1).with_suffix(".jsonl").write_bytes(b'{"id": "a"}\n')
    store(seed=2).with_suffix(".jsonl").write_bytes(b"\xff\n")
    store(seed=3, n_examples=7)
    cells = read_cells(tmp_path / "run")
    assert [cell.problem for cell in cells.values()] == [
        "",
        "line 1 of starhubert.pr.seed1.jsonl holds no prediction: run the task again",
        "line 1 of starhubert.pr.seed2.jsonl holds no prediction: run the task again",
        "2 lines in starhubert.pr.seed3.jsonl, but 7 were scored: run the task again",
    ]
    assert [len(cell.predictions) for cell in cells.values()] == [2, 0, 0, 0]


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def rewrite(content: bytes) -> bytes:
        whole = json.loads(gzip.decompress(content))
        change(whole)
        return gzip.compress(json.dumps(whole).encode())

    return rewrite


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-9], "is no baseline"),
        (lambda content: content[:40] + b"\0\0\0\0" + content[44:], "is no baseline"),
        (lambda content: b"PK", "is no baseline"),
        (lambda content: gzip.compress(b"[1]"), "is no baseline"),
        (lambda content: gzip.compress(b"{"), "is no baseline"),
        (lambda content: gzip.compress(b"{}"), "is no baseline"),
        (lambda content: gzip.compress(b"\xff"), "is no baseline"),
        (rewritten(lambda whole: whole.update(version=2)), "version 2; expected 'star-harness-baseline', version 1"),
        (rewritten(lambda whole: whole.update(format="x")), "format 'x', version 1; expected"),
        (rewritten(lambda whole: whole["content"]["cells"][0]["record"].update(value=1.0)), "its own hash"),
        (rewritten(lambda whole: whole["content"]["predictions"][0].pop()), "its own hash"),
    ],
)
def test_a_damaged_file_is_named(store: Store, tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    store()
    path = saved(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RecordError) as caught:
        read_cells(path)
    assert str(path) in str(caught.value) and message in str(caught.value)
    assert "harness baseline save" in str(caught.value)


def test_what_is_no_run_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"nothing at .*nowhere: expected a run's folder, or a file"):
        read_cells(tmp_path / "nowhere")
    with pytest.raises(RecordError, match=r"no folder .*records"):
        read_cells(tmp_path)
    (tmp_path / "records").mkdir()
    with pytest.raises(RecordError, match="no records in"):
        read_cells(tmp_path)
    path = store()
    path.with_name("copy.seed0.json").write_bytes(path.read_bytes())
    with pytest.raises(RecordError, match=r"2 records in .*run for 1 cells: remove"):
        read_cells(tmp_path / "run")
