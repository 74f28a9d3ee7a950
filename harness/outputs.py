"""What the outputs of each kind of head mean: targets, losses, hypotheses and the rows that metrics score."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from harness.features import TooManyBadFiles
from students.upstreams import Upstream
from tasks.base import Item, Prediction, ProbeSettings, Task, Trial
from tasks.diarization import SETTINGS, frame_labels, permutation_free_loss
from tasks.heads import Grid, LinearGrid, RecurrentHead, SeparateGrid
from tasks.scores import best_setting
from tasks.speaker_heads import SHORTEST, DiarizationHead, XVectorHead, am_softmax_loss


class Outputs:
    """One task's outputs on one upstream. The defaults suit a task whose examples are utterances.

    shortest: frames that the head needs.
    """

    shortest = 1

    def __init__(self, task: Task, train: Sequence[Item], upstream: Upstream, settings: ProbeSettings) -> None:
        self.task, self.train, self.upstream, self.settings = task, list(train), upstream, settings
        self.states, self.dim, self.size = len(upstream.states), upstream.dim, len(settings.learning_rates)

    def utterances(self, items: Sequence[Item]) -> list[Item]:
        """The files that these examples need."""
        return list(items)

    def check_left(self, items: Sequence[Item], usable: Collection[str]) -> None:
        """Raises TooManyBadFiles if no score can be made of the examples whose utterances are usable, by their ids."""

    def grid(self) -> Grid:
        """The task's head, one copy per learning rate."""
        raise NotImplementedError

    def target(self, item: Item, frames: int) -> Any:
        """What a training utterance of so many frames is to give."""
        raise NotImplementedError

    def losses(self, outputs: Tensor, lengths: Tensor, targets: list[Any]) -> Tensor:
        """The loss of each head (G,) from the outputs (G, batch, ...) of a grid in training."""
        raise NotImplementedError

    def hypothesis(self, outputs: Tensor, length: int) -> Any:
        """One head's hypothesis for one utterance, in plain values."""
        raise NotImplementedError

    def rows(self, items: Sequence[Item], hypotheses: Mapping[str, Any]) -> list[Prediction]:
        """Predictions of the examples whose utterances could all be read, from hypotheses by id."""
        return [
            {"id": item.id, "reference": item.label, "hypothesis": hypotheses[item.id]}
            for item in items
            if item.id in hypotheses
        ]

    def settle(self, dev: list[Prediction], test: list[Prediction]) -> None:
        """Add to the test rows what is to be decided on dev once the probe is trained."""


class Classes(Outputs):
    """Classes of whole utterances: one arg-max per part of the label, losses added (superb-protocol 2.3, 2.8)."""

    def __init__(self, task: Task, train: Sequence[Item], upstream: Upstream, settings: ProbeSettings) -> None:
        super().__init__(task, train, upstream, settings)
        assert task.classes is not None
        self.parts = task.classes(self.train)
        self._index = [{name: i for i, name in enumerate(part)} for part in self.parts]

    def grid(self) -> Grid:
        """Two linear layers on the mean of each state."""
        return LinearGrid(self.size, self.states, self.dim, sum(map(len, self.parts)), self.settings)

    def target(self, item: Item, frames: int) -> list[int]:
        """One class index per part of the label."""
        labels = item.label.split(",") if len(self.parts) > 1 else [item.label]
        return [index[label] for index, label in zip(self._index, labels, strict=True)]

    def losses(self, outputs: Tensor, lengths: Tensor, targets: list[list[int]]) -> Tensor:
        """Cross-entropy of each part, added up."""
        wanted = torch.tensor(targets).expand(len(outputs), -1, -1)
        logits = outputs.split([len(part) for part in self.parts], dim=-1)
        losses = [
            F.cross_entropy(one.flatten(0, 1), wanted[..., i].flatten(), reduction="none")
            for i, one in enumerate(logits)
        ]
        return torch.stack(losses).sum(0).view(len(outputs), -1).mean(1)

    def hypothesis(self, outputs: Tensor, length: int) -> str:
        """The most likely class of each part, joined by commas."""
        logits = outputs.split([len(part) for part in self.parts])
        return ",".join(part[int(one.argmax())] for part, one in zip(self.parts, logits, strict=True))


