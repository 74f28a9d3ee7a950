"""The metrics of the tasks, each from a run's stored predictions alone."""

from collections.abc import Callable, Sequence

import numpy as np

from tasks.base import Metric, Prediction
from tasks.diarization import SETTINGS, frame_labels, sweep
from tasks.metrics import errors_and_counts, percentage, ratio_draws
from tasks.query import mtwv, mtwv_draws
from tasks.slot_metrics import slot_type_f1, slot_value_edits
from tasks.verification import eer_draws, equal_error_rate

Rows = Sequence[Prediction]
Ratio = Callable[[Rows], tuple[np.ndarray, np.ndarray]]


def _ratio(name: str, higher_is_better: bool, counts: Ratio, unit: str = "utterances") -> Metric:
    """A metric that is sum(errors) / sum(counts) in percent, or, where higher is better, 100 less that."""

    def score(rows: Rows) -> float:
        value = percentage(*counts(rows))
        return 100 - value if higher_is_better else value

    def draws(rows: Rows, seed: int) -> np.ndarray:
        values = ratio_draws(*counts(rows), seed)
        return 100 - values if higher_is_better else values

    return Metric(name, higher_is_better, score, draws, unit)


def _texts(rows: Rows) -> tuple[list[str], list[str]]:
    return [row["reference"] for row in rows], [row["hypothesis"] for row in rows]


def _f1_losses(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    scores = slot_type_f1(*_texts(rows))
    return 1 - scores, np.ones(len(scores))


def _trials(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row["reference"] == "1" for row in rows]), np.array([row["hypothesis"] for row in rows])


def _eer_draws(rows: Rows, seed: int) -> np.ndarray:
    numbers: dict[str, int] = {}
    pairs = [numbers.setdefault(row["speakers"], len(numbers)) for row in rows]
    return eer_draws(*_trials(rows), np.array(pairs), seed)


def _table(rows: Rows) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Scores and truth (queries, documents) of the searched queries; numbers of the other queries and documents."""
    searched = [row for row in rows if row["hypothesis"]]
    names = list(searched[0]["hypothesis"])
    scores = np.array([[row["hypothesis"][name] for name in names] for row in searched])
    truth = np.array([[name in set(row["reference"].split()) for name in names] for row in searched])
    others = sum(1 for row in rows if not row["hypothesis"] and row["reference"])
    return scores, truth, others, searched[0]["documents"] - len(names)


def _swept(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Error and scored seconds of each recording in each setting (10, recordings)."""
    return sweep([row["reference"] for row in rows], [np.asarray(row["hypothesis"]) for row in rows], rows[0]["stride"])


def best_setting(rows: Rows) -> int:
    """Index into diarization.SETTINGS of the threshold and filter with the lowest error rate on these predictions."""
    return _best(*_swept(rows))


def _best(errors: np.ndarray, scored: np.ndarray) -> int:
    return int(np.argmin(errors.sum(1) / scored.sum(1)))


def _chosen(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    setting = SETTINGS.index(tuple(rows[0]["setting"]))
    errors, scored = _swept(rows)
    return errors[setting], scored[setting]


def _lowest(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    errors, scored = _swept(rows)
    best = _best(errors, scored)
    return errors[best], scored[best]


def _wrong_frames(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Share of wrong decisions at 0.5 of each recording under the better order of its speakers, and 1."""
    shares = []
    for row in rows:
        decided = np.asarray(row["hypothesis"]) > 0.5
        spoken = frame_labels(row["reference"], len(decided), row["stride"]) > 0.5
        shares.append(min((decided != spoken).mean(), (decided != spoken[:, ::-1]).mean()))
    return np.array(shares), np.ones(len(shares))


PER = _ratio("per", False, lambda rows: errors_and_counts(*_texts(rows), tokens=True))
WER = _ratio("wer", False, lambda rows: errors_and_counts(*_texts(rows), tokens=True))
ACCURACY = _ratio("acc", True, lambda rows: errors_and_counts(*_texts(rows), tokens=False))
SLOT_F1 = _ratio("f1", True, _f1_losses)
SLOT_CER = _ratio("cer", False, lambda rows: slot_value_edits(*_texts(rows)))
EER = Metric("eer", False, lambda rows: equal_error_rate(*_trials(rows)), _eer_draws, "speaker pairs")
# At the setting chosen on dev; and, as the leaderboard has it, at the best of the ten on the test set itself.
DER = _ratio("der", False, _chosen, "recordings")
DER_LOWEST = _ratio("der", False, _lowest, "recordings")
FRAME_ACCURACY = _ratio("frame accuracy", True, _wrong_frames, "recordings")
# Over the searched language alone; and, as the leaderboard has it, over all languages of the corpus.
MTWV = Metric(
    "mtwv",
    True,
    lambda rows: 100 * mtwv(*_table(rows)[:2]),
    lambda rows, seed: 100 * mtwv_draws(*_table(rows)[:2], seed),
    "queries",
)
MTWV_ALL = Metric(
    "mtwv",
    True,
    lambda rows: 100 * mtwv(*_table(rows)),
    lambda rows, seed: 100 * mtwv_draws(*_table(rows)[:2], seed, *_table(rows)[2:]),
    "queries",
)
