"""The settings of a run, checked all at once before anything is done."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from students.fitting import student_problems
from students.names import suggestion
from students.objective_names import parse
from students.presets import STUDENTS, TEACHERS
from tasks.base import Protocol
from tasks.registry import PROTOCOLS, TASKS

# What becomes of results that were made with other settings: the command stops, they go, or all results of it go.
Overwrite = Literal["never", "stale", "always"]
TEACHER_NAMES = ("mini-hubert", *TEACHERS)


class UsageError(ValueError):
    """What the user asked for cannot be done; one line a problem."""


@dataclass(frozen=True)
class Cell:
    """One student to distil: its name in tables, the network, and the objective."""

    name: str
    student: str
    objective: str

    @property
    def folder(self) -> str:
        """The name of its folder in a run's."""
        return re.sub(r"[^\w.+-]+", "-", self.name).strip("-")


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides a run's numbers, and where they go.

    Every student is distilled with every objective. objectives, teacher: left empty they are the students' own, and
    mini-hubert on the mini suite. cache: as in EvaluationSettings.
    """

    students: tuple[str, ...]
    out: Path
    tasks: tuple[str, ...] = TASKS
    objectives: tuple[str, ...] = ()
    teacher: str = ""
    suite: str = "mini"
    protocol: Protocol = PROTOCOLS[0]
    seed: int = 0
    device: str = "cpu"
    corpora: Path | None = None
    cache: Path | None = None
    cache_gb: float = 20.0

    def __post_init__(self) -> None:
        problems = [unknown("student", name, tuple(STUDENTS)) for name in self.students]
        if not self.students:
            problems.append("no student given: expected some of " + ", ".join(STUDENTS))
        elif not any(problems):
            object.__setattr__(self, "teacher", self.teacher or self._own_teacher())
        wrong = [problem for text in self.objectives for problem in _objective_problems(text)]
        if not (any(problems) or wrong):
            wrong = [f"{cell.name}: {problem}" for cell in self.cells for problem in _misfits(cell)]
        _refuse(
            *problems,
            *wrong,
            _teacher_problem(self.teacher),
            *_problems(self.tasks, self.seed, self.out, self.corpora),
            *_cache_problems(self.cache, self.cache_gb),
        )

    def _own_teacher(self) -> str:
        own = dict.fromkeys(STUDENTS[name]().teacher for name in self.students)
        if self.suite != "mini" and len(own) > 1:
            raise UsageError(f"the students have different teachers ({', '.join(own)}): choose one with --teacher")
        return TEACHER_NAMES[0] if self.suite == "mini" else next(iter(own))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The students to distil, in order; one with its own objective goes by its own name."""
        found = {}
        for student in self.students:
            own = STUDENTS[student]().objective
            for text in self.objectives or (own,):
                objective = parse(text).name
                name = student if objective == own else f"{student} [{objective}]"
                found[name] = Cell(name, student, objective)
        return tuple(found.values())


@dataclass(frozen=True)
class EvaluationSettings:
    """Everything that decides the scores of one upstream, and where they go.

    upstream: as students.resolve spells it. cache: folder for hidden states (None: in memory for the mini suite, in the
    user's cache for the official corpora); cache_gb: its budget in GiB.
    """

    upstream: str
    out: Path
    tasks: tuple[str, ...] = TASKS
    suite: str = "mini"
    protocol: Protocol = PROTOCOLS[0]
    seed: int = 0
    corpora: Path | None = None
    cache: Path | None = None
    cache_gb: float = 20.0

    def __post_init__(self) -> None:
        _refuse(*_problems(self.tasks, self.seed, self.out, self.corpora), *_cache_problems(self.cache, self.cache_gb))


def _teacher_problem(name: str) -> str | None:
    """None for a name we know, a file or folder, or a model of another library whose network becomes our own."""
    if name.startswith("s3prl:"):
        return (
            f"{name} shows its hidden states alone: expected a teacher whose network is known; type hubert_base, "
            "hf:FOLDER, torchaudio:BUNDLE or a file"
        )
    if not name or ":" in name or Path(name).exists():
        return None
    return unknown("teacher", name, TEACHER_NAMES)


def _misfits(cell: Cell) -> list[str]:
    return student_problems(parse(cell.objective), STUDENTS[cell.student]().paper)


def _objective_problems(text: str) -> list[str]:
    try:
        parse(text or "star")
    except ValueError as error:
        return str(error).splitlines()
    return []


def _cache_problems(cache: Path | None, gigabytes: float) -> list[str]:
    problems = []
    if cache is not None and _no_folder(cache):
        problems.append(f"--cache {cache} is {_no_folder(cache)}: expected a folder, or one that does not exist yet")
    if not 0 <= gigabytes < float("inf"):
        problems.append(f"--cache-gb {gigabytes} is no size: expected 0 or more")
    return problems


def _problems(tasks: tuple[str, ...], seed: int, out: Path, corpora: Path | None) -> list[str | None]:
    problems = [unknown("task", name, TASKS) for name in tasks]
    if not tasks:
        problems.append("no task given: expected some of " + ", ".join(TASKS))
    if not 0 <= seed < 2**31:
        problems.append(f"seed {seed} is out of range: expected 0 to {2**31 - 1}")
    if _no_folder(out):
        problems.append(f"--out {out} is {_no_folder(out)}: expected a folder, or one that does not exist yet")
    if corpora is not None and _no_folder(corpora):
        problems.append(
            f"--corpora {corpora} is {_no_folder(corpora)}: expected the suite's folder, or one to write it to"
        )
    return problems


def _no_folder(path: Path) -> str:
    """What stands in the way of a folder of that name, if anything does."""
    if path.exists():
        return "" if path.is_dir() else "a file"
    return "a link that leads nowhere" if path.is_symlink() else ""


def _refuse(*problems: str | None) -> None:
    found = [problem for problem in problems if problem]
    if found:
        raise UsageError("\n".join(found))


def without_folders(spec: str) -> str:
    """What a user typed for a model, less the folders of a path from the root or the home folder: results are passed
    on, and those are nobody's business."""
    return ":".join(Path(part).name if part.startswith(("/", "~")) else part for part in spec.split(":"))


def unknown(what: str, name: str, known: tuple[str, ...]) -> str | None:
    """One line that names an unknown name's near matches, or None if the name is known."""
    if name in known:
        return None
    return f"unknown {what} {name!r}: {suggestion(name, known)} `harness list {what}s` shows all"