class Symbols(Outputs):
    """Symbols of frames trained with CTC, blank 0, and decoded by the arg-max (superb-protocol 2.1, 2.2, 2.9)."""

    def __init__(self, task: Task, train: Sequence[Item], upstream: Upstream, settings: ProbeSettings) -> None:
        super().__init__(task, train, upstream, settings)
        assert task.codec is not None
        self.codec = task.codec(self.train)

    def grid(self) -> Grid:
        """Two linear layers on each frame, or a BiLSTM head."""
        if self.task.head == "ctc-linear":
            return LinearGrid(self.size, self.states, self.dim, self.codec.units, self.settings)
        head = RecurrentHead(self.dim, self.codec.units, self.settings)
        return SeparateGrid(self.size, self.states, head, self.settings.spec_augment)

    def target(self, item: Item, frames: int) -> list[int]:
        """Indices of the symbols."""
        return self.codec.encode(item.label)

    def losses(self, outputs: Tensor, lengths: Tensor, targets: list[list[int]]) -> Tensor:
        """CTC, the mean over the batch of the loss per symbol."""
        flat = torch.tensor([index for target in targets for index in target])
        sizes = torch.tensor([len(target) for target in targets])
        log_probabilities = outputs.log_softmax(-1).transpose(1, 2)
        return torch.stack([F.ctc_loss(one, flat, lengths, sizes, zero_infinity=True) for one in log_probabilities])

    def hypothesis(self, outputs: Tensor, length: int) -> str:
        """The symbols of the most likely path."""
        return self.codec.decode(outputs[:length].argmax(-1).tolist())


class Talkers(Outputs):
    """Whether each of two speakers talks in each frame (superb-protocol 2.7)."""

    def grid(self) -> Grid:
        """An LSTM over the frames."""
        head = DiarizationHead(self.dim, self.settings.recurrent, self.settings.layers)
        return SeparateGrid(self.size, self.states, head)

    def target(self, item: Item, frames: int) -> Tensor:
        """Who talks in each frame, (frames, 2)."""
        return torch.from_numpy(frame_labels(item.label, frames, self.upstream.stride))

    def losses(self, outputs: Tensor, lengths: Tensor, targets: list[Tensor]) -> Tensor:
        """Permutation-invariant binary cross-entropy."""
        return permutation_free_loss(outputs, pad_sequence(targets, batch_first=True), lengths)

    def hypothesis(self, outputs: Tensor, length: int) -> list[list[float]]:
        """Probability of each speaker in each frame, to four digits."""
        return [[round(p, 4) for p in frame] for frame in outputs[:length].sigmoid().tolist()]

    def rows(self, items: Sequence[Item], hypotheses: Mapping[str, Any]) -> list[Prediction]:
        """Predictions with the length of their frames in samples."""
        return [row | {"stride": self.upstream.stride} for row in super().rows(items, hypotheses)]

    def settle(self, dev: list[Prediction], test: list[Prediction]) -> None:
        """The threshold and median filter with the lowest error rate on dev."""
        setting = SETTINGS[best_setting(dev)]
        for row in test:
            row["setting"] = list(setting)


class Voices(Outputs):
    """Speaker embeddings, compared in pairs by their cosine (superb-protocol 2.6)."""

    shortest = SHORTEST

    def __init__(self, task: Task, train: Sequence[Item], upstream: Upstream, settings: ProbeSettings) -> None:
        super().__init__(task, train, upstream, settings)
        self._speakers = {name: i for i, name in enumerate(sorted({item.label for item in self.train}))}

    def utterances(self, items: Sequence[Item]) -> list[Item]:
        """Every file of the trials once."""
        files = {}
        for item in items:
            if not isinstance(item, Trial):
                files[item.id] = item
                continue
            for id, path in zip(item.id.split(" "), (item.path, item.other), strict=True):
                files[id] = Item(id, path, "")
        return list(files.values())

    def check_left(self, items: Sequence[Item], usable: Collection[str]) -> None:
        """There must be trials of one speaker and of different ones."""
        left = [item for item in items if all(id in usable for id in item.id.split(" "))]
        if {item.label for item in left} != {item.label for item in items}:
            raise TooManyBadFiles(
                f"{len(left)} of {len(items)} trials can be used: expected some of one speaker and some of two"
            )

    def grid(self) -> Grid:
        """An x-vector network."""
        head = XVectorHead(self.dim, len(self._speakers), self.settings.hidden, self.settings.pooled)
        return SeparateGrid(self.size, self.states, head)

    def target(self, item: Item, frames: int) -> int:
        """Index of the speaker."""
        return self._speakers[item.label]

    def losses(self, outputs: Tensor, lengths: Tensor, targets: list[int]) -> Tensor:
        """AM-softmax over the training speakers."""
        return am_softmax_loss(outputs, torch.tensor(targets))

    def hypothesis(self, outputs: Tensor, length: int) -> Tensor:
        """The embedding, of length 1."""
        return outputs

    def rows(self, items: Sequence[Item], hypotheses: Mapping[str, Any]) -> list[Prediction]:
        """The cosine of each trial, and whose voices it compares."""
        rows = []
        for item in items:
            left, right = item.id.split(" ")
            if left in hypotheses and right in hypotheses:
                score = round(float(hypotheses[left] @ hypotheses[right]), 6)
                speakers = " ".join(sorted(id.split("/")[0] for id in (left, right)))
                rows.append({"id": item.id, "reference": item.label, "hypothesis": score, "speakers": speakers})
        return rows


OUTPUTS = {
    "pooled": Classes,
    "ctc-linear": Symbols,
    "ctc-bilstm": Symbols,
    "diarization": Talkers,
    "x-vector": Voices,
}
