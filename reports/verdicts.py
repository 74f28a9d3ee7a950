"""The gate's outcomes as a table, JSON, JUnit XML and a Markdown summary; everything from data is escaped."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from reports.gate import LEVEL, Outcome, exit_code
from reports.render import markdown
from reports.tables import ARROWS, MISSING, Cell, Table

_COLUMNS = ("Upstream", "Task", "Seed", "Baseline", "Candidate", "Better by", "Std. error", "Verdict", "Why")
_ALIGN = "llrrrrrll"
VERDICTS = {0: "passed", 1: "failed", 3: "incomplete"}
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LEVEL_NOTE = (
    f"A regression is worse by more than the tolerance, with p at most {LEVEL:g} after Holm's correction over all "
    f"cells compared."
)


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """One row a cell, with its scores, the change (positive is better), its standard error and the verdict in words."""
    rows = tuple(_row(outcome) for outcome in outcomes)
    return Table("Regression gate", _COLUMNS, _ALIGN, rows, (headline(outcomes), _LEVEL_NOTE))


def headline(outcomes: Sequence[Outcome]) -> str:
    """The verdict and how many cells are in each state, in one line."""
    counts = Counter(outcome.status for outcome in outcomes)
    told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return f"{VERDICTS[exit_code(outcomes)]}: of {len(outcomes)} cells, {told}"


def to_plain(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Plain values for JSON: verdict, exit_code, level, cells."""
    code = exit_code(outcomes)
    cells = [asdict(outcome) for outcome in outcomes]
    return {"verdict": VERDICTS[code], "exit_code": code, "level": LEVEL, "cells": cells}


def summary(outcomes: Sequence[Outcome]) -> str:
    """A short text in GitHub Markdown: the headline, and only the cells that did not pass."""
    failing = tuple(_row(outcome) for outcome in outcomes if outcome.status != "pass")
    text = f"**Regression gate {headline(outcomes)}**\n"
    if not failing:
        return text
    return f"{text}\n{markdown([Table('What did not pass', _COLUMNS, _ALIGN, failing, (_LEVEL_NOTE,))])}"


def junit(outcomes: Sequence[Outcome]) -> bytes:
    """JUnit XML, one test case a cell: a regression is a failure, a cell that could not be compared an error."""
    counts = Counter(outcome.status for outcome in outcomes)
    errors = len(outcomes) - counts["regression"] - counts["pass"]
    totals = {"tests": str(len(outcomes)), "failures": str(counts["regression"]), "errors": str(errors)}
    root = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "harness check", **totals})
    for outcome in outcomes:
        name = _clean(f"{outcome.task} {outcome.metric} seed {outcome.seed}")
        case = ElementTree.SubElement(suite, "testcase", classname=_clean(outcome.upstream), name=name)
        if outcome.status == "pass":
            ElementTree.SubElement(case, "system-out").text = _clean(outcome.reason)
        else:
            kind = "failure" if outcome.status == "regression" else "error"
            ElementTree.SubElement(case, kind, type=outcome.status, message=_clean(outcome.reason))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True))


def _row(outcome: Outcome) -> tuple[Cell, ...]:
    scores = [MISSING if value is None else f"{value:.2f}" for value in (outcome.baseline, outcome.candidate)]
    change = MISSING if outcome.drop is None else f"{0.0 - outcome.drop:+.2f}"
    stderr = MISSING if outcome.stderr is None else f"{outcome.stderr:.2f}"
    return (
        Cell(_clean(outcome.upstream)),
        Cell(_clean(f"{outcome.task} {outcome.metric} {ARROWS[outcome.higher_is_better]}")),
        Cell(str(outcome.seed)),
        *map(Cell, scores),
        Cell(change),
        Cell(stderr),
        Cell(outcome.status, "" if outcome.status == "pass" else "best"),
        Cell(_clean(outcome.reason)),
    )


def _clean(text: str) -> str:
    """Text on one line, without the characters that XML or a terminal cannot take."""
    return _UNPRINTABLE.sub("\ufffd", " ".join(text.split()))
