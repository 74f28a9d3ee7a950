"""A suite of noise in the layout of the official corpora, to be spoilt, and the command line as a user types it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from tasks.audio import write_audio
from tasks.mini.calibration import Sizes
from tasks.mini.suite import CORPORA, MANIFEST, SUITE_VERSION


@pytest.fixture(scope="session")
def noise(tiny_sizes: Sizes, tmp_path_factory) -> Path:
    """The mini suite with a second of noise in the place of every utterance."""
    folder = tmp_path_factory.mktemp("noise")
    sizes = replace(tiny_sizes, celebrities=(4, 2), videos=Sizes().videos, celebrity_clips=(3, 1, 1), trials=6)
    sizes = replace(sizes, archive_speakers=2, documents=6, queries=2)
    rng = np.random.default_rng(0)
    for index, module in enumerate(CORPORA):
        plan = module.plan(folder, sizes, np.random.default_rng(index))
        for utterance in plan.utterances:
            write_audio(utterance.path, (0.1 * rng.standard_normal(16_000)).astype(np.float32))
        plan.finish()
    (folder / MANIFEST).write_text(json.dumps({"version": SUITE_VERSION}))
    return folder


@pytest.fixture
def suite(noise: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies one corpus of the suite, by the name of its folder, to be spoilt; gives the root."""

    def copy(corpus: str) -> Path:
        root = tmp_path / "suite"
        shutil.copytree(noise / corpus, root / corpus)
        shutil.copy(noise / MANIFEST, root / MANIFEST)
        return root

    return copy


@pytest.fixture
def harness() -> Callable[..., Result]:
    """Runs a command; whatever happens, no traceback may reach the user."""

    def call(*arguments: object) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return call
