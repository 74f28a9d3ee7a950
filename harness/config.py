"""The settings of a run, checked all at once before anything is done."""

from dataclasses import dataclass
from pathlib import Path

from students.names import suggestion
from students.objective_names import parse
from students.presets import STUDENTS
from tasks.base import Protocol
from tasks.registry import PROTOCOLS, TASKS

TEACHER_NAMES = ("mini-hubert",)


class UsageError(ValueError):
    """What the user asked for cannot be done; one line a problem."""


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides a run's numbers, and where they go."""

    student: str
    out: Path
    tasks: tuple[str, ...] = TASKS
    objective: str = "star"
    teacher: str = TEACHER_NAMES[0]
    suite: str = "mini"
    protocol: Protocol = PROTOCOLS[0]
    seed: int = 0
    device: str = "cpu"
    corpora: Path | None = None

    def __post_init__(self) -> None:
        _refuse(
            unknown("student", self.student, tuple(STUDENTS)),
            unknown("teacher", self.teacher, TEACHER_NAMES),
            *_objective_problems(self.objective),
            *_problems(self.tasks, self.seed, self.out, self.corpora),
        )


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
        problems = _problems(self.tasks, self.seed, self.out, self.corpora)
        if self.cache is not None and self.cache.exists() and not self.cache.is_dir():
            problems.append(f"--cache {self.cache} is a file: expected a folder, or one that does not exist yet")
        if not 0 <= self.cache_gb < float("inf"):
            problems.append(f"--cache-gb {self.cache_gb} is no size: expected 0 or more")
        _refuse(*problems)


def _objective_problems(text: str) -> list[str]:
    try:
        parse(text)
    except ValueError as error:
        return str(error).splitlines()
    return []


def _problems(tasks: tuple[str, ...], seed: int, out: Path, corpora: Path | None) -> list[str | None]:
    problems = [unknown("task", name, TASKS) for name in tasks]
    if not tasks:
        problems.append("no task given: expected some of " + ", ".join(TASKS))
    if not 0 <= seed < 2**31:
        problems.append(f"seed {seed} is out of range: expected 0 to {2**31 - 1}")
    if out.exists() and not out.is_dir():
        problems.append(f"--out {out} is a file: expected a folder, or one that does not exist yet")
    if corpora is not None and corpora.exists() and not corpora.is_dir():
        problems.append(f"--corpora {corpora} is a file: expected the suite's folder, or one to write it to")
    return problems


def _refuse(*problems: str | None) -> None:
    found = [problem for problem in problems if problem]
    if found:
        raise UsageError("\n".join(found))


def unknown(what: str, name: str, known: tuple[str, ...]) -> str | None:
    """One line that names an unknown name's near matches, or None if the name is known."""
    if name in known:
        return None
    return f"unknown {what} {name!r}: {suggestion(name, known)} `harness list {what}s` shows all"
