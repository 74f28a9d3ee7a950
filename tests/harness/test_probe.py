"""Probes on a tiny upstream: grids of learning rates, accumulation, caches, selection and what is set aside."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

import harness.probe
from harness.cache import DiskCache, MemoryCache
from harness.features import Extractor
from harness.outputs import OUTPUTS, Talkers
from harness.probe import run_fold
from harness.states import StateFile
from students.upstreams import untrained
from tasks.base import Codec, Item, ProbeSettings, Task, Trial
from tasks.optimizer import GridAdamW
from tasks.scores import ACCURACY, DER, EER, FRAME_ACCURACY, WER

LETTERS = "-abc"  # the first is the blank
CODEC = Codec(
    encode=lambda label: [LETTERS.index(letter) for letter in label.split()],
    decode=lambda path: " ".join(LETTERS[b] for a, b in pairwise([0, *path]) if b not in (a, 0)),
    units=len(LETTERS),
)
PITCHES = (200.0, 450.0, 900.0)
PARTS = (("on", "off"), ("lamp", "heat", "music"), ("hall", "none"))
TALK = ("x 0.00 0.30\ny 0.20 0.50", "x 0.10 0.25", "y 0.00 0.40\nx 0.30 0.60")
SETTINGS = ProbeSettings(steps=12, batch=4, learning_rates=(0.1, 0.01, 1e-3), eval_every=12, hidden=5)


def made_up(name, head, batching="shuffled", metric=ACCURACY, settings=SETTINGS, **parts):
    return Task(name, "", (metric,), head, batching, lambda root: [], settings, **parts)


TASKS = {
    "ks": made_up("ks", "pooled", "balanced", classes=lambda train: (tuple("abc"),)),
    "ic": made_up("ic", "pooled", classes=lambda train: PARTS),
    "pr": made_up(
        "pr", "ctc-linear", "windows", WER, replace(SETTINGS, accumulate=2, clip=0.5), codec=lambda train: CODEC
    ),
    "asr": made_up(
        "asr",
        "ctc-bilstm",
        "buckets",
        WER,
        replace(SETTINGS, recurrent=6, layers=2, dropout=0.2, spec_augment=True, learning_rates=(0.1, 0.01)),
        codec=lambda train: CODEC,
    ),
    "sd": made_up(
        "sd", "diarization", metric=DER, settings=replace(SETTINGS, recurrent=6, layers=1), select=FRAME_ACCURACY
    ),
    "asv": made_up(
        "asv",
        "x-vector",
        metric=EER,
        settings=replace(SETTINGS, hidden=32, pooled=16, clip=1000.0, weight_decay=0.01, learning_rates=(0.01, 1e-3)),
    ),
}
LABELS = {
    "ks": lambda i: "abc"[i % 3],
    "ic": lambda i: ",".join(part[i % len(part)] for part in PARTS),
    "pr": lambda i: " ".join("abc"[(i + j) % 3] for j in range(1 + i % 4)),
    "asr": lambda i: " ".join("abc"[(i + j) % 3] for j in range(1 + i % 4)),
    "sd": lambda i: TALK[i % 3],
    "asv": lambda i: f"s{i % 3}",
}


@pytest.fixture
def splits_of(recording):
    """Splits of a task: 12 recordings to train and 6 for dev and test each, 18 to 30 frames long."""

    def splits(name):
        def items(part, count):
            label = LABELS[name]
            return [recording(f"{label(i)[:2]}/{part}{i}", label(i), 18 + i, PITCHES[i % 3]) for i in range(count)]

        if name != "asv":
            return {"train": items("train", 12), "dev": items("dev", 6), "test": items("test", 6)}
        parts = {part: trials(items(part, 6)) for part in ("dev", "test")}
        return {"train": items("train", 12), **parts}

    return splits


def trials(items):
    return [
        Trial(f"{a.id} {b.id}", a.path, str(int(a.label == b.label)), other=b.path)
        for i, a in enumerate(items)
        for b in items[i + 1 :]
    ]


@pytest.fixture
def watch(monkeypatch):
    """Lets a test see, and change, what the probe does with a task's outputs: their class is derived from."""

    def derive(name, **methods):
        head = TASKS[name].head
        monkeypatch.setitem(OUTPUTS, head, type("Watched", (OUTPUTS[head],), methods))

    return derive


def ignore(count):
    """Progress that nobody looks at."""


