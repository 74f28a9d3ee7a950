"""What a student is distilled from: batches of speech, and what the teacher says of each utterance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from harness.cache import GIB, MemoryCache
from harness.features import PLAIN, TOGETHER, Advance, Extractor, batched
from students.encoded import Encoded
from students.upstreams import INPUT_OF_LAYERS
from tasks.audio import SAMPLE_RATE, AudioError, num_samples
from tasks.base import Item

WAVES = GIB  # bytes of audio kept in memory


@dataclass(frozen=True)
class Batch:
    """Waveforms (batch, samples), lengths (batch,) in samples, what the teacher said of them if that is kept, and the
    ids of the utterances."""

    waves: Tensor
    lengths: Tensor
    teacher: Encoded | None
    ids: tuple[str, ...]


class DistillationData:
    """Utterances in batches of similar length, with the teacher's states for them where those can be kept.

    live: whether the objective needs more of the teacher than its states, which then says it anew at every step.
    Otherwise the states are computed once, all at the start if the extractor's cache holds them, else as they are
    asked for. A file that cannot be used is set aside by the extractor, which gives up when there are too many.
    """

    def __init__(self, items: Sequence[Item], teacher: Extractor, live: bool, advance: Advance) -> None:
        self.teacher = teacher
        self.live = live or teacher.upstream.states[0] != INPUT_OF_LAYERS
        self.items: dict[str, Item] = {}
        self.samples: dict[str, int] = {}
        self._waves = MemoryCache(WAVES)
        for item in items:
            try:
                samples = num_samples(item.path) - item.start if item.samples is None else item.samples
            except AudioError as error:
                teacher.set_aside(item, error)
                continue
            self.items[item.id], self.samples[item.id] = item, samples
        if self.live or self.bytes > teacher.cache.budget:
            advance(len(items))
        else:
            for some in batched(items, TOGETHER):  # as a probe asks for them: see Extractor
                teacher.frames(some, PLAIN, advance)

    @property
    def bytes(self) -> int:
        """About how large the teacher's states for all utterances are."""
        upstream = self.teacher.upstream
        return sum(self.samples.values()) // upstream.stride * len(upstream.states) * upstream.dim * 4

    def drawn(self, batch_seconds: float, buckets: int, seed: int, shuffle: bool) -> Iterator[list[str]]:
        """Names of the utterances of each length-bucketed batch of one epoch; lhotse's sampler shuffles them and shards
        them over processes."""
        from lhotse import CutSet, MonoCut, Recording
        from lhotse.dataset.sampling import BucketingSampler

        cuts = []
        for name, samples in self.samples.items():
            seconds = samples / SAMPLE_RATE
            recording = Recording(name, [], SAMPLE_RATE, samples, seconds)
            cuts.append(MonoCut(name, 0.0, seconds, 0, recording=recording))
        sampler = BucketingSampler(
            CutSet.from_cuts(cuts), num_buckets=buckets, seed=seed, max_duration=batch_seconds, shuffle=shuffle
        )
        for chosen in sampler:
            yield [cut.id for cut in chosen]

    def batch(self, names: list[str]) -> Batch | None:
        """The utterances of those names; None if none of them can be used."""
        found = {name: wave for name in names if (wave := self._wave(name)) is not None}
        states: list[Tensor] = []
        if not self.live:
            heard = self.teacher.frames([self.items[name] for name in found], PLAIN)
            found = {name: wave for (name, wave), state in zip(found.items(), heard, strict=True) if state is not None}
            states = [state for state in heard if state is not None]
        if not found:
            return None
        waves, lengths = pad_sequence(list(found.values()), batch_first=True), [len(wave) for wave in found.values()]
        return Batch(waves, torch.tensor(lengths), _said(states) if states else None, tuple(found))

    def _wave(self, name: str) -> Tensor | None:
        if name in self.teacher.skipped:
            return None
        wave = self._waves.get(name)
        if wave is None and (wave := self.teacher.read(self.items[name], PLAIN)) is not None:
            self._waves.put(name, wave)
        return wave


def _said(states: list[Tensor]) -> Encoded:
    """What the teacher said of utterances, from the states (states, frames, dim) of each."""
    frames = torch.tensor([state.shape[1] for state in states])
    padded = list(pad_sequence([state.transpose(0, 1) for state in states], batch_first=True).unbind(2))
    return Encoded(padded[0].new_empty(0), padded, frames)
