"""Records: round trip, whole files or none, and every refusal."""

import json
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from reports.records import Record, RecordError, read_records, remove_half_written, to_json, write_record

Make = Callable[..., Record]


def test_round_trip(tmp_path: Path, record: Make) -> None:
    written = [record(stderr=0.5, stderr_method="bootstrap"), record(seed=1, value=None, skipped=["später"])]
    for item in written:
        write_record(tmp_path, item, None)
    assert read_records(tmp_path) == written


def test_predictions_lie_beside_the_record(tmp_path: Path, record: Make) -> None:
    lines = [{"id": "a", "hypothesis": "b c"}, {"id": "ü", "hypothesis": ""}]
    path = write_record(tmp_path, record(), lines)
    assert path.name == "starhubert.pr.seed0.json"
    (read,) = read_records(tmp_path)
    assert read.predictions == "starhubert.pr.seed0.jsonl"
    text = (tmp_path / read.predictions).read_text(encoding="utf-8")
    assert [json.loads(line) for line in text.splitlines()] == lines
    write_record(tmp_path, record(), None)
    assert [item.name for item in tmp_path.iterdir()] == ["starhubert.pr.seed0.json"]


@pytest.mark.parametrize("upstream", ["hf:../../etc/passwd", "/x/y", "..", "a b\n", "<script>"])
def test_file_stays_in_the_folder(tmp_path: Path, record: Make, upstream: str) -> None:
    path = write_record(tmp_path, record(upstream=upstream), [])
    assert path.parent == tmp_path and path.is_file()
    assert read_records(tmp_path)[0].upstream == upstream


def test_names_do_not_collide(tmp_path: Path, record: Make) -> None:
    assert len({write_record(tmp_path, record(upstream=name), None) for name in ("a/b", "a_b", "a:b", "a%2Fb")}) == 4


def test_json_is_plain(tmp_path: Path, record: Make) -> None:
    values = json.loads(write_record(tmp_path, record(value=None), None).read_text(encoding="utf-8"))
    assert list(values) == [field.name for field in fields(Record)]
    assert values["value"] is None and values["stderr"] is None and values["parameters"] == 1_240_000
    assert values == to_json(record(value=None))


@pytest.mark.parametrize("config", [{"loss": float("nan")}, {"loss": float("inf")}, {"path": Path("x")}])
def test_value_that_json_cannot_hold_writes_nothing(tmp_path: Path, record: Make, config: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=r"starhubert\.pr\.seed0: .*expected plain finite"):
        write_record(tmp_path, record(config=config), [{"id": "a"}])
    with pytest.raises(RecordError, match="expected plain finite"):
        write_record(tmp_path, record(), [{"id": "a"}, config])
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_record(tmp_path: Path, record: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_record(tmp_path, record(), None)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_record(tmp_path, record(value=99.0), None)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_predictions_come_first(tmp_path: Path, record: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def second_time_full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", second_time_full)
    with pytest.raises(OSError, match="no space"):
        write_record(tmp_path, record(), [{"id": "a"}])
    assert [item.name for item in tmp_path.iterdir()] == ["starhubert.pr.seed0.jsonl"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 1}, "schema_version is 1; expected 3"),
        ({"value": "12"}, "value is '12'; expected float | None"),
        ({"value": True}, "value is True"),
        ({"value": float("nan")}, "value is nan; expected a finite number"),
        ({"value": float("-inf")}, "value is -inf"),
        ({"suite": "maxi"}, "suite is 'maxi'"),
        ({"seed": 1.0}, "seed is 1.0; expected int"),
        ({"synthetic": 1}, "synthetic is 1; expected bool"),
        ({"learning_rates": (0.1,)}, "learning_rates is"),
    ],
)
def test_wrong_value_is_refused(record: Make, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError) as caught:
        replace(record(), **change)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-20], "not a JSON file"),
        (lambda text: text.replace("12.5", "NaN"), "NaN"),
        (lambda text: text.replace("12.5", '"12.5"'), "value is '12.5'"),
        (lambda text: text.replace('"schema_version": 3', '"schema_version": 7'), "schema_version is 7"),
        (lambda text: text.replace('"schema_version": 3,', ""), "schema_version is None"),
        (lambda text: text.replace('"metric"', '"metrik"'), "unknown key 'metrik', missing key 'metric'"),
        (lambda text: "[]", "holds a list"),
    ],
)
def test_bad_file_is_named(tmp_path: Path, record: Make, damage: Callable[[str], str], message: str) -> None:
    path = write_record(tmp_path, record(), None)
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value) and message in str(caught.value)


def test_missing_folder_is_named_and_other_files_ignored(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no folder .*nowhere"):
        read_records(tmp_path / "nowhere")
    (tmp_path / "report.json").write_text("{}")
    assert read_records(tmp_path) == []


def test_half_written_files_are_removed_and_nothing_else(tmp_path):
    names = [".pr.seed0.json.12.tmp", ".hidden.tmp", ".tmp", "a.12.tmp", "pr.seed0.json"]
    for name in names:
        (tmp_path / name).touch()
    remove_half_written(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
