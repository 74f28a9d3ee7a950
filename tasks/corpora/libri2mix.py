"""Libri2Mix for diarization, in Kaldi's form (superb-protocol 2.7)."""

import math
from pathlib import Path

from tasks.base import Item, Splits
from tasks.corpora.findings import Findings, lies_in, stays_inside
from tasks.diarization import SPEAKERS

FOLDER = "Libri2Mix"
PARTS = ("train", "dev", "test")
OFFICIAL_COUNTS = {"train": 13_900, "dev": 3_000, "test": 3_000}
LAYOUT = (
    f"{FOLDER}/sd/{{{','.join(PARTS)}}}/ with wav.scp ('<recording> <path>', relative to {FOLDER}), "
    "segments ('<utterance> <recording> <start> <end>' in seconds), utt2spk ('<utterance> <speaker>') and "
    "rttm ('SPEAKER <recording> 1 <start> <duration> <NA> <NA> <speaker> <NA>')"
)
CURE = "Make the mixtures and their Kaldi-style folders with S3PRL's fork of LibriMix (no archive has them)"
_TOLERANCE = 0.011  # seconds: two files may round differently at the second decimal

Stretch = tuple[str, str, str]  # speaker, start and end, as the files spell them


def libri2mix(root: Path) -> list[Splits]:
    """One fold of two-speaker mixtures, sorted by name; the audio is where wav.scp says.

    A label holds one line 'speaker start end' per stretch of speech, in seconds as `segments` spells them, sorted by
    speaker, then by time. A path in wav.scp is relative to root/Libri2Mix, or absolute and then under root. spk2utt and
    reco2dur only repeat what the other files and the audio say; they are not read. Raises CorpusError that names
    everything missing, unreadable lines, paths elsewhere, names that the files do not share, recordings of more than
    two speakers, and recordings whose rttm differs from their segments by more than 0.01 s.
    """
    findings = Findings("Libri2Mix", root, LAYOUT, CURE)
    splits = {part: _part(root, part, findings) for part in PARTS}
    findings.raise_if_any()
    return [splits]


def _part(root: Path, part: str, findings: Findings) -> list[Item]:
    folder = root / FOLDER / "sd" / part
    if not findings.folder(folder):
        return []
    audio = _audio(root, part, findings)
    stretches = _stretches(folder, findings)
    reference = _reference(folder, findings)
    if audio and stretches:
        findings.names(f"recordings in {part}/segments that wav.scp lacks", stretches.keys() - audio.keys())
        findings.names(f"recordings in {part}/wav.scp without segments", audio.keys() - stretches.keys())
    if stretches and reference:
        differing = [name for name in stretches | reference if not _agree(stretches.get(name), reference.get(name))]
        findings.names(f"recordings whose {part}/rttm differs from {part}/segments", differing)
    crowded = [name for name, found in stretches.items() if len({speaker for speaker, _, _ in found}) > SPEAKERS]
    findings.names(f"recordings in {part}/segments with more than {SPEAKERS} speakers", crowded)
    return [
        Item(name, audio[name], "\n".join(" ".join(stretch) for stretch in stretches[name]))
        for name in sorted(audio.keys() & stretches.keys())
    ]


def _audio(root: Path, part: str, findings: Findings) -> dict[str, Path]:
    """Recording to audio file, of wav.scp."""
    rows = [line.partition(" ") for line in findings.lines(root / FOLDER / "sd" / part / "wav.scp")]
    paths = findings.unique(
        f"recordings with two paths in {part}/wav.scp", ((name, path.strip()) for name, _, path in rows)
    )
    outside = {name for name, path in paths.items() if not _under(root, path)}
    findings.names(f"recordings whose path in {part}/wav.scp leaves the corpora folder", outside)
    audio = {name: root / FOLDER / path for name, path in paths.items()}
    absent = [name for name, path in audio.items() if name not in outside and not path.is_file()]
    findings.names(f"recordings in {part}/wav.scp without audio", absent)
    linked = [
        name
        for name, path in audio.items()
        if name not in {*outside, *absent} and not lies_in(path, root, root / FOLDER)
    ]
    findings.names(f"recordings that links lead out of {FOLDER}, which may itself be a link", linked)
    return audio


def _under(root: Path, path: str) -> bool:
    """Whether a path of wav.scp stays inside, or is absolute and lies under, the corpora folder."""
    if not Path(path).is_absolute():
        return stays_inside(path)
    bases = (root.absolute(), root.resolve())
    return any(Path(path).is_relative_to(base) and stays_inside(path[1:]) for base in bases)


def _stretches(folder: Path, findings: Findings) -> dict[str, list[Stretch]]:
    """Recording to its sorted stretches of speech, of segments and utt2spk.

    An utterance's name tells recording and times only, so that two speakers may share one.
    """
    speakers: dict[str, set[str]] = {}
    for utterance, speaker in _rows(folder / "utt2spk", 2, findings):
        speakers.setdefault(utterance, set()).add(speaker)
    found: dict[str, set[Stretch]] = {}
    unreadable, anonymous = [], []
    for utterance, recording, start, end in _rows(folder / "segments", 4, findings):
        if not _seconds(start) < _seconds(end):
            unreadable.append(f"{utterance} {recording} {start} {end}")
        elif utterance not in speakers:
            anonymous.append(utterance)
        else:
            found.setdefault(recording, set()).update((speaker, start, end) for speaker in speakers[utterance])
    findings.names(f"stretches in {folder.name}/segments that are not 0 <= start < end", unreadable)
    findings.names(f"utterances in {folder.name}/segments that utt2spk lacks", anonymous)
    return {name: sorted(stretches, key=_order) for name, stretches in found.items()}


def _reference(folder: Path, findings: Findings) -> dict[str, list[Stretch]]:
    """Recording to its sorted stretches of speech, of rttm."""
    found: dict[str, set[Stretch]] = {}
    unreadable = []
    for line in findings.lines(folder / "rttm"):
        fields = line.split()
        if fields[0] != "SPEAKER":
            continue
        start, duration = (_seconds(value) for value in (*fields, "", "", "", "")[3:5])
        if len(fields) < 8 or math.isnan(start + duration):
            unreadable.append(line)
        else:
            found.setdefault(fields[1], set()).add((fields[7], fields[3], f"{start + duration:.3f}"))
    findings.names(f"unreadable lines in {folder.name}/rttm", unreadable)
    return {name: sorted(stretches, key=_order) for name, stretches in found.items()}


def _agree(left: list[Stretch] | None, right: list[Stretch] | None) -> bool:
    """Whether both list the same speakers at the same times, but for rounding."""
    if left is None or right is None or len(left) != len(right):
        return False
    return all(
        a[0] == b[0] and all(abs(float(a[i]) - float(b[i])) <= _TOLERANCE for i in (1, 2))
        for a, b in zip(left, right, strict=True)
    )


def _rows(path: Path, fields: int, findings: Findings) -> list[list[str]]:
    """The fields of every line that has so many."""
    rows = [line.split() for line in findings.lines(path)]
    unreadable = [" ".join(row) for row in rows if len(row) != fields]
    findings.names(f"unreadable lines in {path.parent.name}/{path.name}", unreadable)
    return [row for row in rows if len(row) == fields]


def _order(stretch: Stretch) -> tuple[str, float, float]:
    speaker, start, end = stretch
    return speaker, float(start), float(end)


def _seconds(value: str) -> float:
    """A time of 0 or more, or NaN, which no comparison accepts."""
    try:
        seconds = float(value)
    except ValueError:
        return math.nan
    return seconds if 0 <= seconds < math.inf else math.nan
