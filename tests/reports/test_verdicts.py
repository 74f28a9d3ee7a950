"""The gate's outcomes in every form, read back by parsers."""

import io
import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from reports.gate import Evidence, Finding, Outcome, Problem, judge
from reports.records import Record
from reports.render import terminal
from reports.verdicts import headline, junit, outcome_table, summary, to_plain

EVIL = '<b>&"]]>|*x*\x1b[31m\x00\n`y`'
SAFE = '<b>&"]]>|*x*\ufffd[31m\ufffd `y`'
GOLDEN = """\
**Regression gate failed: of 3 cells, 1 pass, 1 regression, 1 missing**

## What did not pass

| Upstream | Task | Seed | Baseline | Candidate | Better by | Std. error | Tolerance | p | Verdict |
|---|---|---:|---:|---:|---:|---:|---:|---:|---|
| starhubert | ks acc ↑ | 0 | 90.00 | 84.00 | -6.00 | 1.50 | 0.5 | 8.4e-05 | **regression**¹ |
| starhubert | ic acc ↑ | 0 | 12.50 | – | – | – | 0.5 | – | **missing**² |

¹ worse by 6.00 points, tolerance 0.5: standard error 1.50 (paired bootstrap over utterances), p = 8.4e-05

² gone

A regression is worse by more points than the tolerance, with p at most 0.03 after Holm's correction over all cells \
compared.
"""


@pytest.fixture
def outcomes(record: Callable[..., Record]) -> list[Outcome]:
    """One cell that passes, one that is worse, one that is missing."""
    method = "paired bootstrap over utterances"
    accuracy: dict[str, Any] = {"metric": "acc", "higher_is_better": True}
    baseline, candidate = (record(task="ks", value=value, **accuracy) for value in (90.0, 84.0))
    return judge(
        [
            Finding(record(), record(value=12.0), Evidence(-0.5, 1.0, 110, method)),
            Finding(baseline, candidate, Evidence(6.0, 1.5, 240, method)),
            Finding(record(task="ic", **accuracy), None, Problem("missing", "gone")),
        ]
    )


@pytest.fixture
def evil(record: Callable[..., Record]) -> list[Outcome]:
    cell = record(upstream=EVIL, task=EVIL, metric=EVIL)
    return judge([Finding(cell, cell, Problem("failed", EVIL)), Finding(cell, cell, Evidence(-1.0, 1.0, 9, EVIL))])


def test_table(outcomes: list[Outcome]) -> None:
    rows = [[cell.text for cell in row] for row in outcome_table(outcomes).rows]
    assert rows[0] == ["starhubert", "pr PER ↓", "0", "12.50", "12.00", "+0.50", "1.00", "0.5", "0.69", "pass"]
    assert [row[-1] for row in rows] == ["pass", "regression", "missing"]
    assert [row[-1].mark for row in outcome_table(outcomes).rows] == ["", "best", "best"]
    assert outcome_table(outcomes).notes[0] == headline(outcomes)


def test_no_change_has_no_minus(record: Callable[..., Record]) -> None:
    (row,) = outcome_table(judge([Finding(record(), record(), Evidence(0.0, 0.0, 9, ""))])).rows
    assert row[5].text == "+0.00"


def test_headlines(outcomes: list[Outcome]) -> None:
    passed, worse, missing = outcomes
    assert headline([passed, passed]) == "passed: of 2 cells, 2 pass"
    assert headline([passed, missing]) == "incomplete: of 2 cells, 1 pass, 1 missing"
    assert headline([worse, missing]).startswith("failed: of 2 cells")


def test_json(outcomes: list[Outcome]) -> None:
    plain = json.loads(json.dumps(to_plain(outcomes), allow_nan=False))
    assert (plain["verdict"], plain["exit_code"], plain["level"]) == ("failed", 1, 0.03)
    cell = plain["cells"][1]
    assert (cell["task"], cell["status"], cell["baseline"], cell["candidate"]) == ("ks", "regression", 90.0, 84.0)
    assert (cell["drop"], cell["stderr"], cell["tolerance"]) == (6.0, 1.5, 0.5)
    assert plain["cells"][2]["drop"] is None


def test_summary_is_the_golden_text(outcomes: list[Outcome]) -> None:
    assert summary(outcomes) == GOLDEN
    assert summary(outcomes[:1]) == "**Regression gate passed: of 1 cells, 1 pass**\n"


def test_junit(outcomes: list[Outcome]) -> None:
    root = ElementTree.fromstring(junit(outcomes))
    assert root.tag == "testsuites"
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    cases = list(suite)
    assert [(case.get("classname"), case.get("name")) for case in cases] == [
        ("starhubert", "pr PER seed 0"),
        ("starhubert", "ks acc seed 0"),
        ("starhubert", "ic acc seed 0"),
    ]
    assert [[(child.tag, child.get("type")) for child in case] for case in cases] == [
        [("system-out", None)],
        [("failure", "regression")],
        [("error", "missing")],
    ]
    assert cases[1][0].get("message", "").startswith("worse by 6.00 points")


def test_all_data_is_escaped(evil: list[Outcome]) -> None:
    case = next(ElementTree.fromstring(junit(evil)).iter("testcase"))
    assert case.get("classname") == case[0].get("message") == SAFE
    text = summary(evil)
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 3
    assert not any(mark in text for mark in ("<b>", "\x1b", "\x00", "|*x*", " `y`"))
    file = io.StringIO()
    terminal(outcome_table(evil), Console(file=file, width=400))
    assert SAFE in file.getvalue() and "\x1b" not in file.getvalue()
