"""Prediction files for the SUPERB leaderboard, from the stored records of a run (superb-protocol 4)."""

import io
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from harness.config import UsageError
from reports.records import Record, RecordError, read_predictions, read_records

FOLDS = 5
THRESHOLD = 2.0  # normalised score above which a document is said to hold the query (superb-protocol 2.4)
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP archive can hold: equal predictions give equal bytes
_STRANGE = re.compile(r"[\s/\\,]")

Rows = list[dict[str, Any]]
Files = dict[str, bytes]  # by name under predict/


def write_predictions(run: Path, upstream: str, out: Path, allow_synthetic: bool = False) -> Path:
    """Pack the predictions of one upstream on every task of the run, and return the archive's path.

    The folder of the run is the one that holds records/. Ids are spelled as the leaderboard does. Equal predictions
    give equal bytes, and the archive appears whole or not at all. Raises UsageError with one line a problem: no such
    run or upstream, several seeds, scores of the mini suite unless allow_synthetic, failed tasks, predictions that are
    missing or not complete (the leaderboard scores only what is handed in), names that do not fit its format.
    """
    if not (run / "records").is_dir():
        raise UsageError(f"no run in {run}: expected a folder that `harness run --out` has written")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: expected the name of an archive, such as {out / 'predict.zip'}")
    stored = read_records(run / "records")
    records = {record.task: record for record in stored if record.upstream == upstream}
    if not records:
        there = ", ".join(dict.fromkeys(record.upstream for record in stored)) or "none"
        raise UsageError(f"no records of upstream {upstream!r} in {run}: expected one of those there: {there}")
    problems = _general_problems([record for record in stored if record.upstream == upstream], allow_synthetic)
    files: Files = {}
    for task, record in records.items():
        try:
            files |= WRITERS[task](_complete_rows(run / "records", record))
        except (UsageError, RecordError) as error:
            problems.append(f"{task} of {upstream}: {error}")
    if problems:
        raise UsageError("\n".join(problems))
    _write_archive(out, files)
    return out


def _general_problems(records: Sequence[Record], allow_synthetic: bool) -> list[str]:
    problems = []
    seeds = sorted({record.seed for record in records})
    if len(seeds) > 1:
        problems.append(f"records of seeds {', '.join(map(str, seeds))} in one folder: expected those of one seed")
    if any(record.synthetic for record in records) and not allow_synthetic:
        problems.append(
            "these are scores of the mini suite, on synthetic speech, which the leaderboard does not know: evaluate on "
            "the official corpora, or give --allow-synthetic to try the format"
        )
    return problems


def _complete_rows(folder: Path, record: Record) -> Rows:
    """The stored predictions of a record. Raises UsageError or RecordError if any example of the test set lacks one."""
    if record.value is None:
        raise UsageError(f"failed ({'; '.join(record.skipped) or 'no reason kept'}): run it again")
    rows = read_predictions(folder, record)
    if len(rows) < record.n_total:
        raise UsageError(
            f"{len(rows)} of {record.n_total} test examples have a prediction, and the leaderboard scores only what is "
            f"handed in; set aside were {', '.join(record.skipped[:5]) or 'none'}: restore these files, run it again"
        )
    if record.task == "qbe" and record.skipped:
        raise UsageError(f"not everything was searched, without {', '.join(record.skipped[:5])}: restore these files")
    return [row for row in rows if row["hypothesis"] != {}]  # but queries of other languages, which are not searched


def _text(name: str, rows: Rows, between: str = " ", spelled: Callable[[str], str] = str) -> Files:
    """A file with one line an example: its id as the leaderboard spells it, and the hypothesis."""
    lines = []
    for row in rows:
        value = row["hypothesis"]
        value = f"{value:.6f}" if isinstance(value, float) else str(value)
        lines.append(f"{_plain(spelled(row['id']))}{between}{' '.join(value.split())}\n")
    return {name: "".join(lines).encode()}


def _plain(id: str) -> str:
    if not id or _STRANGE.search(id):
        raise UsageError(f"id {id!r} does not fit the format: expected no blank, comma or slash in it")
    return id


def _dashed(id: str) -> str:
    """A path with dashes for its slashes."""
    return id.replace("/", "-")


def _utterance(id: str) -> str:
    """The path of a VoxCeleb file with dashes for its slashes, and without its suffix."""
    return _dashed(str(PurePosixPath(id).with_suffix("")))


def _trial(id: str) -> str:
    """The two files of a trial, joined by a low line."""
    return "_".join(map(_utterance, id.split(" ")))


def _emotions(rows: Rows) -> Files:
    """One file a fold; the leaderboard scores all five or none."""
    folds = {row.get("fold") for row in rows}
    if folds != set(range(1, FOLDS + 1)):
        raise UsageError(f"folds {', '.join(sorted(map(str, folds)))}: expected 1 to {FOLDS}: run the task again")
    files: Files = {}
    for fold in range(1, FOLDS + 1):
        files |= _text(f"er_fold{fold}_public/predict.txt", [row for row in rows if row["fold"] == fold])
    return files


def _detections(rows: Rows) -> Files:
    """Every document under every query, with its score and whether it is said to hold the query."""
    root = ElementTree.Element(
        "stdlist",
        termlist_filename="benchmark.stdlist.xml",
        indexing_time="1.00",
        language="english",
        index_size="1",
        system_id="benchmark",
    )
    for row in rows:
        query = ElementTree.SubElement(
            root, "detected_termlist", termid=_plain(row["id"]), term_search_time="1.0", oov_term_count="1"
        )
        for document, score in row["hypothesis"].items():
            ElementTree.SubElement(
                query,
                "term",
                file=_plain(document),
                channel="1",
                tbeg="0.000",
                dur="0.00",
                score=f"{score:.4f}",
                decision="YES" if score > THRESHOLD else "NO",
            )
    ElementTree.indent(root)
    return {"qbe_public/benchmark.stdlist.xml": ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)}


def _talkers(rows: Rows) -> Files:
    """The probabilities (frames, 2) of each recording in a file of its own, and the length of a frame in samples."""
    import h5py
    import numpy as np

    strides = {row.get("stride") for row in rows}
    if len(strides) != 1 or None in strides:
        raise UsageError(f"frames of {', '.join(map(str, strides))} samples: expected one length: run the task again")
    files: Files = {"sd_public/frame_shift": f"{strides.pop()}\n".encode()}
    for row in rows:
        content = io.BytesIO()
        with h5py.File(content, "w") as file:
            file.create_dataset("T_hat", data=np.asarray(row["hypothesis"], dtype=np.float32).reshape(-1, 2))
        files[f"sd_public/scoring/predictions/{_plain(row['id'])}.h5"] = content.getvalue()
    return files


WRITERS: dict[str, Callable[[Rows], Files]] = {
    "pr": lambda rows: _text("pr_public/predict.ark", rows),
    "asr": lambda rows: _text("asr_public/predict.ark", rows),
    "ks": lambda rows: _text("ks_public/predict.txt", rows, spelled=_dashed),
    "qbe": _detections,
    "sid": lambda rows: _text("sid_public/predict.txt", rows, spelled=_utterance),
    "asv": lambda rows: _text("sv_public/predict.txt", rows, spelled=_trial),
    "sd": _talkers,
    "ic": lambda rows: _text("ic_public/predict.csv", rows, between=","),
    "sf": lambda rows: _text("sf_public/predict.ark", rows),
    "er": _emotions,
}


def _write_archive(out: Path, files: Files) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.part")
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):
                entry = zipfile.ZipInfo(f"predict/{name}", _TIMESTAMP)
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, files[name])
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
