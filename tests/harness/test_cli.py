import csv
import io
import json

import pytest
from click.testing import CliRunner

from harness.cli import main
from reports.records import write_record
from tasks.registry import TASKS


def harness(*arguments):
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("run", "--student", "starhubrt"), "unknown student 'starhubrt': did you mean starhubert?"),
        (("run", "--student", "starhubert", "--tasks", "asq"), "unknown task 'asq': did you mean asr or asv?"),
        (
            ("run", "--student", "starhubert", "--tasks", ","),
            "no task given: expected some of pr, asr, ks, qbe, sid, asv, sd, ic, sf, er",
        ),
        (("run", "--student", "starhubert", "--objective", "sta"), "unknown objective 'sta': did you mean star"),
        (("run", "--student", "starhubert", "--teacher", "hubertt"), "unknown teacher 'hubertt'"),
        (
            ("run", "--student", "starhubert", "--teacher", "s3prl:hubert"),
            "s3prl:hubert shows its hidden states alone: expected a teacher whose network is known; type hubert_base",
        ),
        (("run", "--student", "starhubert", "--seed", "-1"), "seed -1 is out of range"),
        (("report", "no-such-run"), "no run in no-such-run: expected a folder that `harness run --out` has written"),
        (("count", "hubrt"), "unknown network 'hubrt': did you mean hubert_base or hubert_large?"),
    ],
)
def test_bad_usage_gets_one_line_and_exit_code_2(arguments, line):
    result = harness(*arguments)
    assert result.exit_code == 2
    assert line in result.stderr and "Traceback" not in result.output


def test_all_problems_are_reported_at_once():
    result = harness("run", "--student", "x", "--tasks", "y,z")
    assert len(result.stderr.strip().splitlines()) == 3


def test_a_file_as_the_run_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    result = harness("run", "--student", "starhubert", "--out", str(tmp_path / "file"))
    assert result.exit_code == 2 and "is a file: expected a folder" in result.stderr


def test_dry_run_prints_the_plan_and_does_nothing(tmp_path):
    out = tmp_path / "run"
    options = ("--tasks", "ks", "--out", str(out), "--corpora", str(tmp_path / "suite"), "--dry-run")
    result = harness("run", "--student", "starhubert", *options)
    assert result.exit_code == 0
    for words in ("mini (synthetic speech)", "fbank on ks", "random:starhubert on ks", "in all"):
        assert words in result.stdout
    assert not out.exists() and not (tmp_path / "suite").exists()


def test_lists():
    assert harness("list", "tasks").stdout.split() == list(TASKS)
    students = """
        starhubert starhubert-l starhubert-s starhubert-xs starwavlm starwav2vec2 maskhubert armhubert armhubert-s
        distilhubert fithubert
    """.split()
    teachers = """
        hubert_base hubert_large wav2vec2_base wav2vec2_large wavlm_base wavlm_base_plus wavlm_large
    """.split()
    assert json.loads(harness("list", "students", "--json").stdout) == students
    networks = harness("list", "networks").stdout.split()
    assert networks == [*students, *teachers, "lighthubert_small", "lighthubert_base", "lighthubert_stage1"]


def test_the_names_offered_are_the_objectives_there_are():
    from students.objective_names import parse

    offered = harness("list", "objectives").stdout.split()
    assert [parse(name).name for name in offered] == offered


def test_count_by_formula():
    rows = json.loads(harness("count", "starhubert", "hubert_base", "--json").stdout)
    assert [row["parameters"] for row in rows] == [22_308_592, 94_370_944]
    assert [row["strict"] for row in rows] == [463_501_579_392, 1_665_522_780_160]
    assert rows[1]["superb"] == 1_669_156_022_848


def test_published_as_csv_has_all_rows():
    rows = list(csv.DictReader(io.StringIO(harness("published", "--format", "csv").stdout)))
    wanted = "key model overall_printed overall_recomputed general_printed general_recomputed consistent".split()
    assert set(wanted) < set(rows[0]) and len(rows) == 24
    star = next(row for row in rows if row["key"] == "starhubert")
    assert star["overall_printed"] == "79.5" and float(star["general_recomputed"]) == pytest.approx(887.4, abs=0.05)
    assert next(row for row in rows if row["key"] == "distilhubert")["macs_g"] == ""


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("terminal", "Published SUPERB results"),
        ("markdown", "## Published SUPERB results"),
        ("html", "<!DOCTYPE html>"),
        ("latex", "\\documentclass"),
    ],
)
def test_published_shows_the_ablation_too(form, start):
    text = harness("published", "--format", form).stdout
    assert text.startswith(start) and "layer-wise + intra-layer TGM" in text


@pytest.fixture
def runs(tmp_path, record):
    """A run of the mini suite and one of the superb suite."""
    for suite in ("mini", "superb"):
        made = record(suite=suite, synthetic=suite == "mini", low=10.0, high=15.0, stderr=1.25)
        write_record(tmp_path / suite / "records", made, None)
    return tmp_path


def test_report_puts_superb_runs_alone_beside_published_ones(runs):
    mini, superb = (harness("report", str(runs / suite)).stdout for suite in ("mini", "superb"))
    assert "Measured: mini (synthetic speech)" in mini and "STaRHuBERT" not in mini
    assert "Measured: superb" in superb and "Measured here" in superb and "STaRHuBERT-L" in superb
    both = harness("report", str(runs / "mini"), str(runs / "superb"))
    assert both.exit_code == 2 and "records differ in suite: mini, superb; report them apart" in both.stderr


@pytest.mark.parametrize("form", ["terminal", "markdown", "html", "latex", "csv"])
def test_report_shows_intervals_on_request(runs, form):
    bare, asked = (harness("report", str(runs / "mini"), "--format", form, *more).stdout for more in ((), ("--ci",)))
    low, high = ("pr_per_low", "10.0,15.0") if form == "csv" else ("10.00", "15.00")
    assert low in asked and high in asked and low not in bare
