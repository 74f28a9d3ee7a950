"""The gate's outcomes as a table, JSON, JUnit XML and a Markdown summary; everything from data is escaped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any
from xml.etree import ElementTree

from reports.gate import LEVEL, Outcome, exit_code
from reports.layout import ARROWS, MISSING, Cell, Column, Section, Table, fixed, plain
from reports.render import markdown

VERDICTS = {0: "passed", 1: "failed", 3: "incomplete"}
_COLUMNS = (
    Column("Upstream", align="l"),
    Column("Task", align="l"),
    *map(Column, ("Seed", "Baseline", "Candidate", "Better by", "Std. error", "Tolerance", "p")),
    Column("Verdict", align="l"),
)
_NOTE = (
    f"A regression is worse by more points than the tolerance, with p at most {LEVEL:g} after Holm's correction over "
    "all cells compared."
)


def outcome_table(outcomes: Sequence[Outcome], title: str = "Regression gate") -> Table:
    """One row a cell: scores, the change in points (positive is better), the verdict; a footnote says why it fails."""
    reasons = list(dict.fromkeys(plain(outcome.reason) for outcome in outcomes if outcome.status != "pass"))
    rows = tuple(_row(outcome, reasons) for outcome in outcomes)
    return Table(title, _COLUMNS, (Section("", rows),), tuple(reasons), (headline(outcomes), _NOTE))


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
    text = f"**Regression gate {headline(outcomes)}**\n"
    failing = [outcome for outcome in outcomes if outcome.status != "pass"]
    if not failing:
        return text
    return f"{text}\n{markdown([replace(outcome_table(failing, 'What did not pass'), notes=(_NOTE,))])}"


def junit(outcomes: Sequence[Outcome]) -> bytes:
    """JUnit XML, one test case a cell: a regression is a failure, a cell that could not be compared an error."""
    counts = Counter(outcome.status for outcome in outcomes)
    errors = len(outcomes) - counts["regression"] - counts["pass"]
    totals = {"tests": str(len(outcomes)), "failures": str(counts["regression"]), "errors": str(errors)}
    root = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "harness check", **totals})
    for outcome in outcomes:
        name = plain(f"{outcome.task} {outcome.metric} seed {outcome.seed}")
        case = ElementTree.SubElement(suite, "testcase", classname=plain(outcome.upstream), name=name)
        if outcome.status == "pass":
            ElementTree.SubElement(case, "system-out").text = plain(outcome.reason)
        else:
            kind = "failure" if outcome.status == "regression" else "error"
            ElementTree.SubElement(case, kind, type=outcome.status, message=plain(outcome.reason))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True))


def _row(outcome: Outcome, reasons: Sequence[str]) -> tuple[Cell, ...]:
    change = MISSING if outcome.drop is None else f"{0.0 - outcome.drop:+.2f}"
    failing = outcome.status != "pass"
    return (
        Cell(plain(outcome.upstream)),
        Cell(plain(f"{outcome.task} {outcome.metric} {ARROWS[outcome.higher_is_better]}")),
        Cell(str(outcome.seed)),
        Cell(fixed(outcome.baseline, 2)),
        Cell(fixed(outcome.candidate, 2)),
        Cell(change),
        Cell(fixed(outcome.stderr, 2)),
        Cell(f"{outcome.tolerance:g}"),
        Cell(MISSING if outcome.p_value is None else f"{outcome.p_value:.2g}"),
        Cell(
            outcome.status,
            "best" if failing else "",
            footnotes=(reasons.index(plain(outcome.reason)) + 1,) if failing else (),
        ),
    )
