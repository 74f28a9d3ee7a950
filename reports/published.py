"""Published SUPERB results, with their aggregates recomputed."""

import csv
from dataclasses import dataclass
from pathlib import Path

from reports.aggregate import SUPERB, generalizability, overall

DATA = Path(__file__).parent / "data" / "superb_published.csv"


@dataclass(frozen=True)
class PublishedRow:
    """One printed row; None where nothing was printed.

    params_m: millions of parameters. macs_g: giga multiply-accumulates over the 32 profiling utterances.
    scores: percent by column of `aggregate.SUPERB`. source: see data/README.md.
    """

    key: str
    model: str
    teacher: str | None
    distil_data: str | None
    source: str
    params_m: float | None
    macs_g: float | None
    overall: float | None
    overall_recomputed: float | None
    general: float | None
    general_recomputed: float | None
    scores: dict[str, float | None]


def published_rows() -> list[PublishedRow]:
    """Rows of the published tables in file order: aggregates as printed and recomputed from the row's own tasks.

    The zero of the generalizability is the leaderboard's FBANK row, its 1000 the paper's SOTA row.
    """
    with DATA.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    scores = {line["key"]: _scores(line) for line in lines}
    fbank, sota = scores["fbank_leaderboard"], scores["sota"]
    return [
        PublishedRow(
            key=line["key"],
            model=line["model"],
            teacher=line["teacher"] or None,
            distil_data=line["distil_data"] or None,
            source=line["source"],
            params_m=_number(line["params_m"]),
            macs_g=_number(line["macs_g"]),
            overall=_number(line["overall"]),
            overall_recomputed=overall(scores[line["key"]]),
            general=_number(line["general"]),
            general_recomputed=generalizability(scores[line["key"]], fbank, sota),
            scores=scores[line["key"]],
        )
        for line in lines
    ]


def _scores(line: dict[str, str]) -> dict[str, float | None]:
    values = {key: _number(line[title.lower().replace(" ", "_")]) for key, (title, _) in SUPERB.items()}
    if values["qbe"] is not None:
        values["qbe"] *= 100
    return values


def _number(text: str) -> float | None:
    return float(text) if text else None
