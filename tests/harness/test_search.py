"""Query by example on recordings that hold the queries exactly, and an upstream of which only one state hears them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.cache import MemoryCache
from harness.features import TOGETHER, Extractor, TooManyBadFiles
from harness.search import run_search
from students.upstreams import Upstream
from tasks.audio import write_audio
from tasks.base import Item, Splits
from tasks.qbe import QBE, QBE_OFFICIAL

FRAME = 400
QUERY, DOCUMENT = 8, 40  # frames
SILENT = lambda count: None  # noqa: E731


@pytest.fixture
def listener() -> Upstream:
    """Frames of 400 samples. First state: noise whatever is heard; second: a projection of the samples; third: as the
    second, so that a tie is to be decided."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(FRAME, 32, generator=generator)

    def compute(waves: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        heard = waves.unfold(1, FRAME, FRAME) @ weight
        return [torch.randn(heard.shape, generator=generator), heard, heard], lengths // FRAME

    return Upstream("listener", "random", 32, FRAME, ("noise", "samples", "samples again"), "fixed", compute)


@pytest.fixture
def splits(tmp_path: Path) -> Splits:
    """Ten documents of noise and three queries of noise for dev and test each; query i is in documents i and i + 5."""
    rng = np.random.default_rng(0)

    def noise(frames: int) -> np.ndarray:
        return (0.1 * rng.standard_normal(frames * FRAME)).astype(np.float32)

    def item(name: str, wave: np.ndarray, label: str = "") -> Item:
        write_audio(tmp_path / f"{name}.wav", wave)
        return Item(name, tmp_path / f"{name}.wav", label)

    documents = [noise(DOCUMENT + i) for i in range(10)]
    queries: dict[str, list[Item]] = {"dev": [], "test": []}
    for number, (part, made) in enumerate(queries.items()):
        for i in range(3):
            query = noise(QUERY)
            for document in (i, i + 5):
                start = (3 + i + 15 * number) * FRAME
                documents[document][start : start + len(query)] = query
            made.append(item(f"{part}{i}", query, f"d{i} d{i + 5}"))
    stored = [item(f"d{i}", wave) for i, wave in enumerate(documents)]
    others = {f"other {part}": [Item(f"x{part}", tmp_path / "none.wav", "y0")] for part in queries}
    return {"documents": stored, "other documents": [Item("y0", tmp_path / "none.wav", "")], **queries, **others}


def searched(splits: Splits, extractor: Extractor, advance: Callable[[int], None] = SILENT):
    return run_search(QBE, splits, extractor, QBE.official, 0, advance)


def test_the_state_that_hears_the_query_is_chosen_on_dev(splits, listener):
    result = searched(splits, Extractor(listener))
    # Every query scores best in the two documents that hold it: nothing is missed and nothing else returned.
    assert result.dev_scores["samples"] == result.dev_scores["samples again"] == result.dev_score == 100
    assert result.dev_scores["noise"] < 60
    assert result.layer_weights == [0, 1, 0] and result.learning_rate is None and result.skipped == []
    assert QBE.metrics[0].score(result.predictions) == 100
    for row, query in zip(result.predictions, splits["test"], strict=False):
        assert row["id"] == query.id and row["reference"] == query.label and row["documents"] == 11
        best = sorted(row["hypothesis"], key=row["hypothesis"].get)[-2:]
        assert sorted(best) == query.label.split()
        scores = np.array(list(row["hypothesis"].values()))
        assert len(scores) == 10 and scores.mean() == pytest.approx(0, abs=1e-3)
        assert scores.std() == pytest.approx(1, abs=1e-3)
    assert len(result.predictions) == 3


def test_the_official_score_counts_the_queries_of_other_languages(splits, listener):
    result = run_search(QBE_OFFICIAL, splits, Extractor(listener), QBE.official, 0, SILENT)
    assert [row["id"] for row in result.predictions] == ["test0", "test1", "test2", "xtest"]
    assert result.predictions[3] == {"id": "xtest", "reference": "y0", "hypothesis": {}}


def test_the_same_with_nothing_kept_and_every_unit_reported(splits, listener):
    units: list[int] = []
    heard = replace(listener, states=("samples",), compute=lambda w, n: ([listener.compute(w, n)[0][1]], n // FRAME))
    expected = searched(splits, Extractor(heard), units.append)
    assert sum(units) == 16 + 1  # utterances and the state
    again = searched(splits, Extractor(heard, cache=MemoryCache(0)))
    assert again.predictions == expected.predictions and again.dev_scores == expected.dev_scores


def test_states_of_few_utterances_are_held_at_once(splits, listener):
    class Watched(Extractor):
        def frames(self, items, *rest):
            asked.append(len(items))
            return super().frames(items, *rest)

    asked: list[int] = []
    copies = [replace(d, id=f"{d.id}.{i}") for i in range(6) for d in splits["documents"]]
    many = splits["documents"] + copies
    result = searched(splits | {"documents": many}, Watched(listener))
    assert max(asked) == TOGETHER < len(many)
    assert list(result.predictions[0]["hypothesis"]) == [document.id for document in many]


def test_files_that_cannot_be_read_are_left_out_and_listed(splits, listener):
    for name in ("d4", "dev1", "test2"):
        next(
            item for part in ("documents", "dev", "test") for item in splits[part] if item.id == name
        ).path.write_bytes(b"RIFF")
    result = searched(splits, Extractor(listener))
    assert [entry.split(": cannot read ")[0] for entry in result.skipped] == ["d4", "dev1", "test2"]
    assert result.dev_score == 100
    assert all("d4" not in row["hypothesis"] and row["documents"] == 11 for row in result.predictions)
    assert [row["id"] for row in result.predictions] == ["test0", "test1"]
    with pytest.raises(TooManyBadFiles, match="2 audio files cannot be used"):
        searched(splits, Extractor(listener, limit=1))
