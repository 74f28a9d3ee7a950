"""Everything wrong with one corpus, gathered and reported at once."""

from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TypeVar

from tasks.base import CorpusError

_NAMED = 5
T = TypeVar("T")


def stays_inside(name: str) -> bool:
    """Whether a path that a list file names is relative and never climbs out with '..', so that it may be opened."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def lies_in(path: Path, *folders: Path) -> bool:
    """Whether a path lies in one of the folders once all symbolic links are followed; one that goes round in circles
    lies nowhere."""
    try:
        real = path.resolve() if path.is_symlink() else _real(path.parent) / path.name
        return any(real.is_relative_to(_real(folder)) for folder in folders)
    except (OSError, RuntimeError, ValueError):
        return False


@lru_cache(maxsize=4096)
def _real(folder: Path) -> Path:
    return folder.resolve()


class Findings:
    """The problems found while reading one corpus under `root`; `layout` says what was expected, `cure` what to do."""

    def __init__(self, corpus: str, root: Path, layout: str, cure: str = "Unpack the official archives") -> None:
        self._corpus, self._root, self._layout, self._cure = corpus, root, layout, cure
        self._problems: list[str] = []
        self._garbled: list[str] = []

    def add(self, problem: str) -> None:
        """Note one problem in a few words."""
        self._problems.append(problem)

    def names(self, what: str, names: Collection[str]) -> None:
        """Note a problem that several names have: their number and the first few; nothing if there are none."""
        if names:
            shown = sorted(names)
            more = ", ..." if len(shown) > _NAMED else ""
            self.add(f"{len(shown)} {what} ({', '.join(shown[:_NAMED])}{more})")

    def folder(self, path: Path) -> bool:
        """Whether the folder is there; noted if not."""
        return self._present(path, path.is_dir(), "folder")

    def file(self, path: Path) -> bool:
        """Whether the file is there; noted if not."""
        return self._present(path, path.is_file(), "file")

    def lines(self, path: Path) -> list[str]:
        """The stripped lines of a text file but the empty ones; noted if the file is absent or has none."""
        if not self.file(path):
            return []
        found = [line.strip() for line in self.text(path).splitlines()]
        if not any(found):
            self.add(f"nothing in {path.relative_to(self._root)}")
        return [line for line in found if line]

    def text(self, path: Path) -> str:
        """What a text file holds, without a byte-order mark; noted, with the line, if that is not UTF-8."""
        content = path.read_bytes()
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self._garbled.append(f"{path.relative_to(self._root)} line {line}")
            return content.decode("utf-8-sig", errors="replace")

    def unique(self, what: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
        """The pairs as a dictionary; noted are the names that stand for two different things."""
        found: dict[str, T] = {}
        twice = {name for name, value in pairs if found.setdefault(name, value) != value}
        self.names(what, twice)
        return found

    def raise_if_any(self) -> None:
        """Raises CorpusError with all problems noted so far, what was expected and what to do."""
        self.names("text files that are not UTF-8", self._garbled)
        self._garbled = []
        if self._problems:
            raise CorpusError(
                f"cannot read {self._corpus} in {self._root}: {'; '.join(self._problems)}. Expected {self._layout}. "
                f"{self._cure} there, then type: harness doctor --corpora {self._root}",
                self._problems,
                f"Expected {self._layout}. {self._cure} in {self._root}",
            )

    def _present(self, path: Path, there: bool, kind: str) -> bool:
        if not there:
            self.add(f"no {kind} {path.relative_to(self._root)}")
        return there
