"""A record and the sizes of a small suite for every test that needs them; property tests draw the same every time."""

from collections.abc import Callable
from typing import Any

import hypothesis
import pytest

from reports.records import Record
from tasks.mini.calibration import Sizes

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked gpu say why they do not run without one."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no GPU that PyTorch sees")


FIELDS: dict[str, Any] = {
    "upstream": "starhubert",
    "upstream_kind": "student",
    "checkpoint_sha256": "ab12",
    "teacher": "mini-hubert",
    "objective": None,
    "task": "pr",
    "task_version": 1,
    "split": "test",
    "metric": "PER",
    "value": 12.5,
    "higher_is_better": False,
    "stderr": None,
    "low": None,
    "high": None,
    "stderr_method": None,
    "n_examples": 200,
    "n_total": 200,
    "suite": "mini",
    "synthetic": True,
    "seed": 0,
    "parameters": 1_240_000,
    "macs": 23_400_000_000,
    "macs_convention": "strict",
    "config_hash": "c0ffee",
    "config": {"steps": 400},
    "learning_rate": 0.01,
    "learning_rates": [0.1, 0.01],
    "dev_value": 11.0,
    "data_fingerprint": "f00d",
    "commit": None,
    "dirty": None,
    "versions": {"torch": "2.11.0"},
    "device": "cpu",
    "started_at": "2030-01-02T03:04:05+00:00",
    "seconds": {"train": 1.5},
    "deviations": [],
    "skipped": [],
}


@pytest.fixture
def record() -> Callable[..., Record]:
    """Make a record; keywords replace its fields."""
    return lambda **changes: Record(**FIELDS | changes)


@pytest.fixture(scope="session")
def tiny_sizes() -> Sizes:
    """A few utterances of every corpus of the mini suite."""
    return Sizes(
        read_speakers=(2, 1, 1),
        read_sentences=(4, 2, 2),
        command_speakers=(1, 1, 1),
        keyword_takes=1,
        other_takes=1,
        discarded_clips=3,
        command_test_clips=2,
        celebrities=(2, 1),
        videos=(1, 1, 1),
        celebrity_clips=(2, 1, 1),
        dialogs=1,
        turns=9,
        intent_speakers=(2, 1, 1),
        intent_clips=(4, 2, 2),
        tagged_sentences=(8, 4, 4),
        archive_speakers=1,
        documents=3,
        query_speakers=1,
        queries=1,
        mixture_speakers=(2, 2, 2),
        mixtures=(1, 1, 1),
    )
