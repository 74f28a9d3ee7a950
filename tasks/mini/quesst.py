"""Speech at 8 kHz to search for spoken words, laid out as QUESST 2014, with entries of a language without audio."""

from functools import partial
from itertools import cycle, pairwise
from pathlib import Path

import numpy as np

from tasks.audio import SAMPLE_RATE, num_samples
from tasks.corpora.quesst import FOLDER, LANGUAGE, LISTS, TRUTHS
from tasks.mini.acoustics import draw_scene
from tasks.mini.calibration import ARCHIVE, Sizes, draw_readers
from tasks.mini.espeak import Voice
from tasks.mini.grammar import content_words, sentence
from tasks.mini.plan import CorpusPlan, draw_seed, write_lines
from tasks.mini.render import Utterance

RATE = 8_000
FOREIGN = "albanian"
_QUERIES = {"dev": "dev", "test": "eval"}  # as the official files call them
_SHORTEST, _LONGEST = 7, 11  # words of a clause; a document has two
_LETTERS = 7  # a single word is searched for only if it is so long


def plan(root: Path, sizes: Sizes, rng: np.random.Generator) -> CorpusPlan:
    """The corpus under root/quesst14Database; no voice of a query speaks in a document.

    Every document joins two clauses, and every clause is said in three documents, so that its words can be found.
    """
    folder = root / FOLDER
    drawn = iter(draw_readers(sizes.archive_speakers + len(_QUERIES) * sizes.query_speakers, rng))
    counts = {"documents": sizes.archive_speakers, **dict.fromkeys(_QUERIES, sizes.query_speakers)}
    voices = {f"{part}-{i}": next(drawn) for part, count in counts.items() for i in range(count)}
    texts = {"documents": _documents(sizes.documents, rng)}
    phrases = iter(_phrases(texts["documents"], len(_QUERIES) * sizes.queries, rng))
    texts |= {part: [next(phrases) for _ in range(sizes.queries)] for part in _QUERIES}
    paths = {"documents": [folder / "Audio" / f"quesst14_{i:05d}.wav" for i in range(1, sizes.documents + 1)]}
    for part, name in _QUERIES.items():
        numbers = range(1, sizes.queries + 1)
        paths[part] = [folder / f"{name}_queries" / f"quesst14_{name}_{i:04d}.wav" for i in numbers]
    utterances = []
    for part, count in counts.items():
        speakers = cycle([voices[f"{part}-{i}"] for i in range(count)])
        for path, text, voice in zip(paths[part], texts[part], speakers, strict=False):
            utterances.append(_spoken(path, text, voice, rng))
    return CorpusPlan(voices, utterances, partial(_finish, folder, utterances, sizes))


def _spoken(path: Path, text: str, voice: Voice, rng: np.random.Generator) -> Utterance:
    scene = draw_scene(rng, ARCHIVE.snr_db)
    return Utterance(path, text, ARCHIVE.vary(voice, rng), scene, draw_seed(rng), rate=RATE)


def _documents(count: int, rng: np.random.Generator) -> list[str]:
    """Pairs of clauses out of a pool that is gone through three times, each time in another order."""
    pool: list[str] = []
    while len(pool) < 2 * count // 3:
        clause = sentence(rng, _SHORTEST, _LONGEST)
        if clause not in pool:
            pool.append(clause)
    order = np.concatenate([rng.permutation(len(pool)) for _ in range(3)])
    return [f"{pool[order[2 * i]]}, {pool[order[2 * i + 1]]}" for i in range(count)]


def _phrases(documents: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Distinct phrases of one long content word, or of two content words in a row, by turns."""
    sought = content_words()
    pairs, singles = set(), set()
    for document in documents:
        for clause in document.split(", "):
            words = clause.split()
            pairs |= {f"{a} {b}" for a, b in pairwise(words) if {a, b} <= sought}
            singles |= {word for word in words if word in sought and len(word) >= _LETTERS}
    orders = [[sorted(kind)[i] for i in rng.permutation(len(kind))] for kind in (singles, pairs)]
    return [phrase for both in zip(*orders, strict=False) for phrase in both][:count]


def _finish(folder: Path, utterances: list[Utterance], sizes: Sizes) -> None:
    """The language keys and the ground truth, with the entries of the other language."""
    scoring = folder / "scoring"
    said = {part: [u for u in utterances if u.path.parent.name == _folder(part)] for part in LISTS}
    foreign = [f"quesst14_{sizes.documents + i:05d}" for i in range(1, sizes.foreign_documents + 1)]
    for part, name in LISTS.items():
        lines = [f"{FOLDER}/{u.path.relative_to(folder).as_posix()} {LANGUAGE}" for u in said[part]]
        names = foreign if part == "documents" else _foreign_queries(part, sizes)
        lines += [f"{FOLDER}/{_folder(part)}/{other}.wav {FOREIGN}" for other in names]
        write_lines(scoring / name, lines)
    for part, name in TRUTHS.items():
        truth = [
            _occurrence(document.path.stem, num_samples(document.path) / SAMPLE_RATE, query.path.stem)
            for query in said[part]
            for document in said["documents"]
            if f" {query.text} " in f" {document.text.replace(',', ' ,')} "
        ]
        truth += [
            _occurrence(document, 5.0, query)
            for i, query in enumerate(_foreign_queries(part, sizes))
            for document in foreign[i : i + 2]
        ]
        write_lines(scoring / name / f"quesst14_{_QUERIES[part]}.rttm", truth)


def _folder(part: str) -> str:
    return "Audio" if part == "documents" else f"{_QUERIES[part]}_queries"


def _foreign_queries(part: str, sizes: Sizes) -> list[str]:
    first = sizes.queries + 1
    return [f"quesst14_{_QUERIES[part]}_{first + i:04d}" for i in range(sizes.foreign_queries)]


def _occurrence(document: str, seconds: float, query: str) -> str:
    """A line of the ground truth: the query is somewhere in the document."""
    return f"LEXEME {document} 1 0.00 {seconds:.2f} {query} lex <NA> <NA>"
