"""What a task declares; the engine that runs it is shared (harness/probe.py)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


class CorpusError(ValueError):
    """A corpus that cannot be read; the message says what is missing, what was expected and what to do."""


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


Splits = dict[str, list[Item]]  # "train", "dev", "test"

Head = Literal["pooled", "ctc-linear", "ctc-bilstm"]
# How training batches are drawn (superb-protocol 2): "shuffled" epochs; "balanced" by class, with replacement;
# "windows" of neighbours by target length that overlap; "buckets" of neighbours by audio length that do not.
Batching = Literal["shuffled", "balanced", "windows", "buckets"]


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe is trained.

    steps: optimiser updates; batch: examples per update; eval_every: updates between two looks at dev; hidden: width
    of the projection; recurrent, layers, dropout: width of each LSTM direction, number of BiLSTM layers and dropout
    after each (BiLSTM head only); clip: largest L2 norm of a head's gradient.
    """

    steps: int
    batch: int
    learning_rates: tuple[float, ...]
    eval_every: int
    hidden: int = 256
    recurrent: int = 0
    layers: int = 0
    dropout: float = 0.0
    clip: float = 1.0


@dataclass(frozen=True)
class Task:
    """One task of the benchmark.

    folds: reads the corpora folder; one entry per fold, almost always one. score: references and hypotheses to the
    metric's value in percent. classes: the order of a classifier's outputs, or None for the sorted labels of the
    training split. encode, decode, units: for CTC tasks, label to output indices, frame-wise arg-max indices to
    hypothesis, and number of outputs, the blank being 0. gain_db: gain on the audio. differences: where this task
    leaves the official recipe, whatever the suite. version: raised when scores of old records stop being comparable.
    """

    name: str
    title: str
    corpus: str
    metric: str
    higher_is_better: bool
    head: Head
    batching: Batching
    folds: Callable[[Path], list[Splits]]
    score: Callable[[list[str], list[str]], float]
    official: ProbeSettings
    version: int = 1
    gain_db: float = 0.0
    classes: tuple[str, ...] | None = None
    encode: Callable[[str], list[int]] | None = None
    decode: Callable[[list[int]], str] | None = None
    units: int = 0
    differences: tuple[str, ...] = ()
