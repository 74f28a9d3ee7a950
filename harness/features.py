"""Hidden states of a frozen upstream, computed once per utterance and used by every task that needs them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from students.upstreams import Upstream
from tasks.audio import AudioError, read_audio
from tasks.base import Item

CHUNK = 512  # utterances in memory at once, among which batches of similar length are found
BATCH_SAMPLES = 16 * 16_000  # padded samples of one batch: enough to fill two cores, small enough for any machine
Key = tuple[Path, int, int | None, float]
Advance = Callable[[int], None]


class TooManyBadFiles(RuntimeError):
    """More audio files of a run are unreadable than can be set aside."""


@dataclass
class Extractor:
    """One upstream with what it has already computed.

    States of one utterance never depend on what else is in its batch. Files that cannot be read are set aside and
    listed in `skipped`; above `limit` of them the extractor gives up with TooManyBadFiles.
    """

    upstream: Upstream
    limit: int = 20
    skipped: dict[str, str] = field(default_factory=dict)
    _frames: dict[Key, Tensor] = field(default_factory=dict)
    _means: dict[Key, Tensor] = field(default_factory=dict)

    def frames(self, items: Sequence[Item], gain_db: float, advance: Advance) -> list[Tensor | None]:
        """All states of each item, (states, frames, dim) in fp32; None for an item set aside."""
        return self._lookup(items, gain_db, advance, self._frames, lambda states: states)

    def means(self, items: Sequence[Item], gain_db: float, advance: Advance) -> list[Tensor | None]:
        """The mean of each state over the valid frames, (states, dim) in fp32; None for an item set aside.

        For a head that is affine, averages over time and is affine again this is all that it needs of an utterance
        (superb-protocol 7).
        """
        return self._lookup(items, gain_db, advance, self._means, lambda states: states.mean(dim=1))

    def _lookup(
        self,
        items: Sequence[Item],
        gain_db: float,
        advance: Advance,
        store: dict[Key, Tensor],
        reduce: Callable[[Tensor], Tensor],
    ) -> list[Tensor | None]:
        keys = [(item.path, item.start, item.samples, gain_db) for item in items]
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in store}
        advance(len(items) - len(missing))
        for chunk in _batched(missing.items(), CHUNK):
            waves = {key: wave for key, item in chunk if (wave := self._read(item, gain_db)) is not None}
            advance(len(chunk) - len(waves))
            for batch in _batches(waves):
                for key, states in zip(batch, self._states([waves[key] for key in batch]), strict=True):
                    store[key] = reduce(states)
                advance(len(batch))
        return [store.get(key) for key in keys]

    def _states(self, waves: list[Tensor]) -> list[Tensor]:
        lengths = torch.tensor([len(wave) for wave in waves])
        states, frames = self.upstream(pad_sequence(waves, batch_first=True), lengths)
        return [torch.stack([state[i, :count] for state in states]) for i, count in enumerate(frames.tolist())]

    def _read(self, item: Item, gain_db: float) -> Tensor | None:
        try:
            return torch.from_numpy(read_item(item, gain_db))
        except AudioError as error:
            self.skipped[item.id] = str(error)
            if len(self.skipped) > self.limit:
                raise TooManyBadFiles(
                    f"{len(self.skipped)} audio files cannot be used, more than the limit of {self.limit}; "
                    f"the last: {error}"
                ) from error
            return None


def read_item(item: Item, gain_db: float = 0.0) -> np.ndarray:
    """The item's stretch of audio with gain, float32 at 16 kHz. Raises AudioError if it is shorter than a frame."""
    wave = read_audio(item.path)
    end = None if item.samples is None else item.start + item.samples
    wave = wave[item.start : end]
    if len(wave) < 400:
        raise AudioError(f"cannot use {item.path}: {len(wave)} samples from {item.start}, fewer than a frame's 400")
    return wave if gain_db == 0.0 else wave * np.float32(10 ** (gain_db / 20))


def _batched(items: Iterable[tuple[Key, Item]], size: int) -> Iterable[list[tuple[Key, Item]]]:
    """Consecutive lists of at most `size` items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _batches(waves: dict[Key, Tensor]) -> Iterable[list[Key]]:
    """Utterances of similar length together, so that little is padded."""
    batch: list[Key] = []
    for key in sorted(waves, key=lambda key: len(waves[key]), reverse=True):
        if batch and (len(batch) + 1) * len(waves[batch[0]]) > BATCH_SAMPLES:
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch
