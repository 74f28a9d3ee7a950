"""Tables, pictures and listings to terminal, Markdown, HTML and CSV (LaTeX: latex.py); data is escaped everywhere."""

import base64
import csv
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from reports.layout import Cell, Column, Table, groups, plain

if TYPE_CHECKING:
    from rich.console import Console

TEMPLATES = Path(__file__).parent / "templates"
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
STYLES = {"": "", "best": "bold", "second": "underline", "warning": "red"}


@dataclass(frozen=True)
class Picture:
    """A PNG file with its title and a caption."""

    title: str
    path: Path
    caption: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures of one folder, which lies beside the page in Markdown, under one title."""

    title: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Listing:
    """Preformatted text with its title."""

    title: str
    text: str


Block = Table | Gallery | Listing


def terminal(table: Table, console: "Console") -> None:
    """Print a table and an empty line, spreads below their values; nothing is ever cut.

    Where it is wider than the console its column groups stand below one another, each beside the first column.
    """
    from rich.text import Text

    widths = _widths(table)
    console.print(Text(plain(table.title), "bold"), soft_wrap=True)
    for part in _parts(table, widths, console.width):
        for pieces in _lines(table, part, widths):
            console.print(Text.assemble(*pieces), soft_wrap=True)
        console.print()
    for note in _notes(table):
        console.print(Text(note, "dim"))
    console.print()


def markdown(blocks: Sequence[Block]) -> str:
    """Blocks as GitHub Markdown; pictures are linked, so their folder must lie beside the page."""
    return "\n".join(_markdown_block(block) for block in blocks)


def html(title: str, blocks: Sequence[Block]) -> str:
    """Blocks as one self-contained page, pictures embedded, tables that sort; all text is escaped.

    The browser is told to run no script but the page's own, and to load nothing.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    script = (TEMPLATES / "sort.js").read_text(encoding="utf-8")
    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    environment.filters["width"] = lambda content: int.from_bytes(content[16:20])  # of a PNG, pixels
    environment.filters["sha256"] = lambda text: hashlib.sha256(text.encode()).digest()
    environment.globals["groups"] = groups
    environment.filters["plain"] = plain
    named = [(type(block).__name__, block) for block in blocks]
    return environment.get_template("page.html").render(title=title, blocks=named, script=script)


def comma_separated(rows: Sequence[Mapping[str, object]]) -> str:
    """Flat dictionaries of the same keys as CSV: a header line, numbers as they are, None as an empty cell."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _notes(table: Table) -> list[str]:
    numbered = [f"{_superscript((number,))} {text}" for number, text in enumerate(table.footnotes, 1)]
    return [plain(note) for note in (*numbered, *table.notes)]


def _superscript(numbers: tuple[int, ...]) -> str:
    return ",".join(str(number).translate(SUPERSCRIPTS) for number in numbers)


def _shown(cell: Cell) -> str:
    return plain(cell.text) + _superscript(cell.footnotes)


def _widths(table: Table) -> list[int]:
    """Columns of the console that each column of the table takes; a group's last one makes room for its heading."""
    from rich.cells import cell_len

    texts: list[list[str]] = [[column.title, column.detail] for column in table.columns]
    for row in table.rows:
        for column, cell in zip(texts, row, strict=True):
            column += [_shown(cell), cell.spread]
    widths = [max(cell_len(plain(text)) for text in column) for column in texts]
    end = 0
    for heading, number in groups(table.columns):
        end += number
        widths[end - 1] += max(0, cell_len(heading) - sum(widths[end - number : end]) - number + 1)
    return widths


def _parts(table: Table, widths: list[int], room: int) -> list[list[int]]:
    """Numbers of the columns that stand side by side: the first one and as many whole groups as there is room for."""
    parts: list[list[int]] = [[0]]
    start = 1
    for _, number in groups(table.columns[1:]):
        block = list(range(start, start + number))
        wider = [*parts[-1], *block]
        if len(parts[-1]) == 1 or sum(widths[i] for i in wider) + sum(_gaps(table, wider)) <= room:
            parts[-1] = wider
        else:
            parts.append([0, *block])
        start += number
    return parts


