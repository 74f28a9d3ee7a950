"""Writers: golden texts, escaping, and nothing cut."""

import csv
import io
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from reports.aggregate import SUPERB
from reports.layout import Cell, Column, Section, Table
from reports.records import Record
from reports.render import Listing, comma_separated, html, markdown, terminal
from reports.tables import measured_table, plain_table, published_table

EVIL = "<script>alert(1)</script>|*a*_b_`c`&\n{x} $y$ 5% \\z"
MARKDOWN = """\
## Hand made

| Model | Content<br>PR<br>PER ↓ | Content<br>KS<br>Acc ↑ |
|---|---:|---:|
| *Teachers* | | |
| T\\_1¹,² | **5.41** | **96.30** |
| *Students* | | |
| a\\&b | **8.16** ± 0.50 | <u>96.27</u> |
| c | <u>9.17</u> | – |

¹ frozen

² 5 % off

In %.
"""
TERMINAL = """\
Hand made
        ─ Content ──
            PR    KS
Model    PER ↓ Acc ↑
────────────────────
Teachers
T_1¹,²    5.41 96.30
────────────────────
Students
a&b       8.16 96.27
        ± 0.50
c         9.17     –

¹ frozen
² 5 % off
In %.

"""
# A row is its cells, each "tag: text", the heading's columns in brackets.
HTML = [
    "th[1]: ; th[2]: Content",
    "th: Model; th: PR PER ↓; th: KS Acc ↑",
    "th[3]: Teachers",
    "th: T_1 1, 2; td: 5.41; td: 96.30",
    "th[3]: Students",
    "th: a&b; td: 8.16 ± 0.50; td: 96.27",
    "th: c; td: 9.17; td: –",
]


class Page(HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


class Rows(HTMLParser):
    """Reads the rows of the tables of a page as text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[tuple[str, list[str]]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            span = dict(attrs).get("colspan")
            self.rows[-1].append((f"{tag}[{span}]" if span else tag, []))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1][1].append(data.strip())

    def texts(self) -> list[str]:
        return ["; ".join(f"{tag}: {' '.join(words)}" for tag, words in row) for row in self.rows if row]


def console(width: int) -> Console:
    return Console(file=io.StringIO(), width=width)


def printed(table: Table, width: int) -> list[str]:
    target = console(width)
    terminal(table, target)
    assert isinstance(target.file, io.StringIO)
    return [line.rstrip() for line in target.file.getvalue().splitlines()]


@pytest.fixture
def evil() -> Table:
    columns = (Column(EVIL, EVIL, EVIL, "l"), Column("n"))
    rows = ((Cell(EVIL, "best", EVIL, (1,)), Cell("1", "second", "± 2")),)
    return Table(EVIL, columns, (Section(EVIL, rows),), (EVIL,), (EVIL,))


def test_markdown_is_the_golden_text(hand: Table) -> None:
    assert markdown([hand]) == MARKDOWN


def test_terminal_is_the_golden_text(hand: Table) -> None:
    assert printed(hand, 80) == TERMINAL.splitlines()


def test_html_is_the_golden_table(hand: Table) -> None:
    text = html("t", [hand])
    assert Rows(text).texts() == HTML
    page = Page(text)
    assert page.tags.count("strong") == 3 and page.tags.count("u") == 2 and page.tags.count("tbody") == 2
    assert '<p class="note"><sup>2</sup> 5 % off</p>' in text


def test_html_escapes_all_data(evil: Table) -> None:
    page = Page(html(EVIL, [evil, Listing(EVIL, EVIL)]))
    assert page.tags.count("script") == 1  # the page's own
    # the page's title twice; of the table: title, heading, column, its second line, section, cell, spread, 2 notes;
    # of the listing: title and text
    assert page.words.count("<script>alert(1)</script>") == 2 + 9 + 2
    assert page.tags.count("strong") == page.tags.count("u") == 1


def test_html_loads_nothing_from_outside(run: list[Record]) -> None:
    text = html("t", [measured_table(run), published_table()])
    assert "http:" not in text and "https:" not in text and "src=" not in text.replace("img-src", "")
    assert Page(text).tags.count("tr") == (2 + 3) + (2 + 3 + 24)


def test_markdown_escapes_all_data(evil: Table) -> None:
    lines = markdown([evil, Listing("l", "````\n# x")]).splitlines()
    table = [line for line in lines if line.startswith("|")]
    bars = [line.replace("\\\\", "").replace("\\|", "").count("|") for line in table]
    assert bars == [3, 3, 3, 3]
    assert not any("<script>" in line.replace("\\<", "") for line in lines)
    assert lines[-3:] == ["````", "# x", "`````"]


def test_csv_reads_back() -> None:
    rows = [{"name": EVIL, "n": 0.1}, {"name": "a,b", "n": None}]
    text = comma_separated(rows)
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["name", "n"], [EVIL, "0.1"], ["a,b", ""]]


def test_terminal_reads_no_markup_and_no_control_characters() -> None:
    cell = Cell("[link=x]y[/link]\x1b[2J\u202e\n!", "best")
    odd = Table("[red]t", (Column("[b]c"),), (Section("[i]s", ((cell,),)),), ("[i]f",), ("[i]n",))
    lines = printed(odd, 40)
    for text in ("[red]t", "[b]c", "[i]s", "[link=x]y[/link]�[2J� !", "¹ [i]f", "[i]n"):
        assert any(line.strip() == text for line in lines)


def test_terminal_aligns_wide_characters() -> None:
    rows = ((Cell("模型"), Cell("1.00")), (Cell("ab"), Cell("2.00")))
    lines = printed(Table("t", (Column("m", align="l"), Column("n")), (Section("", rows),)), 40)
    assert lines[3:5] == ["模型  1.00", "ab    2.00"]


@pytest.mark.parametrize("width", [40, 80, 100, 130, 200])
def test_narrow_terminals_show_everything_below_one_another(width: int) -> None:
    table = published_table()
    lines = printed(table, width)
    body = lines[: lines.index(next(line for line in lines if line.startswith("¹")))]
    words = [line.split() for line in body]
    for row in table.rows:
        found = [line for line in body if line.startswith(row[0].text)]
        assert found
        numbers = [word for line in found for word in line.split()]
        assert all(cell.text in numbers for cell in row[1:])
    if width >= 80:
        assert max(map(cell_len, body)) <= width
    assert sum(line[:1] == ["Model"] for line in words) == {40: 7, 80: 4, 100: 3, 130: 2, 200: 1}[width]


def test_ten_measured_tasks_fit_in_100_columns(record: Callable[..., Record]) -> None:
    records = [
        record(
            upstream="random:starhubert",
            task=key.partition("_")[0],
            metric=metric.name.lower(),
            higher_is_better=metric.higher_is_better,
            value=100.0,
            stderr=10.0,
            low=90.0,
            high=100.0,
        )
        for key, metric in SUPERB.items()
    ]
    assert len(measured_table(records).columns) == 4 + 11
    for ci in (False, True):
        lines = printed(measured_table(records, ci), 100)
        assert max(map(cell_len, lines)) <= 100
        assert sum(line.startswith("random:starhubert") for line in lines) == (2 if not ci else 4)


def test_plain_tables_are_never_split() -> None:
    table = plain_table("t", [{"a": "x" * 30, "b": "y" * 30}])
    assert f"{'x' * 30}  {'y' * 30}" in printed(table, 40)


def test_templates_are_beside_the_code() -> None:
    import reports

    for name in ("page.html", "table.html"):
        assert (Path(reports.__file__).parent / "templates" / name).is_file()
