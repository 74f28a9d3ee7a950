"""The folder that an export writes: whole or not at all, and never over anything else."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARKER = "export.json"


class ExportError(ValueError):
    """A network that cannot be exported so; the message says why, what was expected and what to do next."""


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into; it takes the place of `out` if nothing is raised, else it is removed.

    Raises ExportError if `out` is a file, or a folder that holds anything but an earlier export.
    """
    out = out.resolve()
    if out.exists() and not out.is_dir():
        raise ExportError(f"--out {out} is a file: expected a folder, or one that does not exist yet")
    if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise ExportError(f"--out {out} holds files that `harness export` did not write: give a new folder")
    partial = _emptied(out.with_name(f".{out.name}.partial"))
    partial.mkdir(parents=True)
    try:
        yield partial
        if out.exists():
            before = _emptied(out.with_name(f".{out.name}.before"))
            out.rename(before)
            partial.rename(out)
            shutil.rmtree(before)
        else:
            partial.rename(out)
    finally:
        _emptied(partial)


def _emptied(folder: Path) -> Path:
    """The name of a folder, of which nothing is left."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder
