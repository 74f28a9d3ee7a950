"""The report of a run: its three files agree and carry the label."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reports.figures import distillation_figure
from reports.page import RunReport, write_report
from reports.records import Record, RecordError, to_json

CURVES = {
    "student": [
        {"step": step, "loss": 100 / step, "valid_loss": 120 / step if step % 3 == 0 else None, "learning_rate": 1e-3}
        for step in range(1, 13)
    ]
}
COUNTS = [{"name": "starhubert", "size": "mini", "parameters": 1_240_000, "macs": 23_400_000_000, "method": "traced"}]


def report(records: list[Record], figure: Path | None = None) -> RunReport:
    return RunReport(records, COUNTS, CURVES, {"student": "<script>", "steps": 400}, {"distil": 12.5}, figure)


def test_json_holds_the_run(tmp_path: Path, run: list[Record]) -> None:
    write_report(tmp_path, report(run))
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(content) == ["records", "counts", "curves", "settings", "seconds"]
    assert content["records"] == [to_json(record) for record in run]
    assert content["counts"] == COUNTS and content["curves"] == CURVES


def test_pages_hold_every_part(tmp_path: Path, record: Callable[..., Record]) -> None:
    figure = tmp_path / "elsewhere" / "my figure.png"
    distillation_figure(CURVES, [("a", 10**6, 50.0)], figure)
    records = [record(upstream=name, deviations=["400 steps"], skipped=["a.wav: empty"]) for name in ("<script>", "b")]
    folder = tmp_path / "run"
    write_report(folder, report(records, figure))
    page, text = ((folder / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    for part in (
        "Measured: mini (synthetic speech)",
        "Published SUPERB results",
        "400 steps",
        "a.wav: empty",
        "1,240,000",
    ):
        assert part in page and part in text
    assert page.count("400 steps") == 1
    assert "<script" not in page
    assert base64.b64encode(figure.read_bytes()).decode() in page
    assert "(my%20figure.png)" in text and (folder / "my figure.png").read_bytes() == figure.read_bytes()


def test_unlike_records_write_no_report(tmp_path: Path, record: Callable[..., Record]) -> None:
    with pytest.raises(RecordError, match="differ in suite"):
        write_report(tmp_path, report([record(), record(upstream="b", suite="superb")]))
    assert list(tmp_path.iterdir()) == []


def test_importing_reports_is_light() -> None:
    heavy = "torch numpy pandas matplotlib jinja2 rich scipy sklearn".split()
    code = f"import sys, reports.page, reports.figures; print([name for name in {heavy} if name in sys.modules])"
    root = Path(__file__).parents[2]
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=root).strip() == "[]"
