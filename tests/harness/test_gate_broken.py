"""A network that was broken on purpose is caught by the commands of the gate, on real predictions."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import harness.suite
from harness.cli import main
from students.checkpoints import load_checkpoint, save_checkpoint
from students.encoder import SpeechEncoder
from students.upstreams import MINI_TEACHER
from tasks.mini import render
from tasks.mini.calibration import Sizes
from tasks.mini.settings import MINI_PROBES
from tasks.mini.suite import write_suite

Break = Callable[[SpeechEncoder], None]


def shuffled(network: SpeechEncoder) -> None:
    """The values of every weight matrix in another order."""
    for weight in network.parameters():
        if weight.dim() > 1:
            weight.data = weight.data.flatten()[torch.randperm(weight.numel())].view_as(weight)


def half_reset(network: SpeechEncoder) -> None:
    """The upper half of the transformer's layers as if never trained."""
    fresh = SpeechEncoder(network.dims).encoder.layers
    for number in range(network.dims.layers // 2, network.dims.layers):
        network.encoder.layers[number].load_state_dict(fresh[number].state_dict())


def untouched(network: SpeechEncoder) -> None:
    """Nothing."""


def command(*arguments: object, code: int = 0) -> str:
    """What a command prints; it must end with the exit code."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout


def evaluated(weights: Path, change: Break, corpora: Path, folder: Path) -> Path:
    """The run's folder of KS by the weights after something was done to them."""
    torch.manual_seed(0)
    network, info = load_checkpoint(weights)
    change(network)
    save_checkpoint(folder / "weights", network, info.name, info.exposes, {})
    arguments = ("--upstream", folder / "weights", "--tasks", "ks", "--corpora", corpora, "--out", folder / "run")
    command("evaluate", *arguments)
    return folder / "run"


def regression(run: Path, baseline: Path) -> dict[str, Any]:
    """The one cell of a comparison, which must fail."""
    told = command("check", run, "--against", baseline, code=1)
    (cell,) = json.loads(command("check", run, "--against", baseline, "--json", code=1))["cells"]
    assert (cell["task"], cell["metric"], cell["status"]) == ("ks", "acc", "regression")
    assert cell["drop"] == pytest.approx(cell["baseline"] - cell["candidate"]) and cell["drop"] > cell["tolerance"]
    for part in ("ks acc", f"-{cell['drop']:.2f}", "standard error", "paired bootstrap over utterances", "p = "):
        assert part in " ".join(told.split()), part
    return cell


def test_shuffled_weights_are_caught(tiny_sizes: Sizes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "SHARDS", 2)
    monkeypatch.setattr(
        harness.suite, "MINI_PROBES", {"ks": replace(MINI_PROBES["ks"], steps=200, learning_rates=(1e-2,))}
    )
    corpora, baseline = tmp_path / "mini", tmp_path / "baseline.json.gz"
    write_suite(corpora, replace(tiny_sizes, command_speakers=(8, 1, 4), command_test_clips=10))
    sound = evaluated(MINI_TEACHER, untouched, corpora, tmp_path / "sound")
    command("baseline", "save", sound, "--out", baseline)
    assert "passed: of 1 cells, 1 pass" in command("check", sound, "--against", baseline)
    broken = evaluated(MINI_TEACHER, shuffled, corpora, tmp_path / "broken")
    assert regression(broken, baseline)["upstream"] == "mini-hubert"


@pytest.mark.slow
def test_a_student_with_half_of_its_layers_reset_is_caught(tmp_path: Path) -> None:
    """A distilled one: KS hardly hears the transformer of mini-hubert, whose reset layers pass the stem's states on."""
    corpora = tmp_path / "mini"
    command("distill", "--student", "starhubert", "--corpora", corpora, "--out", tmp_path / "distilled")
    weights = tmp_path / "distilled" / "students" / "starhubert"
    sound = evaluated(weights, untouched, corpora, tmp_path / "sound")
    broken = evaluated(weights, half_reset, corpora, tmp_path / "broken")
    assert regression(broken, sound)["upstream"] == "starhubert"
