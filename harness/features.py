"""Hidden states of a frozen upstream, computed once per utterance as far as there is room to keep them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from harness.cache import MemoryCache, StateCache
from students.upstreams import Upstream
from tasks.audio import SAMPLE_RATE, AudioError, read_audio, trim_silence
from tasks.base import AudioChain, Item, Splits, Trial

CHUNK = 512  # utterances in memory at once, among which batches of similar length are found
BATCH_SAMPLES = 16 * SAMPLE_RATE  # padded samples of one batch: enough to fill two cores, small enough for any machine
TOGETHER = 64  # utterances whose frames a caller should hold at once: 12 states of 64 x 15 s take 1 GB
Advance = Callable[[int], None]
FEWEST_BAD, BAD_SHARE = 20, 0.001  # files that may be set aside: so many, or this share of many thousands
T = TypeVar("T")
PLAIN = AudioChain()


class TooManyBadFiles(RuntimeError):
    """More audio files of a run are unreadable than can be set aside, or nothing is left of a part of the data."""


def bad_file_limit(folds: Iterable[Splits]) -> int:
    """How many files of these data may be set aside: one in a thousand of those that are read, 20 at least."""
    items = (item for fold in folds for part, some in fold.items() if not part.startswith("other ") for item in some)
    files = {path for item in items for path in ((item.path, item.other) if isinstance(item, Trial) else (item.path,))}
    return max(FEWEST_BAD, int(BAD_SHARE * len(files)))


@dataclass
class Extractor:
    """One upstream with what it has already computed.

    States of one utterance depend on what else is in its batch in their last bits at most (2e-7). Files that cannot be
    used are set aside and listed in `skipped` with the reason, without their folders; above `limit` such files the
    extractor gives up with TooManyBadFiles. cache keeps states of single frames and may forget them: they are then
    computed again, to the same values but for these bits.
    """

    upstream: Upstream
    limit: int = FEWEST_BAD
    cache: StateCache = field(default_factory=MemoryCache)
    skipped: dict[str, str] = field(default_factory=dict)
    _means: dict[str, Tensor] = field(default_factory=dict)
    _bad: set[Path] = field(default_factory=set)

    def frames(
        self, items: Sequence[Item], chain: AudioChain, advance: Advance = lambda count: None
    ) -> list[Tensor | None]:
        """All states of each item, (states, frames, dim) in fp32; None for an item set aside."""
        return self._lookup(items, chain, advance, "frames", lambda states: states)

    def means(self, items: Sequence[Item], chain: AudioChain, advance: Advance) -> list[Tensor | None]:
        """The mean of each state over the valid frames, (states, dim) in fp32; None for an item set aside.

        For a head that is affine, averages over time and is affine again this is all that it needs of an utterance
        (superb-protocol 7).
        """
        return self._lookup(items, chain, advance, "means", lambda states: states.mean(dim=1))

    def keep(self, items: Iterable[Item], chain: AudioChain) -> None:
        """Let go of the frames of all other items."""
        self.cache.keep([_name("frames", item, chain) for item in items])

    def _lookup(
        self,
        items: Sequence[Item],
        chain: AudioChain,
        advance: Advance,
        kind: str,
        reduce: Callable[[Tensor], Tensor],
    ) -> list[Tensor | None]:
        names = [_name(kind, item, chain) for item in items]
        found = {name: states for name in names if (states := self._get(name)) is not None}
        wanted = dict(zip(names, items, strict=True))
        advance(len(items) - len(wanted))
        for chunk in batched(wanted.items(), CHUNK):
            known = {name for name, _ in chunk if name in found}
            advance(len(known))
            if len(known) == len(chunk):
                continue
            # The last bits of a state depend on its batch. So batches are those of a first request, whatever is known
            # by now: a run that is resumed gets the states that it had.
            waves = {name: wave for name, item in chunk if (wave := self.read(item, chain)) is not None}
            advance(len(chunk) - len(known | waves.keys()))
            for batch in _batches(waves):
                new = [name for name in batch if name not in known]
                if not new:
                    continue
                for name, states in zip(batch, self._states([waves[name] for name in batch]), strict=True):
                    if name not in new:
                        continue
                    if not states.isfinite().all():
                        problem = AudioError(f"{self.upstream.name} gives states that are not finite")
                        self.set_aside(wanted[name], problem)
                        continue
                    found[name] = reduce(states)
                    self._put(name, found[name])
                advance(len(new))
        return [found.get(name) for name in names]

    def _get(self, name: str) -> Tensor | None:
        return self._means.get(name) if name in self._means else self.cache.get(name)

    def _put(self, name: str, states: Tensor) -> None:
        if states.ndim == 2:
            self._means[name] = states
        self.cache.put(name, states)

    def _states(self, waves: list[Tensor]) -> list[Tensor]:
        lengths = torch.tensor([len(wave) for wave in waves])
        states, frames = self.upstream(pad_sequence(waves, batch_first=True), lengths)
        return [torch.stack([state[i, :count] for state in states]) for i, count in enumerate(frames.tolist())]

    def read(self, item: Item, chain: AudioChain) -> Tensor | None:
        """The item's samples after the chain; None for an item set aside."""
        try:
            return torch.from_numpy(read_item(item, chain))
        except AudioError as error:
            self.set_aside(item, error)
            return None

    def set_aside(self, item: Item, error: AudioError) -> None:
        """Leave out an item that cannot be used. Raises TooManyBadFiles if that is one file too many."""
        reason = str(error).replace(str(item.path), item.path.name)
        self.skipped[item.id] = reason
        self._bad.add(item.path)
        if len(self._bad) > self.limit:
            raise TooManyBadFiles(
                f"{len(self._bad)} audio files cannot be used, more than the limit of {self.limit}; the last: {reason} "
                f"({item.id}): unpack the archive of these files again"
            ) from error


