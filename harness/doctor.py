"""Whether a run can work here: the environment, and the corpora of all tasks; every problem at once, with its cure."""

import ctypes
import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Literal

from harness.progress import Stages
from tasks.base import CorpusError, Item, Splits, Task, Trial
from tasks.registry import TASKS, load_task

Status = Literal["ok", "warning", "problem"]
PACKAGE = "star-harness"
ROOM = 1.0  # GiB: the mini suite and the record of a run take a few hundred MiB
REPAIR = "make a fresh virtual environment and install the project there with pip"
SUITE_CURE = "Delete that folder: `harness run` writes the mini suite again"
ARCHIVE_CURE = "Unpack the archive of that file again"
OTHER_SIZE = "scores will not be comparable with published ones: unpack the official archives again, and nothing else"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    about: package, part of the machine, or task and corpus. found: in a few words. cure: what to do, "" if nothing.
    counts: examples in each split of the corpus, one entry per fold.
    """

    about: str
    status: Status
    found: str
    cure: str = ""
    counts: tuple[dict[str, int], ...] = ()


def check_environment() -> list[Check]:
    """Python, every declared package, torch with torchaudio, eSpeak NG, cores, memory, disk and CUDA.

    Heavy packages are looked up, not imported, but for torch and torchaudio, which fail when they are loaded if they
    do not belong together.
    """
    return [
        _python(),
        *(check for declared in requires(PACKAGE) or () for check in _package(declared)),
        _tried("torch, torchaudio", _torch_pair),
        _tried("eSpeak NG", _espeak),
        _machine(),
        _tried("disk", _disk),
        _tried("CUDA", _cuda),
    ]


def check_corpora(root: Path, stages: Stages) -> list[Check]:
    """Every task's corpus under the folder, read as a run reads it, with the first audio file of each split.

    What two tasks share is told once. The counts of the official corpora are compared with the protocol's
    (superb-protocol 2 and 5); those of the mini suite are not.
    """
    try:
        from tasks.mini.suite import MANIFEST, SUITE_NAME
    except ImportError as error:
        return [Check("corpora", "problem", f"{root} is not read: {error}", REPAIR)]
    mini = (root / MANIFEST).is_file()
    kind = f"{SUITE_NAME}: not compared with the official counts" if mini else "compared with the official corpora"
    checks = [Check("corpora", "ok", f"{root} ({kind})")]
    told: dict[tuple[str, str], str] = {}
    for name in TASKS:
        task = load_task(name)
        with stages.stage(f"read {name}: {task.corpus}", 1) as advance:
            found = list(_task_checks(task, root, mini))
            advance(1)
        checks += _untold(task, found, told)
    return checks


def lines(checks: Sequence[Check]) -> list[str]:
    """One line a check, each followed by its cure unless the next one has the same, and how many problems there are."""
    width = max(len(check.about) for check in checks)
    shown = []
    for check, after in zip(checks, [*checks[1:], None], strict=True):
        shown.append(f"{check.status:<8} {check.about:<{width}}  {check.found}")
        if check.cure and (after is None or (after.about, after.cure) != (check.about, check.cure)):
            shown.append(f"{'':<8} {'':<{width}}  -> {check.cure}")
    number = Counter(check.status for check in checks)
    return [*shown, f"{number['problem']} problems, {number['warning']} warnings"]


def _python() -> Check:
    from packaging.specifiers import SpecifierSet

    here, wanted = platform.python_version(), metadata(PACKAGE)["Requires-Python"]
    if SpecifierSet(wanted).contains(here, prereleases=True):
        return Check("Python", "ok", here)
    return Check("Python", "problem", f"{here}, expected {wanted}", f"install a Python {wanted}, then {REPAIR}")


def _package(declared: str) -> Iterator[Check]:
    """Whether one declared package is there in a fitting version; nothing for those of an extra."""
    from packaging.requirements import Requirement

    wanted = Requirement(declared)
    if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
        return
    cure = f"pip install '{wanted.name}{wanted.specifier}'"
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        yield Check(wanted.name, "problem", f"not installed, expected {wanted.specifier}", cure)
        return
    if wanted.specifier.contains(found, prereleases=True):
        yield Check(wanted.name, "ok", found)
    else:
        yield Check(wanted.name, "problem", f"{found}, expected {wanted.specifier}", cure)


def _tried(about: str, check: Callable[[], Check]) -> Check:
    """The check, or what went wrong with it."""
    try:
        return check()
    except (ImportError, OSError, RuntimeError) as error:
        return Check(about, "problem", " ".join(str(error).split()), REPAIR)


def _torch_pair() -> Check:
    import torch
    import torchaudio

    return _same_build(torch.__version__, torchaudio.__version__)


def _same_build(torch_version: str, torchaudio_version: str) -> Check:
    """Whether both were built for each other: the same version for the same CUDA version, or for none."""
    found = f"{torch_version} and {torchaudio_version}"
    if torch_version == torchaudio_version:
        return Check("torch, torchaudio", "ok", f"both {torch_version}, and load together")
    return Check("torch, torchaudio", "problem", f"{found}: not built for each other", REPAIR)


def _espeak() -> Check:
    import espeakng_loader

    library, voices = Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
    ctypes.CDLL(str(library))
    if not voices.is_dir():
        raise OSError(f"no voices in {voices}")
    return Check("eSpeak NG", "ok", f"{library.name} and its voices")


def _machine() -> Check:
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Check("machine", "ok", f"{cores} cores, {memory / 2**30:.1f} GiB of memory")


def _disk() -> Check:
    from tasks.mini.suite import mini_folder

    folder = next(path for path in mini_folder().parents if path.is_dir())
    free = shutil.disk_usage(folder).free / 2**30
    found = f"{free:.1f} GiB free in {folder}"
    if free < ROOM:
        return Check("disk", "warning", found, f"make {ROOM:.0f} GiB free, or set XDG_CACHE_HOME to a folder elsewhere")
    return Check("disk", "ok", found)


def _cuda() -> Check:
    import torch

    there = torch.cuda.is_available()
    return Check("CUDA", "ok", torch.cuda.get_device_name() if there else "none: everything runs on the CPU")


def _task_checks(task: Task, root: Path, mini: bool) -> Iterator[Check]:
    about = f"{task.name} ({task.corpus})"
    try:
        folds = task.folds(root)
    except CorpusError as error:
        cure = SUITE_CURE if mini else error.cure
        yield from (Check(about, "problem", problem, cure) for problem in error.problems)
        return
    except ImportError as error:
        yield Check(about, "problem", f"not read: {error}", REPAIR)
        return
    except (OSError, ValueError) as error:  # a file of the corpus that is no text, or no audio
        yield Check(about, "problem", " ".join(str(error).split()), SUITE_CURE if mini else ARCHIVE_CURE)
        return
    counts = tuple({part: _examples(items) for part, items in fold.items() if _is_heard(part)} for fold in folds)
    yield Check(about, "ok", _counted(task, folds, counts), counts=counts)
    for number, (found, official) in enumerate(zip(counts, () if mini else task.counts, strict=False), start=1):
        where = f"fold {number}: " if len(counts) > 1 else ""
        for part, expected in official.items():
            if found[part] != expected:
                yield Check(about, "warning", f"{where}{found[part]} in {part}, officially {expected}", OTHER_SIZE)
    for fact in () if mini else task.facts:
        if (number := fact.count(folds[0])) != fact.expected:
            yield Check(about, "warning", f"{number} {fact.what}, officially {fact.expected}", OTHER_SIZE)
    yield from _audio_checks(about, folds, mini)


def _audio_checks(about: str, folds: list[Splits], mini: bool) -> Iterator[Check]:
    """The first file of each split: those that cannot be used, and how many are not at 16 kHz."""
    from tasks.audio import SAMPLE_RATE, AudioError, read_audio, sampling_rate

    files = {items[0].path for fold in folds for part, items in fold.items() if items and _is_heard(part)}
    rates: Counter[int] = Counter()
    for path in sorted(files):
        try:
            read_audio(path)
            rates[sampling_rate(path)] += 1
        except AudioError as error:
            yield Check(about, "problem", str(error), SUITE_CURE if mini else ARCHIVE_CURE)
    for rate, count in rates.items():
        if rate != SAMPLE_RATE:
            found = f"{count} of {len(files)} files tried are at {rate} Hz: resampled to {SAMPLE_RATE} Hz"
            yield Check(about, "ok", found)


def _is_heard(part: str) -> bool:
    """Whether a split has audio: that of the languages that are not searched need not be there."""
    return not part.startswith("other ")


def _examples(items: list[Item]) -> int:
    """Examples of a split as the protocol counts them: trials, or files, of which several stretches may be given."""
    trials = sum(isinstance(item, Trial) for item in items)
    return trials or len({item.path for item in items})


def _counted(task: Task, folds: list[Splits], counts: Sequence[dict[str, int]]) -> str:
    """The counts in words, such as "train 20, dev 4, test trials 30"; those of several folds in a row."""
    words = []
    for part in counts[0]:
        unit = " trials" if any(isinstance(item, Trial) for item in folds[0][part][:1]) else ""
        unit = " queries" if task.head == "search" and part != "documents" else unit
        words.append(f"{part}{unit} {' '.join(str(fold[part]) for fold in counts)}")
    return ", ".join(words)


def _untold(task: Task, found: Iterable[Check], told: dict[tuple[str, str], str]) -> Iterator[Check]:
    """The checks that no task before has told of the same corpus, and one line about the others."""
    shared: list[Check] = []
    for check in found:
        before = told.setdefault((task.corpus, check.found), task.name)
        if before == task.name:
            yield check
        else:
            shared.append(check)
    if shared:
        worst: Status = max((check.status for check in shared), key=("ok", "warning", "problem").index)
        names = " and ".join(dict.fromkeys(told[task.corpus, check.found] for check in shared))
        counts = next((check.counts for check in shared if check.counts), ())
        yield replace(shared[0], status=worst, found=f"as for {names}", cure="", counts=counts)
