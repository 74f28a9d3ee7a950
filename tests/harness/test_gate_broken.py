"""An upstream that was broken on purpose is caught by the gate, on real predictions of a small suite."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import harness.suite
from harness.cli import main
from harness.config import EvaluationSettings
from harness.progress import Stages
from harness.run import execute_evaluation
from students.checkpoints import load_checkpoint, save_checkpoint
from students.encoder import SpeechEncoder
from students.upstreams import MINI_TEACHER
from tasks.mini.calibration import Sizes
from tasks.mini.settings import MINI_PROBES
from tasks.mini.suite import write_suite

pytestmark = pytest.mark.slow
Break = Callable[[SpeechEncoder], None]


def shuffled(network: SpeechEncoder) -> None:
    """The values of every weight matrix in another order."""
    torch.manual_seed(0)
    for weight in network.parameters():
        if weight.dim() > 1:
            weight.data = weight.data.flatten()[torch.randperm(weight.numel())].view_as(weight)


def half_reset(network: SpeechEncoder) -> None:
    """The lower half of all layers, which is the stem, as if never trained.

    Half of the transformer's layers would not do: untrained ones add next to nothing to what passes by them, and KS
    loses 5 points by the lower three, 1 by the upper.
    """
    torch.manual_seed(0)
    network.feature_extractor.load_state_dict(SpeechEncoder(network.dims).feature_extractor.state_dict())


def untouched(network: SpeechEncoder) -> None:
    """Nothing."""


@pytest.fixture(scope="module")
def corpora(tiny_sizes: Sizes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite") / "mini"
    write_suite(folder, replace(tiny_sizes, command_speakers=(10, 2, 4), command_test_clips=20))
    return folder


@pytest.fixture(scope="module")
def measured(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Break], Path]:
    """Evaluate mini-hubert on KS after something was done to it, and give the run's folder."""

    def evaluate(change: Break) -> Path:
        folder = tmp_path_factory.mktemp(change.__name__)
        network, info = load_checkpoint(MINI_TEACHER)
        change(network)
        save_checkpoint(folder / "weights", network, info.name, info.exposes, {})
        settings = EvaluationSettings(str(folder / "weights"), folder / "run", ("ks",), corpora=corpora)
        with pytest.MonkeyPatch.context() as patch:
            brief = replace(MINI_PROBES["ks"], steps=400, eval_every=100)
            patch.setattr(harness.suite, "MINI_PROBES", {"ks": brief})
            execute_evaluation(settings, Stages())
        return folder / "run"

    return evaluate


@pytest.fixture(scope="module")
def baseline(measured: Callable[[Break], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("baseline") / "baseline.json.gz"
    saved = CliRunner().invoke(main, ["baseline", "save", str(measured(untouched)), "--out", str(out)])
    assert saved.exit_code == 0, saved.output
    return out


def test_the_same_weights_pass(measured: Callable[[Break], Path], baseline: Path) -> None:
    result = CliRunner().invoke(main, ["check", str(measured(untouched)), "--against", str(baseline)])
    assert result.exit_code == 0 and "passed: of 1 cells, 1 pass" in result.stdout


@pytest.mark.parametrize("change", [shuffled, half_reset])
def test_broken_weights_are_a_regression(measured: Callable[[Break], Path], baseline: Path, change: Break) -> None:
    result = CliRunner().invoke(main, ["check", str(measured(change)), "--against", str(baseline)])
    assert result.exit_code == 1, result.output
    assert "mini-hubert" in result.stdout and "regression" in result.stdout and "paired bootstrap" in result.stdout