def read_item(item: Item, chain: AudioChain = PLAIN) -> np.ndarray:
    """The item's stretch of audio after the chain, float32 at 16 kHz. Raises AudioError if it is shorter than a
    frame."""
    wave = read_audio(item.path)
    end = None if item.samples is None else item.start + item.samples
    wave = wave[item.start : end]
    if chain.gain_db:
        wave = wave * np.float32(10 ** (chain.gain_db / 20))
    if chain.trim_silence:
        wave = trim_silence(wave)
    if len(wave) < 400:
        raise AudioError(f"cannot use {item.path}: {len(wave)} samples from {item.start}, fewer than a frame's 400")
    return wave


def _name(kind: str, item: Item, chain: AudioChain) -> str:
    """What tells one utterance's states from another's of the same upstream and corpora."""
    where = "/".join(item.path.parts[-5:])
    return f"{kind} {where} {item.start} {item.samples} {chain.gain_db} {chain.trim_silence}"


def batched(items: Iterable[T], size: int) -> Iterable[list[T]]:
    """Consecutive lists of at most `size` items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _batches(waves: dict[str, Tensor]) -> Iterable[list[str]]:
    """Utterances of similar length together, so that little is padded."""
    batch: list[str] = []
    for name in sorted(waves, key=lambda name: len(waves[name]), reverse=True):
        if batch and (len(batch) + 1) * len(waves[batch[0]]) > BATCH_SAMPLES:
            yield batch
            batch = []
        batch.append(name)
    if batch:
        yield batch


def write_features(upstream: Upstream, audio: Path, out: Path) -> None:
    """Write the states of one audio file to an NPZ file: state_00, state_01, ... (frames, dim) in fp32, names (what
    each of them is) and stride (samples at 16 kHz per frame). Raises AudioError if the audio cannot be used."""
    wave = torch.from_numpy(read_item(Item(audio.name, audio, "")))
    states, _ = upstream(wave[None], torch.tensor([len(wave)]))
    arrays: dict[str, Any] = {f"state_{index:02d}": state[0].float().numpy() for index, state in enumerate(states)}
    arrays |= {"names": np.array(upstream.states), "stride": np.array(upstream.stride)}
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.name}.partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(out)
