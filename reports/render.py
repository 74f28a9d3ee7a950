"""Tables, pictures and listings to terminal, Markdown, HTML, LaTeX and CSV; everything from data is escaped."""

import base64
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from reports.tables import Cell, Table

if TYPE_CHECKING:
    from rich.console import Console

LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "–": "--"}
    | {superscript: f"$^{{{digit}}}$" for digit, superscript in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
)


@dataclass(frozen=True)
class Picture:
    """A PNG file with its title."""

    title: str
    path: Path


@dataclass(frozen=True)
class Listing:
    """Preformatted text with its title."""

    title: str
    text: str


Block = Table | Picture | Listing


def terminal(table: Table, console: "Console") -> None:
    """Print a table, spreads below their values; it is never cut, so a narrow terminal wraps its lines."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    styles = {"": "", "best": "bold", "second": "underline"}
    grid = RichTable(title=Text(table.title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title, side in zip(table.columns, table.align, strict=True):
        header = Text(title.replace(" ", "\n", 1))
        grid.add_column(header, justify="left" if side == "l" else "right", no_wrap=True)
    for row in table.rows:
        grid.add_row(*(Text(cell.text.replace(" ± ", "\n± "), styles[cell.mark]) for cell in row))
    grid.width = console.measure(grid, options=console.options.update(width=1000)).maximum
    console.print(grid, crop=False)
    for note in table.notes:
        console.print(Text(note, "dim"))


def markdown(blocks: Sequence[Block]) -> str:
    """Blocks as GitHub Markdown; pictures are linked by file name, so they must lie beside the page."""
    return "\n".join(_markdown_block(block) for block in blocks)


def html(title: str, blocks: Sequence[Block]) -> str:
    """Blocks as one self-contained page, pictures embedded; all text is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["base64"] = lambda path: base64.b64encode(path.read_bytes()).decode("ascii")
    named = [(type(block).__name__, block) for block in blocks]
    return environment.get_template("page.html").render(title=title, blocks=named)


def latex(table: Table) -> str:
    """A table as a LaTeX tabular (package booktabs), title and notes as comments."""
    wraps = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}
    rows = [[title.translate(LATEX) for title in table.columns]]
    rows += [[wraps[cell.mark].format(cell.text.translate(LATEX)) for cell in row] for row in table.rows]
    head, *body = [" & ".join(row) + r" \\" for row in rows]
    comments = [f"% {' '.join(text.split())}" for text in (table.title, *table.notes)]
    lines = [*comments, rf"\begin{{tabular}}{{{table.align}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def comma_separated(table: Table) -> str:
    """The cells of a table as CSV with one header line, without title, marks and notes."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([cell.text for cell in row] for row in table.rows)
    return file.getvalue()


def _markdown_block(block: Block) -> str:
    head = f"## {_escaped(block.title)}\n"
    if isinstance(block, Picture):
        return f"{head}\n![{_escaped(block.title)}]({quote(block.path.name)})\n"
    if isinstance(block, Listing):
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
        return f"{head}\n{fence}\n{block.text}\n{fence}\n"
    rule = "".join("---|" if side == "l" else "---:|" for side in block.align)
    lines = ["|" + "|".join(f" {_escaped(title)} " for title in block.columns) + "|", "|" + rule]
    lines += ["|" + "|".join(f" {_markdown_cell(cell)} " for cell in row) + "|" for row in block.rows]
    notes = "".join(f"\n{_escaped(note)}\n" for note in block.notes)
    return head + "\n" + "\n".join(lines) + "\n" + notes


def _markdown_cell(cell: Cell) -> str:
    return {"": "{}", "best": "**{}**", "second": "<u>{}</u>"}[cell.mark].format(_escaped(cell.text))


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>&|~#])", r"\\\1", " ".join(text.split()))
