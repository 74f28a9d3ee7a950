"""The record reader on drawn records, whole and damaged."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reports.records import Record, RecordError, from_json, read_predictions, read_records, to_json, write_record

WORD = st.text(min_size=1, max_size=12) | st.text("/.~%a", min_size=1, max_size=6)
NUMBER = st.floats(allow_nan=False, allow_infinity=False, width=64)
MAYBE = st.none() | NUMBER
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | NUMBER | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.builds(
    Record,
    upstream=WORD,
    upstream_kind=st.sampled_from(["student", "teacher", "random", "fbank", "upstream"]),
    checkpoint_sha256=st.none() | WORD,
    teacher=st.none() | WORD,
    objective=st.none() | WORD,
    task=WORD,
    task_version=st.integers(0, 9),
    split=WORD,
    metric=WORD,
    value=MAYBE,
    higher_is_better=st.booleans(),
    stderr=MAYBE,
    low=MAYBE,
    high=MAYBE,
    stderr_method=st.none() | WORD,
    n_examples=st.integers(0),
    n_total=st.integers(0),
    suite=st.sampled_from(["mini", "superb"]),
    synthetic=st.booleans(),
    seed=st.integers(0),
    parameters=st.none() | st.integers(0),
    macs=st.none() | st.integers(0),
    macs_convention=st.none() | WORD,
    config_hash=WORD,
    config=st.dictionaries(WORD, JSON, max_size=3),
    learning_rate=MAYBE,
    learning_rates=st.lists(NUMBER, max_size=3),
    dev_value=MAYBE,
    data_fingerprint=WORD,
    commit=st.none() | WORD,
    dirty=st.none() | st.booleans(),
    versions=st.dictionaries(WORD, WORD, max_size=2),
    device=WORD,
    started_at=WORD,
    seconds=st.dictionaries(WORD, NUMBER, max_size=2),
    deviations=st.lists(WORD, max_size=2),
    skipped=st.lists(WORD, max_size=2),
    predictions=st.none(),
)


@settings(max_examples=50)
@given(RECORDS, st.none() | st.lists(st.fixed_dictionaries({"id": WORD, "hypothesis": JSON}), max_size=3))
def test_a_record_and_its_predictions_come_back(record: Record, predictions: list[dict[str, Any]] | None) -> None:
    with TemporaryDirectory() as folder:
        path = write_record(Path(folder), record, predictions)
        assert path.parent == Path(folder)
        (found,) = read_records(Path(folder))
        assert to_json(found) == to_json(record) | {"predictions": found.predictions}
        if predictions is not None and len(predictions) == record.n_examples:
            assert read_predictions(Path(folder), found) == predictions


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every key or index in a JSON value, with what holds it."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A record's text with values, keys or letters changed."""
    values = to_json(draw(RECORDS))
    for _ in range(draw(st.integers(0, 2))):
        holder, key = draw(st.sampled_from(list(places(values)) or [({"": 0}, "")]))
        if draw(st.booleans()):
            holder[key] = draw(JSON | st.sampled_from([float("nan"), float("inf"), 2, 3, 10**400, {}, [[]]]))
        else:
            holder.pop(key)
    text = json.dumps(values)
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.text('{}[]",:0e-\\u', max_size=2)) + text[place + draw(st.integers(0, 2)) :]
    return text


def taken(text: str | bytes) -> Record | None:
    """What the reader makes of a file; None if it is refused with its name."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.pr.seed0.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        try:
            (record,) = read_records(Path(folder))
        except RecordError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            return None
        return record


@settings(max_examples=80)
@given(damaged() | JSON.map(json.dumps) | st.text(max_size=30) | st.binary(max_size=30))
def test_any_file_is_a_record_or_refused(text: str | bytes) -> None:
    record = taken(text)
    assert record is None or from_json(json.loads(text), "again") == record


@settings(max_examples=40)
@given(RECORDS, JSON)
def test_any_value_in_any_place_is_taken_or_refused(record: Record, value: Any) -> None:
    values = to_json(record)
    for key in values:
        try:
            from_json(values | {key: value}, "here")
        except RecordError as error:
            assert str(error).startswith("here: ")


@settings(max_examples=30)
@given(RECORDS, st.data())
def test_a_record_without_a_key_or_with_another_is_refused(record: Record, data: st.DataObject) -> None:
    values = to_json(record)
    lost = data.draw(st.sampled_from(sorted(values)))
    assert taken(json.dumps({key: value for key, value in values.items() if key != lost})) is None
    other = data.draw(WORD)
    assume(other not in values)
    assert taken(json.dumps(values | {other: 1})) is None
