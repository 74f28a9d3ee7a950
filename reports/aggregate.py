"""The two aggregate scores of a SUPERB table: Overall and generalizability."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class Metric:
    """A column of the SUPERB table: task code, name, direction, and the aspect of speech that it belongs to."""

    task: str
    name: str
    higher_is_better: bool
    aspect: str

    @property
    def key(self) -> str:
        """Name of the column in data files."""
        return f"{self.task}_{self.name}".lower()


# In the order and the groups of the papers' tables.
SUPERB = {
    "pr": Metric("PR", "PER", False, "Content"),
    "asr": Metric("ASR", "WER", False, "Content"),
    "ks": Metric("KS", "Acc", True, "Content"),
    "qbe": Metric("QbE", "MTWV", True, "Content"),
    "sid": Metric("SID", "Acc", True, "Speaker"),
    "asv": Metric("ASV", "EER", False, "Speaker"),
    "sd": Metric("SD", "DER", False, "Speaker"),
    "ic": Metric("IC", "Acc", True, "Semantics"),
    "sf_f1": Metric("SF", "F1", True, "Semantics"),
    "sf_cer": Metric("SF", "CER", False, "Semantics"),
    "er": Metric("ER", "Acc", True, "Paraling."),
}
DIRECTIONS = {column: metric.higher_is_better for column, metric in SUPERB.items()}


def overall(scores: Mapping[str, float | None], higher_is_better: Mapping[str, bool] = DIRECTIONS) -> float | None:
    """Mean over the columns named in `higher_is_better` of the score, or of 100 minus it where lower is better.

    Scores are in percent, QbE as 100 x MTWV. The default is the 11 columns of SUPERB; a table of fewer tasks passes its
    own. None when a named column has no score (star-objective.md, "The two aggregate scores").
    """
    points = []
    for column, higher in higher_is_better.items():
        score = scores.get(column)
        if score is None:
            return None
        points.append(score if higher else 100 - score)
    return fmean(points)


def generalizability(
    scores: Mapping[str, float | None], fbank: Mapping[str, float | None], sota: Mapping[str, float | None]
) -> float | None:
    """SUPERB challenge score: 0 for the filter bank, 1000 for the best known system, linear between them.

    Each metric is rescaled, metrics are averaged within their task, then the ten tasks. All scores are in percent.
    None when a column of any of the three is missing (star-objective.md, "The two aggregate scores").
    """
    shares = defaultdict(list)
    for column, metric in SUPERB.items():
        score, zero, best = scores.get(column), fbank.get(column), sota.get(column)
        if score is None or zero is None or best is None:
            return None
        shares[metric.task].append((score - zero) / (best - zero))
    return 1000 * fmean(fmean(metrics) for metrics in shares.values())


def unscaled(column: str, score: float | None) -> float | None:
    """A score in percent as data files hold it: MTWV between 0 and 1, the others unchanged."""
    return round(score / 100, 10) if column == "qbe" and score is not None else score
