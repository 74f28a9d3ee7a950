"""Runs against baselines: the statistics beside slow ones, every problem of a cell, and the commands."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.config import UsageError
from harness.gate import chosen, compare, mean_draws, mean_score, read_tolerances
from reports.baseline import Stored, read_cells
from reports.gate import TOLERANCES, key
from reports.records import write_record
from tasks.scores import ACCURACY, WER

ACC = {"task": "ks", "metric": "acc", "higher_is_better": True}


def answers(right, total, **more):
    """So many utterances, the first of which are right."""
    return [{"id": str(i), "reference": "a", "hypothesis": "a" if i < right else "b"} | more for i in range(total)]


@pytest.fixture
def cell(record):
    """A stored cell of the task KS with its accuracy, unless keywords say otherwise."""

    def make(rows, **changes):
        facts = ACC | {"n_examples": len(rows), "n_total": len(rows), "stderr": 1.0}
        if rows and "value" not in changes:
            changes["value"] = 100 * sum(row["reference"] == row["hypothesis"] for row in rows) / len(rows)
        return Stored(record(**facts | changes), tuple(rows))

    return make


def verdict(candidate, baseline, **options):
    (outcome,) = compare({key(candidate.record): candidate}, {key(baseline.record): baseline}, **options)
    return outcome


def test_identical_runs_pass(cell):
    outcome = verdict(cell(answers(60, 100)), cell(answers(60, 100)))
    assert (outcome.status, outcome.drop, outcome.stderr) == ("pass", 0.0, 0.0)


def test_a_real_drop_names_task_size_and_evidence(cell):
    outcome = verdict(cell(answers(150, 200)), cell(answers(180, 200)))
    assert (outcome.status, outcome.task, outcome.drop) == ("regression", "ks", pytest.approx(15.0))
    # 30 of 200 utterances change from right to wrong: their share has a standard error of sqrt(.15 x .85 / 200)
    assert outcome.stderr == pytest.approx(100 * np.sqrt(0.15 * 0.85 / 200), rel=0.08)
    assert outcome.reason.startswith("worse by 15.00 points, tolerance 0.5: standard error 2.")
    assert "(paired bootstrap over utterances), p = " in outcome.reason


def test_noise_within_the_interval_passes(cell):
    baseline, candidate = answers(200, 200), answers(200, 200)
    for number in range(60):  # 33 get worse and 27 better: 6 of 200 with a standard error of sqrt(60) of 200
        (candidate if number < 33 else baseline)[number]["hypothesis"] = "b"
    outcome = verdict(cell(candidate), cell(baseline))
    assert (outcome.status, outcome.drop) == ("pass", pytest.approx(3.0))
    assert outcome.stderr == pytest.approx(100 * np.sqrt(60) / 200, rel=0.08)
    assert outcome.reason.startswith("worse by 3.00 points, within the noise: standard error 3.")


def test_pairing_does_not_depend_on_the_order_of_the_predictions(cell):
    candidate, baseline = answers(150, 200), answers(180, 200)
    assert verdict(cell(candidate[::-1]), cell(baseline)) == verdict(cell(candidate), cell(baseline))


def test_paired_standard_error_is_that_of_a_plain_bootstrap(cell):
    rng = np.random.default_rng(1)
    texts = [" ".join("xy"[int(bit)] for bit in rng.integers(2, size=int(rng.integers(2, 9)))) for _ in range(80)]
    runs = [
        [
            {"id": str(i), "reference": text, "hypothesis": " ".join("x" if w == "x" or e else w for w, e in words)}
            for i, text in enumerate(texts)
            if (words := list(zip(text.split(), rng.random(9) < rate, strict=False)))
        ]
        for rate in (0.3, 0.5)
    ]
    facts = {"task": "asr", "metric": "wer", "higher_is_better": False}
    baseline, candidate = (cell(rows, value=WER.score(rows), **facts) for rows in runs)
    outcome = verdict(candidate, baseline)
    counts = [
        [sum(a != b for a, b in zip(r["reference"], r["hypothesis"], strict=True)) for r in rows] for rows in runs
    ]
    wrong, words = np.array(counts), np.array([len(text.split()) for text in texts])
    slow = []
    for _ in range(4000):
        drawn = rng.integers(80, size=80)
        slow.append(100 * (wrong[1, drawn].sum() - wrong[0, drawn].sum()) / words[drawn].sum())
    assert outcome.drop == pytest.approx(100 * (wrong[1].sum() - wrong[0].sum()) / words.sum())
    assert outcome.stderr == pytest.approx(np.std(slow), rel=0.08)


def test_a_score_of_folds_is_the_mean_of_theirs():
    rows = [*answers(1, 4, fold=2), *answers(8, 8, fold=1)]
    assert mean_score(ACCURACY, rows) == (25 + 100) / 2
    one, other = ACCURACY.draws(rows[4:], 7), ACCURACY.draws(rows[:4], 8)
    np.testing.assert_allclose(mean_draws(ACCURACY, rows, 7), (one + other) / 2)


def test_other_items_are_compared_by_both_standard_errors(cell):
    candidate = cell(answers(60, 99), stderr=3.0)
    outcome = verdict(candidate, cell(answers(90, 100), stderr=4.0))
    assert (outcome.stderr, outcome.method) == (5.0, "combined standard errors")
    assert outcome.drop == pytest.approx(90 - 100 * 60 / 99)
    moved = [row | {"reference": "c"} if row["id"] == "99" else row for row in answers(60, 100)]
    assert verdict(cell(moved), cell(answers(60, 100))).method == "combined standard errors"


def trials(shift):
    rng = np.random.default_rng(2)
    pairs = [(a, b) for a in "abcdef" for b in "abcdef" if a <= b]
    return [
        {
            "id": f"{n}{a}{b}",
            "reference": str(int(a == b)),
            "hypothesis": float(rng.normal() + shift * (a == b)),
            "speakers": f"{a} {b}",
        }
        for a, b in pairs
        for n in range(20 if a == b else 8)
    ]


def searches(good):
    names = [f"d{i}" for i in range(6)]
    return [
        {
            "id": f"q{q}",
            "reference": f"d{q % 6}",
            "hypothesis": {name: float(i == q % 6 or not good) + i / 100 for i, name in enumerate(names)},
            "documents": 6,
        }
        for q in range(20)
    ] + [{"id": "other", "reference": "", "hypothesis": {}, "documents": 6}]


@pytest.mark.parametrize(
    ("task", "metric", "higher", "good", "bad", "unit"),
    [
        ("asv", "eer", False, trials(6.0), trials(0.0), "speaker pairs"),
        ("qbe", "mtwv", True, searches(True), searches(False), "queries"),
    ],
)
def test_pairs_of_speakers_and_queries_are_resampled_whole(cell, task, metric, higher, good, bad, unit):
    from tasks.registry import load_task

    declared = load_task(task).metrics[0]
    facts = {"task": task, "metric": metric, "higher_is_better": higher}
    better, worse = (cell(rows, value=mean_score(declared, rows), **facts) for rows in (good, bad))
    outcome = verdict(worse, better)
    assert (outcome.status, outcome.method) == ("regression", f"paired bootstrap over {unit}")
    assert verdict(better, worse).status == verdict(better, better).status == "pass"
    # six speakers: a p-value is at least 2 ** -6; twenty queries: 2 ** -20
    assert outcome.p_value >= (1 / 64 if task == "asv" else 2**-20)


def test_only_the_cells_of_the_baseline_count(cell):
    ours, theirs = cell(answers(9, 10)), cell(answers(9, 10), seed=1)
    (outcome,) = compare({key(ours.record): ours}, {key(theirs.record): theirs})
    assert (outcome.status, outcome.seed) == ("missing", 1)


def test_each_tolerance_is_that_of_its_column(cell):
    candidate, baseline = cell(answers(150, 200)), cell(answers(180, 200))
    assert verdict(candidate, baseline, tolerances={"ks": 16.0}).status == "pass"
    assert verdict(candidate, baseline, tolerances={"er": 16.0}).status == "regression"


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        (
            {"value": 61.0},
            "failed",
            "the candidate's predictions score 60.0000, its record says 61.0: run the task again",
        ),
        ({"rows": [{"id": "1", "hypothesis": "a"}], "value": 60.0}, "failed", "the candidate's predictions cannot be"),
        ({"rows": [], "value": 60.0}, "failed", "the candidate's predictions cannot be scored (StatisticsError"),
        ({"data_fingerprint": "beef"}, "stale", "data_fingerprint is beef, but f00d in the baseline"),
        ({"value": None, "skipped": ["full disk"]}, "failed", "the candidate has no value: full disk"),
    ],
)
def test_what_cannot_be_compared(cell, change, status, reason):
    outcome = verdict(cell(change.pop("rows", answers(60, 100)), **change), cell(answers(60, 100)))
    assert outcome.status == status and outcome.reason.startswith(reason)


def test_what_this_version_cannot_score(cell):
    other = cell(answers(60, 100), metric="f7")
    outcome = verdict(other, other)
    assert (outcome.status, outcome.reason) == ("stale", "ks has no metric 'f7' now, but acc: save a new baseline")
    other = cell(answers(60, 100), task="kss")
    outcome = verdict(other, other)
    assert outcome.status == "failed" and "unknown task 'kss': did you mean ks" in outcome.reason
    unread = Stored(cell(answers(60, 100)).record, problem="line 1 of x.jsonl holds no prediction")
    assert verdict(unread, other).status == "missing"
    outcome = verdict(unread, cell(answers(60, 100)))
    assert (outcome.status, outcome.reason) == ("failed", "the candidate: line 1 of x.jsonl holds no prediction")


def test_tolerances_are_read():
    assert read_tolerances("") == TOLERANCES
    assert read_tolerances(" ks=2 , sf_f1 = 0.25,") == TOLERANCES | {"ks": 2.0, "sf_f1": 0.25}
    with pytest.raises(UsageError) as caught:
        read_tolerances("kss=1,ks,ks=x,ks=-1,ks=nan,ks=101,er=1")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("--tolerance kss=1: unknown column 'kss': expected one of pr, asr, ks")
    assert [line.split(":")[0].split()[1] for line in lines] == ["kss=1", "ks", "ks=x", "ks=-1", "ks=nan", "ks=101"]
    assert all(line.endswith("expected points from 0 to 100, such as ks=0.5") for line in lines[1:])


def test_cells_are_chosen(cell):
    cells = {key(one.record): one for one in (cell(answers(1, 2), upstream=name) for name in "ab")}
    assert chosen(cells, (), ()) == cells
    assert [name for name, *_ in chosen(cells, ("b",), ("ks",))] == ["b"]
    with pytest.raises(UsageError) as caught:
        chosen(cells, ("c", "a"), ("er",))
    assert str(caught.value).splitlines() == [
        "no upstream 'c' in the baseline: expected one of a, b",
        "no task 'er' in the baseline: expected one of ks",
    ]


@pytest.fixture
def stored(tmp_path, cell):
    """Write a cell into a run's folder."""

    def write(run, rows, **changes):
        one = cell(rows, **changes)
        write_record(tmp_path / run / "records", one.record, one.predictions)
        return str(tmp_path / run)

    return write