def _gaps(table: Table, part: list[int]) -> list[int]:
    """Spaces before each column: none, one within a group, else two."""
    named = [table.columns[i].group for i in part]
    return [0, *(1 if left == right != "" else 2 for left, right in pairwise(named))]


def _lines(table: Table, part: list[int], widths: list[int]) -> Iterator[list[tuple[str, str]]]:
    """The lines of a part as pieces of text, each with its style: headings, a rule, and each section's rows."""
    from rich.cells import cell_len

    gaps, shown = _gaps(table, part), [table.columns[i] for i in part]

    def line(texts: Sequence[str], styles: Sequence[str]) -> list[tuple[str, str]]:
        pieces = []
        for i, gap, text, style in zip(part, gaps, texts, styles, strict=True):
            space = " " * (widths[i] - cell_len(text))
            before, after = (space, "") if table.columns[i].align == "r" else ("", space)
            pieces += [(" " * gap + before, ""), (text, style), (after, "")]
        return pieces

    headings, place = "", 0
    for heading, number in groups(shown):
        span = sum(widths[i] for i in part[place : place + number]) + sum(gaps[place + 1 : place + number])
        headings += " " * gaps[place] + (f" {plain(heading)} ".center(span, "─") if heading else " " * span)
        place += number
    if any(column.group for column in shown):
        yield [(headings, "dim")]
    upper = [plain(column.title) if column.detail else "" for column in shown]
    if any(upper):
        yield line(upper, ["bold"] * len(part))
    yield line([plain(column.detail or column.title) for column in shown], ["bold"] * len(part))
    for section in table.sections:
        yield [("─" * (sum(widths[i] for i in part) + sum(gaps)), "dim")]
        if section.title:
            yield [(plain(section.title), "italic")]
        for row in section.rows:
            cells = [row[i] for i in part]
            yield line([_shown(cell) for cell in cells], [STYLES[cell.mark] for cell in cells])
            if any(cell.spread for cell in cells):
                yield line([cell.spread for cell in cells], ["dim"] * len(part))


def _markdown_block(block: Block) -> str:
    head = f"## {_escaped(block.title)}\n"
    if isinstance(block, Gallery):
        return head + "".join(_markdown_picture(picture) for picture in block.pictures)
    if isinstance(block, Listing):
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
        return f"{head}\n{fence}\n{block.text}\n{fence}\n"
    heads = [_markdown_head(column) for column in block.columns]
    rule = "".join("---|" if column.align == "l" else "---:|" for column in block.columns)
    lines = [_markdown_row(heads), "|" + rule]
    for section in block.sections:
        if section.title:
            lines.append(_markdown_row([f"*{_escaped(section.title)}*", *[""] * (len(heads) - 1)]))
        lines += [_markdown_row([_markdown_cell(cell) for cell in row]) for row in section.rows]
    notes = "".join(f"\n{_escaped(note)}\n" for note in _notes(block))
    return head + "\n" + "\n".join(lines) + "\n" + notes


def _markdown_picture(picture: Picture) -> str:
    link = quote(f"{picture.path.parent.name}/{picture.path.name}")
    return f"\n![{_escaped(picture.title)}]({link})\n\n*{_escaped(picture.title)}.* {_escaped(picture.caption)}\n"


def _markdown_row(texts: Sequence[str]) -> str:
    return "|" + "|".join(f" {text} " if text else " " for text in texts) + "|"


def _markdown_head(column: Column) -> str:
    return "<br>".join(_escaped(text) for text in (column.group, column.title, column.detail) if text)


def _markdown_cell(cell: Cell) -> str:
    text = {"": "{}", "best": "**{}**", "second": "<u>{}</u>", "warning": "**{}**"}[cell.mark].format(
        _escaped(cell.text)
    )
    return f"{text}{_superscript(cell.footnotes)} {_escaped(cell.spread)}".rstrip()


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>&|~#$])", r"\\\1", plain(text))
