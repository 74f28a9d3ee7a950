"""What a task declares; the engine that runs it is shared (harness/probe.py)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np


class CorpusError(ValueError):
    """A corpus that cannot be read; the message says what is missing, what was expected and what to do.

    problems: what is missing, each in a few words; cure: what was expected and what to do. If the message is not made
    of such parts it is the only problem, and the cure is empty.
    """

    def __init__(self, message: str, problems: Sequence[str] = (), cure: str = "") -> None:
        super().__init__(message)
        self.problems, self.cure = tuple(problems) or (message,), cure


@dataclass(frozen=True)
class Item:
    """One example of a corpus.

    label: transcript, class or speaker as the corpus spells it. start, samples: the stretch of the file that is used,
    in samples at 16 kHz (None: to the end). Several stretches of one file count as one example of the protocol, whose
    recipe cuts a random stretch at every access: one of them is drawn each time.
    """

    id: str
    path: Path
    label: str
    start: int = 0
    samples: int | None = None


@dataclass(frozen=True)
class Trial(Item):
    """Two files to compare, `path` and `other`; label "1" if the same speaker is heard in both, else "0"."""

    other: Path = Path()


Splits = dict[str, list[Item]]  # "train", "dev", "test", and what else a task's engine needs

# "official": selected or scored as the published numbers were, where the default, "corrected", is not.
Protocol = Literal["corrected", "official"]
Prediction = dict[str, Any]  # "id", "reference", "hypothesis" and what else the task's metrics need

Head = Literal["pooled", "ctc-linear", "ctc-bilstm", "diarization", "x-vector", "search"]
# How training batches are drawn (superb-protocol 2): "shuffled" epochs; "balanced" by class, with replacement;
# "windows" of neighbours by target length that overlap; "buckets" of neighbours by audio length that do not.
Batching = Literal["shuffled", "balanced", "windows", "buckets"]


@dataclass(frozen=True)
class Metric:
    """One score of a task, in percent.

    score: from predictions. draws: bootstrap values (draws,) of the score from predictions and a seed; unit: what is
    drawn with replacement.
    """

    name: str
    higher_is_better: bool
    score: Callable[[Sequence[Prediction]], float]
    draws: Callable[[Sequence[Prediction], int], "np.ndarray"]
    unit: str = "utterances"


@dataclass(frozen=True)
class Codec:
    """The symbols of a CTC task.

    encode: label to output indices; decode: frame-wise arg-max indices to hypothesis; units: number of outputs, the
    blank being 0.
    """

    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    units: int


@dataclass(frozen=True)
class AudioChain:
    """What is done to the audio before the upstream sees it (superb-protocol 1.3).

    gain_db: gain in dB. trim_silence: whether silence is removed as verification does.
    """

    gain_db: float = 0.0
    trim_silence: bool = False


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe is trained.

    steps: optimiser updates, each over `accumulate` batches of `batch` examples; eval_every: updates between two looks
    at dev; hidden: width of the projection; recurrent, layers, dropout: width of each LSTM direction, number of LSTM
    layers and dropout after each; pooled: width before the statistics of an x-vector; spec_augment: whether training
    features are warped and masked; clip: largest L2 norm of a head's gradient; shortest: training utterances of at
    most so many seconds are left out.
    """

    steps: int
    batch: int
    learning_rates: tuple[float, ...]
    eval_every: int
    accumulate: int = 1
    hidden: int = 256
    recurrent: int = 0
    layers: int = 0
    dropout: float = 0.0
    pooled: int = 0
    spec_augment: bool = False
    clip: float = 1.0
    weight_decay: float = 0.0
    shortest: float = 0.0


@dataclass(frozen=True)
class Fact:
    """What else is known of an official corpus: `expected` of `what`, found by `count` in its first fold."""

    what: str
    expected: int
    count: Callable[[Splits], int]


@dataclass(frozen=True)
class Task:
    """One task of the benchmark.

    folds: reads the corpora folder; one entry per fold, almost always one. counts: examples of the official corpus in
    each split, one entry per fold, as far as they are known exactly; facts: what else is known of it. select: the
    metric that chooses on dev, the first of `metrics` unless another is given. classes: from the training items, the
    values of each part of a label in the order of a classifier's outputs; a label of several parts has them joined by
    commas. codec: from the training items, the symbols of a CTC task. differences: where this task leaves the official
    recipe, whatever the suite. version: raised when scores of old records stop being comparable.
    """

    name: str
    corpus: str
    metrics: tuple[Metric, ...]
    head: Head
    batching: Batching
    folds: Callable[[Path], list[Splits]]
    official: ProbeSettings
    counts: Sequence[Mapping[str, int]] = ()
    facts: tuple[Fact, ...] = ()
    version: int = 1
    audio: AudioChain = AudioChain()
    classes: Callable[[list[Item]], tuple[tuple[str, ...], ...]] | None = None
    codec: Callable[[list[Item]], Codec] | None = None
    select: Metric | None = None
    protocol: Protocol = "corrected"
    differences: tuple[str, ...] = ()

    @property
    def selection(self) -> Metric:
        """The metric that chooses on dev."""
        return self.select or self.metrics[0]
