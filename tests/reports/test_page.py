"""The report of a run: its files agree, carry the label, and show data as text."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reports.page
from reports.page import RunReport, _count, write_report
from reports.records import Record, RecordError, to_json
from reports.render import TEMPLATES, Picture

CURVES = {
    "student": [
        {"step": step, "loss": 100 / step, "valid_loss": 120 / step if step % 3 == 0 else None, "learning_rate": 1e-3}
        for step in range(1, 13)
    ]
}
COUNTS = [{"name": "starhubert", "size": "mini", "parameters": 1_240_000, "strict": 23_400_000_000, "method": "traced"}]
EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Collects what a page loads and runs, and the text of its cells, tables apart by their headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.warnings: list[str] = []
        self._open = ""
        self._title = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = "warning" if ("class", "warning") in attrs else tag
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag == "script":
            self.scripts.append("")
        if tag == "h2":
            self._title = ""
        elif tag == "tr":
            self.tables.setdefault(self._title, []).append([])
        elif tag in ("th", "td"):
            self.tables[self._title][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""
        if tag == "table":
            self._title = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts[-1] += data
        elif self._open == "warning":
            self.warnings.append(data)
        if self._open == "h2":
            self._title += data.strip()
        elif self._title in self.tables and self.tables[self._title][-1]:
            self.tables[self._title][-1][-1] += data.strip()


@pytest.fixture(autouse=True)
def figures(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Reports with one small picture instead of their figures; gives the function that draws them."""
    draw = reports.page.write_figures

    def one(folder: Path, *_: object) -> list[Picture]:
        folder.mkdir(parents=True)
        (folder / "a b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(8) + (700).to_bytes(4) + bytes(4))
        return [Picture(f"Size {EVIL}", folder / "a b.png", "Dashed: the teacher.")]

    monkeypatch.setattr(reports.page, "write_figures", one)
    return draw


def report(records: list[Record], **changes: Any) -> RunReport:
    settings = {"student": EVIL, "steps": 400, "betas": [0.9, 0.98], "probes": {"pr": {"steps": 4}, "ks": {"steps": 8}}}
    return replace(RunReport(records, COUNTS, CURVES, settings, {"distil": 12.5, "report": 0.5}), **changes)


def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_json_holds_the_run(tmp_path: Path, run: list[Record]) -> None:
    write_report(tmp_path, report(run, set_aside={"a.flac": "empty"}))
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(content) == ["records", "counts", "curves", "settings", "seconds", "set_aside"]
    assert content["records"] == [to_json(record) for record in run]
    assert content["counts"] == COUNTS and content["curves"] == CURVES
    assert content["set_aside"] == {"a.flac": "empty"}


def test_pages_hold_every_part(tmp_path: Path, record: Callable[..., Record]) -> None:
    records = [record(upstream=name, deviations=["400 steps"], skipped=["a.wav: empty"]) for name in ("a", "b")]
    write_report(tmp_path, report(records))
    html, text = ((tmp_path / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    for part in (
        "Measured: mini (synthetic speech)",
        "Published SUPERB results",
        "400 steps",
        "a.wav: empty",
        "1,240,000",
        "Dashed: the teacher.",
    ):
        assert part in html and part in text
    assert html.count("400 steps") == 1
    assert "(figures/a%20b.png)" in text
    assert base64.b64encode((tmp_path / "figures" / "a b.png").read_bytes()).decode() in html


def test_the_tables_tell_how_the_run_was_made(tmp_path: Path, record: Callable[..., Record]) -> None:
    ks = {"task": "ks", "metric": "acc", "higher_is_better": True}
    records = [
        record(upstream="a", deviations=["steps 4", "alone"], commit="0123456789abcdef", dirty=True),
        record(upstream="b", deviations=["steps 4"], commit="0123456789abcdef", dirty=False),
        record(upstream="a", **ks, deviations=["alone"], commit="fedcba9876543210", dirty=False, seconds={"test": 2}),
    ]
    write_report(tmp_path, report(records, set_aside={"c.flac": "too short"}))
    shown = page(tmp_path)
    assert shown.tables["Deviations from the official recipe"][1:] == [["pr", "steps 4", "all"], ["all", "alone", "a"]]
    assert shown.tables["Settings"][1:] == [["student", EVIL], ["steps", "400"], ["betas", "[0.9, 0.98]"]]
    assert shown.tables["Settings: probes"] == [["of", "steps"], ["pr", "4"], ["ks", "8"]]
    assert shown.tables["Size and cost"][1] == ["starhubert", "mini", "1,240,000", "23.4", "traced"]
    assert shown.tables["Seconds by stage"][1:] == [["distil", "12.5"], ["report", "0.5"]]
    assert shown.tables["Seconds by upstream, all tasks"][1:] == [["a", "1.5", "2"], ["b", "1.5", "–"]]
    assert shown.tables["Versions"][1:] == [["torch", "2.11.0"]]
    assert [row[:4] for row in shown.tables["Provenance"][1:]] == [
        ["0123456789ab", "uncommitted changes", "cpu", "1"],
        ["0123456789ab", "clean", "cpu", "1"],
        ["fedcba987654", "clean", "cpu", "1"],
    ]
    assert shown.warnings[0] == "uncommitted changes" and "clean" not in shown.warnings
    assert shown.tables["Failures"][1:] == [
        ["no value", "ks", "Not measured.", "b"],
        ["set aside", "distillation", "c.flac: too short", "–"],
    ]


def test_failures_give_their_reasons(tmp_path: Path, run: list[Record], record: Callable[..., Record]) -> None:
    write_report(tmp_path / "failed", report([replace(run[0], skipped=["a.wav: empty"]), *run[1:]]))
    assert page(tmp_path / "failed").tables["Failures"][1:] == [
        ["no value", "ks", "out of memory | at batch 3", "fbank"],
        ["set aside", "ks", "a.wav: empty", "starhubert"],
    ]
    write_report(tmp_path / "well", report([record()]))
    assert "None among 1 records." in (tmp_path / "well" / "report.html").read_text(encoding="utf-8")


def test_data_are_shown_as_text(tmp_path: Path, record: Callable[..., Record]) -> None:
    evil = {"upstream": EVIL, "deviations": [EVIL], "skipped": [EVIL], "device": EVIL, "versions": {EVIL: EVIL}}
    attribute = '" onload="alert(1)'
    write_report(tmp_path, report([record(**evil, commit=EVIL), record(upstream=attribute)], set_aside={EVIL: EVIL}))
    shown = page(tmp_path)
    assert shown.scripts == [(TEMPLATES / "sort.js").read_text(encoding="utf-8")]
    assert shown.handlers == [] and all(address.startswith("data:image/png") for address in shown.addresses)
    measured = shown.tables["Measured: mini (synthetic speech)"]
    assert [row[0] for row in measured[-2:]] == [EVIL, attribute]
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert EVIL not in text


def test_the_page_runs_no_script_but_its_own(tmp_path: Path, run: list[Record]) -> None:
    import hashlib

    write_report(tmp_path, report(run))
    digest = base64.b64encode(hashlib.sha256(page(tmp_path).scripts[0].encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in (
        tmp_path / "report.html"
    ).read_text(encoding="utf-8")


def test_a_run_without_records_gives_a_page(tmp_path: Path, figures: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(reports.page, "write_figures", figures)
    write_report(tmp_path, RunReport([], [], {}, {}, {}))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "the run has no records" in html and "None among 0 records." in html and "<img" not in html


def test_figures_are_those_of_the_run(
    tmp_path: Path, figures: Callable[..., Any], monkeypatch: Any, run: list[Record]
) -> None:
    monkeypatch.setattr(reports.page, "write_figures", figures)
    write_report(tmp_path, report(run, grams={"layer 2": (np.eye(3), np.ones((3, 2)))}))
    names = ["distillation", "gram-1", "macs"]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        f"{name}.{suffix}" for name in names for suffix in ("pdf", "png")
    ]
    assert len(page(tmp_path).addresses) == 3


def test_unlike_records_write_no_report(tmp_path: Path, record: Callable[..., Record]) -> None:
    with pytest.raises(RecordError, match="differ in suite"):
        write_report(tmp_path, report([record(), record(upstream="b", suite="superb")]))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(tmp_path, report([record()], seconds={"distil": float("nan")}))
    assert list(tmp_path.iterdir()) == []


def test_importing_reports_is_light() -> None:
    heavy = "torch numpy pandas matplotlib jinja2 rich scipy sklearn".split()
    code = f"import sys, reports.page, reports.figures; print([name for name in {heavy} if name in sys.modules])"
    root = Path(__file__).parents[2]
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=root).strip() == "[]"


def test_counts_keep_their_units():
    row = {"name": "a", "reconstructed": False, "parameters": 5, "as_published": 22_308_592, "strict": 463_501_579_392}
    assert _count(row | {"superb": None}) == {
        "name": "a",
        "parameters": 5,
        "as_published": 22_308_592,
        "strict (G)": 463.501579392,
        "superb (G)": None,
    }
