"""Probes whose states or gradients are not finite: heads skip updates, files are set aside, a cell fails with why."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.evaluate import Context, evaluate
from harness.features import Extractor
from harness.outputs import Classes
from harness.probe import NotFiniteError, run_fold
from harness.progress import Stages
from reports.records import read_records
from reports.tables import measured_table
from students.upstreams import Upstream
from tasks.base import Item, ProbeSettings, Splits, Task
from tasks.scores import ACCURACY

SETTINGS = ProbeSettings(steps=12, batch=4, learning_rates=(0.1, 0.01), eval_every=6, hidden=5)
TASK = Task("ks", "", (ACCURACY,), "pooled", "shuffled", lambda root: [], SETTINGS, classes=lambda train: (("a", "b"),))


@pytest.fixture
def splits(recording: Callable[..., Item]) -> Splits:
    return {
        part: [recording(f"{part}{i}", "ab"[i % 2], 20, (200.0, 900.0)[i % 2]) for i in range(count)]
        for part, count in (("train", 8), ("dev", 4), ("test", 4))
    }


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], list[float]]], None]:
    """Multiplies the losses of both heads by what a function says of the number of the batch, from 0."""
    true = Classes.losses

    def patch(factors: Callable[[int], list[float]]) -> None:
        calls = iter(range(1000))
        monkeypatch.setattr(
            Classes, "losses", lambda self, *given: true(self, *given) * torch.tensor(factors(next(calls)))
        )

    return patch


def probe(splits: Splits, upstream: Upstream, settings: ProbeSettings = SETTINGS) -> Any:
    return run_fold(TASK, splits, Extractor(upstream), settings, 7, lambda count: None)


def test_skipped_updates_are_counted(splits, projection, losses) -> None:
    assert probe(splits, projection).skipped_updates == {}
    losses(lambda call: [math.nan if call < 5 else 1.0, math.inf if call == 3 else 1.0])
    assert probe(splits, projection).skipped_updates == {"0.1": 5, "0.01": 1}


def test_a_head_that_is_never_updated_leaves_the_others_alone(splits, projection, losses) -> None:
    alone = probe(splits, projection, replace(SETTINGS, learning_rates=(0.01,)))
    losses(lambda call: [math.nan, 1.0])
    both = probe(splits, projection)
    assert both.skipped_updates == {"0.1": 12}
    assert both.dev_scores["0.01"] == alone.dev_scores["0.01"]


@pytest.mark.parametrize(("steps", "seen"), [(12, 12), (400, 100)])
def test_a_probe_that_cannot_be_trained_is_given_up(splits, projection, losses, steps, seen) -> None:
    losses(lambda call: [math.nan, math.nan])
    with pytest.raises(NotFiniteError, match=f"no gradient was finite in {seen} updates, whatever the learning rate"):
        probe(splits, projection, replace(SETTINGS, steps=steps))


def test_an_utterance_with_states_that_are_not_finite_is_set_aside(splits, projection) -> None:
    """The pitch of 900 Hz alone is made to upset the upstream; nothing of it reaches the others of its batch."""

    def compute(waves: torch.Tensor, lengths: torch.Tensor) -> Any:
        states, frames = projection.compute(waves, lengths)
        crossings = (waves[:, 1:].sign() != waves[:, :-1].sign()).sum(1)
        return [torch.where(crossings[:, None, None] > 500, math.nan, state) for state in states], frames

    result = probe(splits, replace(projection, compute=compute))
    upset = [item.id for part in splits.values() for item in part if item.label == "b"]
    assert result.skipped == sorted(f"{id}: projection gives states that are not finite" for id in upset)
    assert [row["id"] for row in result.predictions] == [item.id for item in splits["test"] if item.label == "a"]
    assert result.skipped_updates == {}


def test_the_record_and_the_table_tell(splits, projection, losses, tmp_path: Path, capsys) -> None:
    suite: Any = SimpleNamespace(name="mini", fingerprint=None, probe=lambda task: SETTINGS)
    context = Context(tmp_path, suite, "corrected", [TASK], {"ks": [splits]}, {"ks": "f00d"}, 0, "cpu", None, None, {})
    facts = {"macs": None, "macs_convention": None}
    losses(lambda call: [1.0, math.nan if call < 2 else 1.0])
    (record,) = evaluate(TASK, Extractor(projection), context, facts, Stages())
    assert record.value is not None and record.config["folds"][0]["skipped_updates"] == {"0.01": 2}
    losses(lambda call: [math.nan, math.nan])
    evaluate(TASK, Extractor(projection), context, facts, Stages())
    (failed,) = read_records(tmp_path)
    reason = "no gradient was finite in 12 updates, whatever the learning rate"
    assert failed.value is None and failed.skipped == [reason]
    assert f"Error: projection on ks: {reason}" in " ".join(capsys.readouterr().err.split())
    assert any(reason in note for note in measured_table([failed]).footnotes)