def harness(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_commands(stored, tmp_path):
    good, out = stored("good", answers(180, 200)), tmp_path / "new" / "b.json.gz"
    saved = harness("baseline", "save", good, "--out", out)
    assert (saved.exit_code, saved.stdout) == (0, f"Baseline: {out} (1 cells)\n")
    assert read_cells(out) == read_cells(tmp_path / "good")
    passed = harness("check", good, "--against", out)
    assert passed.exit_code == 0 and "passed: of 1 cells, 1 pass" in passed.stdout
    worse = stored("worse", answers(150, 200))
    failed = harness("check", worse, "--against", out)
    assert failed.exit_code == 1 and "worse by 15.00 points" in failed.stdout
    assert harness("check", worse, "--against", good).exit_code == 1
    assert harness("check", worse, "--against", out, "--tolerance", "ks=20").exit_code == 0
    stored("worse", answers(2, 2), seed=7)
    assert harness("check", good, "--against", worse).exit_code == 3


def test_the_projects_own_baseline_is_scored_as_when_it_was_made():
    own = Path(__file__).parents[2] / ".ci" / "baseline.json.gz"
    result = harness("check", own, "--against", own)
    assert result.exit_code == 0 and "passed: of 5 cells, 5 pass" in result.stdout
    assert {(one.record.suite, one.record.upstream) for one in read_cells(own).values()} == {("mini", "mini-hubert")}


def test_a_regression_wins_over_a_missing_cell(stored, tmp_path):
    baseline = stored("baseline", answers(180, 200))
    stored("baseline", answers(180, 200), upstream="other")
    worse, same = stored("worse", answers(150, 200)), stored("same", answers(180, 200))
    assert harness("check", worse, "--against", baseline).exit_code == 1
    incomplete = harness("check", same, "--against", baseline, "--json")
    assert incomplete.exit_code == 3
    plain = json.loads(incomplete.stdout)
    assert (plain["verdict"], plain["exit_code"]) == ("incomplete", 3)
    assert {cell["upstream"]: cell["status"] for cell in plain["cells"]} == {"starhubert": "pass", "other": "missing"}
    assert harness("check", same, "--against", baseline, "--upstream", "starhubert", "--tasks", "ks").exit_code == 0


def test_files_for_machines_and_for_people(stored, tmp_path):
    baseline, worse = stored("good", answers(180, 200)), stored("worse", answers(150, 200))
    files = ["--junit", tmp_path / "out" / "junit.xml", "--markdown", tmp_path / "out" / "summary.md"]
    assert harness("check", worse, "--against", baseline, *files).exit_code == 1
    case = next(ElementTree.parse(files[1]).iter("testcase"))
    assert case.get("classname") == "starhubert" and case[0].tag == "failure"
    text = files[3].read_text(encoding="utf-8")
    assert text.startswith("**Regression gate failed: of 1 cells, 1 regression**\n") and "| starhubert | ks acc" in text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("check", "{run}", "--against", "nowhere"), "nothing at nowhere: expected a run's folder, or a file"),
        (("check", "nowhere", "--against", "{run}"), "nothing at nowhere: expected a run's folder, or a file"),
        (("check", "{run}"), "Missing option '--against'"),
        (
            ("check", "{run}", "--against", "{run}", "--tolerance", "ks"),
            "--tolerance ks: expected points from 0 to 100",
        ),
        (("check", "{run}", "--against", "{run}", "--tasks", "er"), "no task 'er' in the baseline"),
        (("check", "{run}", "--against", "{run}", "--junit", "{run}"), "Is a directory"),
        (("baseline", "save", "nowhere"), "nothing at nowhere"),
        (("baseline", "save", "{run}", "--out", "{run}"), "is a folder: expected the name of a file, such as"),
    ],
)
def test_wrong_usage_gets_one_line_and_exit_code_2(stored, arguments, line):
    run = stored("run", answers(9, 10))
    result = harness(*(argument.format(run=run) for argument in arguments))
    assert result.exit_code == 2
    assert line in result.stderr and "Traceback" not in result.output