def probe(name, splits, upstream, cache=None, task=None, **changed):
    """One fold of a task with some settings changed."""
    task = task or TASKS[name]
    extractor = Extractor(upstream, cache=cache or MemoryCache())
    return run_fold(task, splits, extractor, replace(task.official, **changed), 7, ignore)


@pytest.mark.parametrize("name", TASKS)
def test_a_grid_trains_as_separate_runs_do(name, splits_of, projection, watch):
    grids, splits = [], splits_of(name)
    head = OUTPUTS[TASKS[name].head]
    watch(name, grid=lambda self: grids.append(head.grid(self)) or grids[-1])
    rates = TASKS[name].official.learning_rates
    together = probe(name, splits, projection)
    alone = [probe(name, splits, projection, learning_rates=(rate,)) for rate in rates]
    assert list(together.dev_scores.values()) == [result.dev_score for result in alone]
    winner = alone[rates.index(together.learning_rate)]
    assert ids(together) == ids(winner) and len(ids(winner)) > 0
    for index, grid in enumerate(grids[1:]):
        for ours, theirs in zip(grids[0].of(index), grid.of(0), strict=True):
            # A grid multiplies matrices of other shapes, which rounds otherwise; an update divides by that rounding.
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    trained = [torch.cat([p.detach().flatten() for p in grid.of(0)]) for grid in grids[1:]]
    assert (trained[0] - trained[1]).abs().max() > 0.01


def ids(result):
    return [row["id"] for row in result.predictions]


def test_two_batches_of_eight_give_the_gradients_of_their_mean(recording, projection, watch):
    train = [recording(f"u{i}", "abc"[i % 3], 18 + i, PITCHES[i % 3]) for i in range(16)]
    seen, head = [], OUTPUTS["pooled"]

    def grid(self):
        made = head.grid(self)
        clipped = made.clipped

        def watched(largest):
            for gradients in clipped(largest):
                seen.append([gradient.clone() for gradient in gradients])
                yield gradients

        made.clipped = watched
        return made

    watch("ks", grid=grid)
    task = replace(TASKS["ks"], batching="shuffled")
    splits = {"train": train, "dev": train[:3], "test": train[:3]}
    for batch, accumulate in ((8, 2), (16, 1)):
        changed = {"batch": batch, "accumulate": accumulate}
        probe("ks", splits, projection, task=task, steps=1, learning_rates=(0.1,), clip=1e9, **changed)
    # The two batches of an epoch hold the 16 recordings once each, as the batch of 16 does.
    ours, theirs = seen
    assert len(ours) >= 5 and max(gradient.abs().max() for gradient in ours) > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["pr", "sd"])
