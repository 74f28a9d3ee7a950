"""LibriSpeech for phoneme and speech recognition (superb-protocol 2.1, 2.2)."""

from pathlib import Path

from tasks.base import Item, Splits
from tasks.corpora.findings import Findings

PARTS = {"train": "train-clean-100", "dev": "dev-clean", "test": "test-clean"}
OFFICIAL_COUNTS = {"train": 28_539, "dev": 2_703, "test": 2_620}
LAYOUT = (
    f"LibriSpeech/{{{','.join(PARTS.values())}}}/<speaker>/<chapter>/<speaker>-<chapter>-<nnnn>.flac "
    "and <speaker>-<chapter>.trans.txt"
)


def librispeech(root: Path) -> list[Splits]:
    """The three parts of LibriSpeech under the corpora folder; labels are upper-case transcripts.

    Raises CorpusError that names every folder missing, transcripts and audio files that lack one another, transcripts
    without words, and what is there twice.
    """
    findings = Findings("LibriSpeech", root, LAYOUT)
    splits = {name: _part(root / "LibriSpeech" / part, findings) for name, part in PARTS.items()}
    findings.raise_if_any()
    return [splits]


def _part(folder: Path, findings: Findings) -> list[Item]:
    if not findings.folder(folder):
        return []
    paths = sorted(folder.glob("*/*/[!.]*.trans.txt"))
    lines = [line.partition(" ") for path in paths for line in findings.text(path).splitlines()]
    transcripts = findings.unique(
        f"utterances with two transcripts in {folder.name}",
        ((utterance, text.strip().upper()) for utterance, _, text in lines if utterance),
    )
    audio = findings.unique(
        f"utterances with two audio files in {folder.name}",
        ((path.stem, path) for path in sorted(folder.glob("*/*/[!.]*.flac"))),
    )
    wordless = [id for id in audio.keys() & transcripts.keys() if not transcripts[id]]
    findings.names(f"transcripts of {folder.name} without words", wordless)
    findings.names(f"transcripts of {folder.name} without audio", transcripts.keys() - audio.keys())
    findings.names(f"audio files of {folder.name} without transcript", audio.keys() - transcripts.keys())
    if not audio and not transcripts:
        findings.add(f"nothing in {folder.name}")
    return [
        Item(utterance, audio[utterance], transcripts[utterance])
        for utterance in sorted(audio.keys() & transcripts.keys())
    ]
