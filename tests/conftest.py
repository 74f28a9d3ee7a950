"""A record for every test that needs one."""

from collections.abc import Callable
from typing import Any

import pytest

from reports.records import Record

FIELDS: dict[str, Any] = {
    "upstream": "starhubert",
    "upstream_kind": "student",
    "checkpoint_sha256": "ab12",
    "teacher": "mini-hubert",
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
