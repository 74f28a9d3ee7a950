"""Everything wrong with one corpus, gathered and reported at once."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from tasks.base import CorpusError

_NAMED = 5


def stays_inside(name: str) -> bool:
    """Whether a path that a list file names is relative and never climbs out with '..', so that it may be opened."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


class Findings:
    """The problems found while reading one corpus under `root`; `layout` says what was expected."""

    def __init__(self, corpus: str, root: Path, layout: str) -> None:
        self._corpus, self._root, self._layout = corpus, root, layout
        self._problems: list[str] = []

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
        found = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        if not any(found):
            self.add(f"nothing in {path.relative_to(self._root)}")
        return [line for line in found if line]

    def raise_if_any(self) -> None:
        """Raises CorpusError with all problems noted so far, what was expected and what to do."""
        if self._problems:
            raise CorpusError(
                f"cannot read {self._corpus} in {self._root}: {'; '.join(self._problems)}. Expected {self._layout}. "
                f"Unpack the official archives there, then type: harness doctor --corpora {self._root}",
                self._problems,
                f"Expected {self._layout}. Unpack the official archives in {self._root}",
            )

    def _present(self, path: Path, there: bool, kind: str) -> bool:
        if not there:
            self.add(f"no {kind} {path.relative_to(self._root)}")
        return there
