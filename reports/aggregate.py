"""The two aggregate scores of a SUPERB table: Overall and generalizability."""

from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean

# Metric of each SUPERB column and whether higher is better, in the order of the papers' tables.
SUPERB = {
    "pr": ("PR PER", False),
    "asr": ("ASR WER", False),
    "ks": ("KS Acc", True),
    "qbe": ("QbE MTWV", True),
    "sid": ("SID Acc", True),
    "asv": ("ASV EER", False),
    "sd": ("SD DER", False),
    "ic": ("IC Acc", True),
    "sf_f1": ("SF F1", True),
    "sf_cer": ("SF CER", False),
    "er": ("ER Acc", True),
}
DIRECTIONS = {key: higher_is_better for key, (_, higher_is_better) in SUPERB.items()}


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
    for column in SUPERB:
        score, zero, best = scores.get(column), fbank.get(column), sota.get(column)
        if score is None or zero is None or best is None:
            return None
        task = column.partition("_")[0]
        shares[task].append((score - zero) / (best - zero))
    return 1000 * fmean(fmean(metrics) for metrics in shares.values())
