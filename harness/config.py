"""The settings of a run, checked all at once before anything is done."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from students.presets import STUDENTS
from tasks.registry import TASKS

TEACHER_NAMES = ("mini-hubert",)
OBJECTIVE_NAMES = ("layer-wise-tgm", "intra-layer-tgm", "star")


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
    seed: int = 0
    device: str = "cpu"
    corpora: Path | None = None

    def __post_init__(self) -> None:
        problems = [
            unknown("student", self.student, tuple(STUDENTS)),
            unknown("teacher", self.teacher, TEACHER_NAMES),
            unknown("objective", self.objective, OBJECTIVE_NAMES),
            *(unknown("task", name, TASKS) for name in self.tasks),
        ]
        if not self.tasks:
            problems.append("no task given: expected some of " + ", ".join(TASKS))
        if not 0 <= self.seed < 2**31:
            problems.append(f"seed {self.seed} is out of range: expected 0 to {2**31 - 1}")
        if self.out.exists() and not self.out.is_dir():
            problems.append(f"--out {self.out} is a file: expected a folder, or one that does not exist yet")
        if self.corpora is not None and self.corpora.exists() and not self.corpora.is_dir():
            problems.append(f"--corpora {self.corpora} is a file: expected the suite's folder, or one to write it to")
        found = [problem for problem in problems if problem]
        if found:
            raise UsageError("\n".join(found))


def unknown(what: str, name: str, known: tuple[str, ...]) -> str | None:
    """One line that names an unknown name's near matches, or None if the name is known."""
    if name in known:
        return None
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(known)}"
    return f"unknown {what} {name!r}: {hint} `harness list {what}s` shows all"
