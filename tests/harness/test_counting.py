"""Counts of upstreams, and of what runs on this machine."""

import json

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.complexity import parameters, profile
from students.checkpoints import save_checkpoint
from students.encoder import SpeechEncoder
from students.presets import maskhubert, starhubert


def harness(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def checkpoint(tmp_path):
    save_checkpoint(tmp_path / "mine", SpeechEncoder(starhubert().dims("mini")), "starhubert", "layers", {})
    return str(tmp_path / "mine")


def test_a_checkpoint_is_counted_by_its_own_sizes(checkpoint):
    (row,) = json.loads(harness("count", checkpoint, "--json").stdout)
    dims = starhubert().dims("mini")
    assert row["parameters"] == sum(value.numel() for value in SpeechEncoder(dims).parameters())
    assert row["strict"] == sum(count.total for count in profile(dims).values()) and row["superb"] is None


def test_what_is_measured_is_what_was_named(checkpoint):
    (mine,) = json.loads(harness("count", checkpoint, "--measure", "--json").stdout)
    assert mine["real_time_factor"] > 0 and mine["threads"] >= 1
    assert 4 * mine["parameters"] / 1e6 < mine["peak_MB"] < 200  # the paper-size network holds 89 MB of weights alone


def test_heads_are_told_apart():
    (row,) = json.loads(harness("count", "maskhubert", "--json").stdout)
    assert row["strict"] - row["heads"] == 470_143_524_096
    assert row["parameters"] == parameters(maskhubert().paper) - 4_432_896 - 480


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("count",), "expected names of networks, or --all"),
        (("count", "starhubert", "--all"), "expected names of networks, or --all"),
        (("count", "hubert_large", "--size", "mini"), "hubert_large has no mini size"),
        (("count", "random:starhubert", "--verify"), "--verify traces networks of `harness list networks` alone"),
        (("count", "hf:no-such-folder"), "no folder no-such-folder"),
        (("distill", "--student", "fithubert", "--objective", "star"), "compares frame by frame"),
        (("distill", "--student", "maskhubert", "--objective", "star"), "which objective star does not train"),
        (("run", "--student", "starhubert", "--objective", "masking", "--dry-run"), "the student has none"),
    ],
)
def test_bad_usage_gets_one_line_and_exit_code_2(arguments, line):
    result = harness(*arguments)
    assert result.exit_code == 2
    assert line in result.stderr and "Traceback" not in result.output


def test_all_networks_stand_beside_the_printed_counts():
    output = harness("count", "--all").stdout
    assert "463,501,579,392" in output and "+0.12 %" in output
    rows = json.loads(harness("count", "--all", "--json").stdout)
    assert len(rows) == 21 and {row["name"]: row["strict"] for row in rows}["hubert_large"] == 4_316_018_327_552
