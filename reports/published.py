"""Published SUPERB results, with their aggregates recomputed."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reports.aggregate import SUPERB, generalizability, overall, unscaled

DATA = Path(__file__).parent / "data"
ZERO, BEST = "fbank_leaderboard", "sota"  # rows that are 0 and 1000 points of generalizability
SOURCES = {
    "star2024": "Jang et al., STaR, ICASSP 2024, arXiv 2312.09040.",
    "arm2023": "Jang et al., Recycle-and-Distill (ARMHuBERT), INTERSPEECH 2023, arXiv 2305.11685.",
    "superb-leaderboard": "The SUPERB leaderboard.",
}
OVERALL_TOLERANCE, GENERAL_TOLERANCE = 0.05, 2.0  # points; one decimal is printed, and other papers' roundings enter
ROUNDING = 1e-9


@dataclass(frozen=True)
class PublishedRow:
    """One printed row; None where nothing was printed.

    params_m: millions of parameters. macs_g: giga multiply-accumulates over the 32 profiling utterances.
    scores: percent by column of `aggregate.SUPERB`. source: a key of SOURCES.
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

    @property
    def contradictions(self) -> tuple[str, ...]:
        """The printed aggregates that do not follow from the printed tasks: over 0.05 or 2 points apart."""
        aggregates = (
            ("Overall", self.overall, self.overall_recomputed, OVERALL_TOLERANCE, 1),
            ("Generalizability", self.general, self.general_recomputed, GENERAL_TOLERANCE, 0),
        )
        return tuple(
            f"{name} {printed:.{digits}f} printed, {own:.{digits}f} recomputed"
            for name, printed, own, tolerance, digits in aggregates
            if printed is not None and own is not None and abs(printed - own) > tolerance + ROUNDING
        )


@dataclass(frozen=True)
class AblationRow:
    """One objective of the paper's loss selection, as printed; objective: the harness's name of it."""

    objective: str
    label: str
    distil_data: str
    source: str
    overall: float
    general: float
    mean_rank: float | None


def published_rows() -> list[PublishedRow]:
    """Rows of the published tables in file order: aggregates as printed and recomputed from the row's own tasks.

    The zero of the generalizability is the leaderboard's FBANK row, its 1000 the paper's SOTA row.
    """
    lines = _lines("superb_published.csv")
    scores = {line["key"]: _scores(line) for line in lines}
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
            general_recomputed=generalizability(scores[line["key"]], scores[ZERO], scores[BEST]),
            scores=scores[line["key"]],
        )
        for line in lines
    ]


def published_generalizability(scores: Mapping[str, float | None]) -> float | None:
    """Generalizability of other scores, in percent by column, between the published FBANK and SOTA rows."""
    rows = {row.key: row.scores for row in published_rows()}
    return generalizability(scores, rows[ZERO], rows[BEST])


def published_values() -> list[dict[str, str | float | None]]:
    """The published rows for machines, a flat dictionary each: units and names of the data file, None where absent.

    consistent: whether both printed aggregates follow from the printed tasks (`PublishedRow.contradictions`).
    """
    return [
        {
            "key": row.key,
            "model": row.model,
            "teacher": row.teacher,
            "distil_data": row.distil_data,
            "source": row.source,
            "params_m": row.params_m,
            "macs_g": row.macs_g,
            "overall_printed": row.overall,
            "overall_recomputed": row.overall_recomputed,
            "general_printed": row.general,
            "general_recomputed": row.general_recomputed,
            "consistent": "no" if row.contradictions else "yes",
        }
        | {metric.key: unscaled(column, row.scores[column]) for column, metric in SUPERB.items()}
        for row in published_rows()
    ]


def ablation_rows() -> list[AblationRow]:
    """The paper's loss selection in file order (star-objective.md, "The paper's loss selection")."""
    return [
        AblationRow(
            objective=line["objective"],
            label=line["label"],
            distil_data=line["distil_data"],
            source=line["source"],
            overall=float(line["overall"]),
            general=float(line["general"]),
            mean_rank=_number(line["mean_rank"]),
        )
        for line in _lines("star_ablation.csv")
    ]


def _lines(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _scores(line: dict[str, str]) -> dict[str, float | None]:
    values = {column: _number(line[metric.key]) for column, metric in SUPERB.items()}
    if values["qbe"] is not None:
        values["qbe"] *= 100
    return values


def _number(text: str) -> float | None:
    return float(text) if text else None