def test_scores_do_not_depend_on_where_states_are_kept(name, splits_of, tmp_path):
    upstream, splits = untrained("starhubert", "mini", 0), splits_of(name)
    counted = []
    compute = upstream.compute
    upstream = replace(upstream, compute=lambda waves, lengths: counted.append(len(waves)) or compute(waves, lengths))
    everything = MemoryCache()
    expected = probe(name, splits, upstream, everything, steps=4)
    utterances, size = sum(counted), everything.used
    caches = [
        DiskCache(tmp_path / "all", 2 * size, "all"),
        DiskCache(tmp_path / "half", size // 2, "half"),
        MemoryCache(size // 2),
        MemoryCache(0),
    ]
    computed = []
    for cache in caches:
        counted.clear()
        result = probe(name, splits, upstream, cache, steps=4)
        computed.append(sum(counted))
        assert result.dev_scores == expected.dev_scores
        assert TASKS[name].metrics[0].score(result.predictions) == TASKS[name].metrics[0].score(expected.predictions)
        for ours, theirs in zip(result.predictions, expected.predictions, strict=True):
            if name == "pr":
                assert ours == theirs
            else:
                # Computed again in another batch, states differ in their last bits; probabilities have four digits.
                found, wanted = torch.tensor(ours["hypothesis"]), torch.tensor(theirs["hypothesis"])
                torch.testing.assert_close(found, wanted, rtol=0, atol=2e-4)
    assert computed[0] == utterances == 24
    assert utterances < computed[1] < computed[3] and utterances < computed[2] < computed[3]


def scripted(scores, higher_is_better):
    """A metric that gives these scores one after another, whatever it is shown."""
    values = iter(scores)
    sign = 1 if higher_is_better else -1
    return replace(ACCURACY, score=lambda rows: sign * next(values), higher_is_better=higher_is_better)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_dev_chooses_rate_and_checkpoint_and_test_is_predicted_once(
    higher_is_better, splits_of, projection, watch, monkeypatch
):
    splits, tested = splits_of("ic"), []
    head = OUTPUTS["pooled"]

    def rows(self, items, hypotheses):
        if items is splits["test"]:
            tested.append(hypotheses)
        return head.rows(self, items, hypotheses)

    watch("ic", rows=rows)
    # Rates 2 and 3 tie at 20: the second is taken. It has 20 twice more: the first checkpoint is kept.
    script = [10, 20, 15, 12, 20, 20, 11, 20, 20]
    task = replace(TASKS["ic"], select=scripted(script, higher_is_better))
    result = probe("ic", splits, projection, task=task, steps=9, eval_every=3)
    sign = 1 if higher_is_better else -1
    assert result.learning_rate == 0.01 and result.dev_score == 20 * sign
    assert list(result.dev_scores.values()) == [12 * sign, 20 * sign, 20 * sign]
    assert len(tested) == 1
    early = probe("ic", splits, projection, steps=3, eval_every=3, learning_rates=(0.01,))
    late = probe("ic", splits, projection, steps=9, eval_every=9, learning_rates=(0.01,))
    torch.testing.assert_close(result.layer_weights, early.layer_weights, rtol=0, atol=1e-5)
    assert max(abs(a - b) for a, b in zip(result.layer_weights, late.layer_weights, strict=True)) > 1e-4
    assert result.predictions == early.predictions


def test_the_last_update_is_looked_at_even_between_two_looks(splits_of, projection):
    looked = []
    metric = replace(ACCURACY, score=lambda rows: looked.append(len(rows)) or 0.0)
    probe("ic", splits_of("ic"), projection, task=replace(TASKS["ic"], select=metric), steps=7, eval_every=5)
    assert looked == [6] * 6  # twice three rates


def test_dev_score_of_a_balanced_task_by_hand(recording, projection, watch):
    dev = [recording(name, label, 20) for name, label in (("a0", "a"), ("a1", "a"), ("a2", "a"), ("b0", "b"))]
    noise = recording("noise", "c", 60)
    dev += [replace(noise, id=f"noise{i}", start=6400 * i, samples=6400) for i in range(2)]
    said = {"a0": "a", "a1": "a", "a2": "b", "b0": "a", "noise0": "c", "noise1": "b"}
    head = OUTPUTS["pooled"]
    watch("ks", rows=lambda self, items, hypotheses: head.rows(self, items, {i: said[i] for i in hypotheses}))
    result = probe("ks", {"train": dev, "dev": dev, "test": dev}, projection, steps=1)
    # A third of the chance each: two of three right, none of one, one of the file's two stretches.
    assert result.dev_score == pytest.approx(100 * (2 / 3 + 0 + 1 / 2) / 3)


def test_diarization_setting_is_chosen_on_dev(splits_of, projection):
    talkers = Talkers(TASKS["sd"], [], projection, TASKS["sd"].official)
    spoken = torch.zeros(60, 2)
    spoken[10:40, 0] = spoken[30:50, 1] = 1
    label = "x 0.2 0.8\ny 0.6 1.0"

    def rows(talk, silence):
        likely = torch.where(spoken > 0, talk, silence).tolist()
        return [{"id": "u", "reference": label, "hypothesis": likely, "stride": 320}]

    # On dev only the threshold 0.4 is right, with either filter; test would have 0.6.
    dev, test = rows(0.45, 0.35), rows(0.65, 0.55)
    talkers.settle(dev, test)
    assert test[0]["setting"] == [0.4, 1]
    assert DER.score(test) > 0 == DER.score([test[0] | {"setting": [0.6, 1]}])
    result = probe("sd", splits_of("sd"), projection)
    assert len({tuple(row["setting"]) for row in result.predictions}) == 1
    assert {row["stride"] for row in result.predictions} == {320}


def test_rows_of_verification_trials(splits_of, projection):
    splits = splits_of("asv")
    a, b = splits["test"][0], splits["test"][-1]
    left, right = a.id.split(" ")
    splits["test"] += [
        Trial(f"{left} {left}", a.path, "1", other=a.path),
        Trial(f"{right} {left}", a.other, a.label, other=a.path),
    ]
    result = probe("asv", splits, projection)
    rows = {row["id"]: row for row in result.predictions}
    assert list(rows) == [item.id for item in splits["test"]]
    assert rows[f"{left} {left}"]["hypothesis"] == pytest.approx(1, abs=2e-6)
    assert rows[f"{right} {left}"] == rows[a.id] | {"id": f"{right} {left}"}
    assert rows[a.id]["speakers"] == "s0 s1" and rows[b.id]["speakers"] == "s1 s2"
    assert all(-1 <= row["hypothesis"] <= 1 and row["reference"] in "01" for row in rows.values())


def test_an_utterance_too_short_for_the_x_vector_is_set_aside(splits_of, recording, projection):
    splits = splits_of("asv")
    short = [recording(f"s1/short{frames}", "s1", frames) for frames in (15, 16)]
    whole = splits["test"][0]
    splits["test"] += [Trial(f"{whole.id.split()[0]} {s.id}", whole.path, "0", other=s.path) for s in short]
    splits["train"].append(recording("s1/short3", "s1", 3))
    extractor = Extractor(projection)
    result = run_fold(TASKS["asv"], splits, extractor, TASKS["asv"].official, 7, ignore)
    assert result.skipped == [f"s1/short{n}: {n} frames, fewer than the 16 of the head" for n in (15, 3)]
    assert not extractor.skipped
    assert ids(result) == [item.id for item in splits["test"] if "short15" not in item.id]


def test_what_one_task_cannot_use_is_not_missing_from_another(recording, projection, tmp_path):
    train = [recording(f"s{i % 2}/{i}", f"s{i % 2}", 20) for i in range(6)]
    train[0] = recording("s0/0", "s0", 15)
    broken = Item("s0/broken", tmp_path / "broken.wav", "s0")
    broken.path.write_bytes(b"RIFF")
    extractor = Extractor(projection)
    pairs = trials(train)
    run_fold(TASKS["asv"], {"train": train, "dev": pairs, "test": pairs}, extractor, TASKS["asv"].official, 7, ignore)
    task = replace(TASKS["ic"], classes=lambda train: (("s0", "s1"),))
    splits = {"train": train, "dev": train, "test": [*train, broken]}
    result = run_fold(task, splits, extractor, task.official, 7, ignore)
    assert [entry.split(": ")[0] for entry in result.skipped] == ["s0/broken"]
    assert "cannot read" in result.skipped[0]
    assert ids(result) == [item.id for item in train]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A state file, written at every look at dev; what it says goes to its list."""
    monkeypatch.setattr(harness.probe, "SAVE_EVERY", 0.0)
    return StateFile(tmp_path / "half-done.pt", {"a": 1}, [].append)


def with_state(name, splits, upstream, file):
    """The fold of a task that looks at dev every third update, and its progress."""
    task, counted = TASKS[name], []
    settings = replace(task.official, eval_every=3)
    return run_fold(task, splits, Extractor(upstream), settings, 7, counted.append, file), sum(counted)


@pytest.mark.parametrize("name", TASKS)
def test_a_half_done_probe_ends_as_an_unbroken_one(name, splits_of, projection, kept, monkeypatch):
    class Killed(Exception):
        pass

    inner, steps = GridAdamW.step, []

    def step(self, largest):
        if len(steps) == 7:
            raise Killed
        steps.append(None)
        inner(self, largest)

    splits = splits_of(name)
    expected, progress = with_state(name, splits, projection, None)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(GridAdamW, "step", step)
        with_state(name, splits, projection, kept)
    steps[:] = [None] * (7 - TASKS[name].official.steps + 6)  # of the 12, six are done already
    with monkeypatch.context() as patch:
        patch.setattr(GridAdamW, "step", step)
        found, counted = with_state(name, splits, projection, kept)
    assert len(steps) == 7 and counted == progress
    assert replace(found, seconds={}) == replace(expected, seconds={})


def test_a_state_with_other_utterances_set_aside_does_not_fit(splits_of, projection, kept):
    splits, said = splits_of("ic"), []
    with_state("ic", splits, projection, kept)
    splits["train"][0].path.write_bytes(b"RIFF")
    found, _ = with_state("ic", splits, projection, replace(kept, tell=said.append))
    assert len(found.skipped) == 1 and "half-done.pt was made with other settings" in said[0]


def test_short_trainings_save_nothing(splits_of, projection, kept, monkeypatch):
    monkeypatch.setattr(harness.probe, "SAVE_EVERY", 60.0)
    with_state("ic", splits_of("ic"), projection, kept)
    assert not kept.path.exists()
