"""QUESST 2014 for query by example (superb-protocol 2.4)."""

from pathlib import Path

from tasks.base import Item, Splits
from tasks.corpora.findings import Findings, lies_in, stays_inside

FOLDER = "quesst14Database"
LANGUAGE = "nnenglish"
LISTS = {
    "documents": "language_key_utterances.lst",
    "dev": "language_key_dev.lst",
    "test": "language_key_eval.lst",
}
TRUTHS = {"dev": "groundtruth_quesst14_dev", "test": "groundtruth_quesst14_eval"}
OFFICIAL_COUNTS = {"documents": 2_438, "dev": 138, "test": 138}  # entries tagged nnenglish
LAYOUT = (
    f"{FOLDER}/scoring/{{{','.join(LISTS.values())}}} with lines '<top>/<path of a .wav> <language>', the audio of the "
    f"{LANGUAGE} entries in {FOLDER}/<path>, and {FOLDER}/scoring/{{{','.join(TRUTHS.values())}}}/*.rttm with lines "
    "'LEXEME <document> <channel> <start> <duration> <query> ...'"
)


def quesst14(root: Path) -> list[Splits]:
    """One fold: the English "documents", the "dev" queries and the "test" (eval) queries, and "other ..." of each.

    English are the entries tagged nnenglish. The "other" entries, in the other languages, count in the official score
    only: their audio need not exist. A query's label is the blank-joined sorted ids of the documents of any language
    in which it occurs, possibly none; a document's is empty. Of the ground truth the document (second field) and the
    query (sixth field) of the LEXEME lines are read, from all .rttm files of the folder; lines of other types are
    skipped. That layout of the lines is inferred: the protocol does not give it. Raises CorpusError that names
    everything missing, unreadable lines, paths that leave the corpus, names listed twice, names in the ground truth
    that no list has, and lists without a query that occurs.
    """
    findings = Findings("QUESST 2014", root, LAYOUT)
    folder = root / FOLDER
    entries = {part: _entries(folder, name, findings) for part, name in LISTS.items()}
    documents = {path.stem for path, _ in entries["documents"]}
    splits: Splits = {}
    for part, found in entries.items():
        stems = {path.stem for path, _ in found}
        truth = _truth(folder / "scoring" / TRUTHS[part], stems, documents, findings) if part in TRUTHS else {}
        english = [path for path, language in found if language == LANGUAGE]
        missing = [path.relative_to(folder).as_posix() for path in english if not path.is_file()]
        findings.names(f"{LANGUAGE} entries of {LISTS[part]} without audio", missing)
        linked = [path.name for path in english if path.is_file() and not lies_in(path, folder, root)]
        findings.names(f"entries of {LISTS[part]} that links lead out of {FOLDER}, which may itself be a link", linked)
        if found and not english:
            findings.add(f"nothing tagged {LANGUAGE} in {LISTS[part]}")
        if english and truth and not any(path.stem in truth for path in english):
            findings.add(f"no {LANGUAGE} query of {LISTS[part]} occurs in any document")
        others = [path for path, language in found if language != LANGUAGE]
        for name, paths in ((part, english), (f"other {part}", others)):
            splits[name] = [Item(path.stem, path, " ".join(sorted(truth.get(path.stem, ())))) for path in paths]
    findings.raise_if_any()
    return [splits]


def _entries(folder: Path, name: str, findings: Findings) -> list[tuple[Path, str]]:
    """Path and language of every line of one list, in its order."""
    entries: dict[str, tuple[Path, str]] = {}
    unreadable, outside, twice = [], [], []
    for line in findings.lines(folder / "scoring" / name):
        listed, *language = line.split(maxsplit=1)
        _, _, relative = listed.partition("/")  # what comes first names the folder that the archive was packed from
        path = folder / relative
        if not relative or not language:
            unreadable.append(line)
        elif not stays_inside(relative):
            outside.append(listed)
        elif path.stem in entries:
            twice.append(path.stem)
        else:
            entries[path.stem] = (path, language[0])
    findings.names(f"unreadable lines in {name}", unreadable)
    findings.names(f"paths in {name} that leave {FOLDER}", outside)
    findings.names(f"names listed twice in {name}", twice)
    return list(entries.values())


def _truth(folder: Path, queries: set[str], documents: set[str], findings: Findings) -> dict[str, set[str]]:
    """Query to the documents in which it occurs."""
    if not findings.folder(folder):
        return {}
    files = sorted(folder.glob("[!.]*.rttm"))
    if not files:
        findings.add(f"no .rttm file in {folder.name}")
    occurrences: dict[str, set[str]] = {}
    unreadable = []
    for line in (line for path in files for line in findings.lines(path)):
        fields = line.split()
        if fields[:1] != ["LEXEME"]:
            continue
        if len(fields) < 6:
            unreadable.append(line)
        else:
            occurrences.setdefault(fields[5], set()).add(fields[1])
    findings.names(f"unreadable lines in {folder.name}", unreadable)
    findings.names(f"queries of {folder.name} that no list has", occurrences.keys() - queries)
    findings.names(f"documents of {folder.name} that no list has", set().union(*occurrences.values()) - documents)
    return occurrences
