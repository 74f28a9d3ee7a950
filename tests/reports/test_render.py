"""Writers: golden texts, escaping, and nothing cut."""

import csv
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from reports.records import Record
from reports.render import Listing, comma_separated, html, latex, markdown, terminal
from reports.tables import Cell, Table, measured_table, published_table

EVIL = "<script>alert(1)</script>|*a*_b_`c`&\n{x} $y$ 5% \\z"
GOLDEN = """\
## Measured: mini (synthetic speech)

| Upstream | \\#params (M) | MACs (G) | Overall ↑ | PR PER ↓ | KS Acc ↑ |
|---|---:|---:|---:|---:|---:|
| starhubert | 1.24 | 23.4 | <u>88.75</u> | <u>12.50</u> | <u>90.00</u> |
| mini\\_hubert | 1.24 | 23.4 | **92.50** | **10.00** | **95.00 ± 0.50** |
| fbank | 0.00 | – | – | 60.00 | –¹ |

¹ out of memory \\| at batch 3

Scores in %. Best in bold, second underlined. Overall: mean over the tasks shown, 100 minus error rates.

± is one standard error (binomial).

MACs: strict.
"""


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


@pytest.fixture
def evil() -> Table:
    return Table(EVIL, (EVIL, "n"), "lr", ((Cell(EVIL, "best"), Cell("1 ± 2", "second")),), (EVIL,))


def test_markdown_is_the_golden_text(run: list[Record]) -> None:
    assert markdown([measured_table(run)]) == GOLDEN


def test_html_escapes_all_data(evil: Table) -> None:
    page = Page(html(EVIL, [evil, Listing(EVIL, EVIL)]))
    assert "script" not in page.tags
    assert page.words.count("<script>alert(1)</script>") == 8  # title twice, headings, column, cell, note, listing
    assert page.tags.count("strong") == page.tags.count("u") == 1


def test_html_loads_nothing_from_outside(run: list[Record]) -> None:
    text = html("t", [measured_table(run), published_table()])
    assert "http:" not in text and "https:" not in text and "src=" not in text.replace("img-src", "")
    assert Page(text).tags.count("tr") == 1 + 3 + 1 + 24


def test_markdown_escapes_all_data(evil: Table) -> None:
    lines = markdown([evil, Listing("l", "````\n# x")]).splitlines()
    assert len([line for line in lines if line.startswith("|")]) == 3
    assert not any("<script>" in line.replace("\\<", "") for line in lines)
    assert lines[-3:] == ["````", "# x", "`````"]


def test_latex(evil: Table) -> None:
    text = latex(evil)
    assert text.startswith("% <script>") and text.count("\\\\\n") == 2
    assert r"\textbf{<script>alert(1)</script>|*a*\_b\_`c`\&" in text
    assert r"\{x\} \$y\$ 5\% \textbackslash{}z} & \underline{1 $\pm$ 2} \\" in text
    assert r"FBANK (as printed)$^{2}$ & -- &" in latex(published_table())


def test_csv_reads_back(evil: Table) -> None:
    assert list(csv.reader(io.StringIO(comma_separated(evil)))) == [[EVIL, "n"], [EVIL, "1 ± 2"]]


def test_terminal_cuts_nothing_and_reads_no_markup() -> None:
    table = published_table()
    odd = Table("[red]t", ("[b]c",), "l", ((Cell("[link=x]y[/link]", "best"),),), ("[i]n",))
    file = io.StringIO()
    console = Console(file=file, width=40)
    terminal(table, console)
    terminal(odd, console)
    text = file.getvalue()
    for row in table.rows:
        assert any(all(cell.text in line for cell in row) for line in text.splitlines())
    assert all(part in text for part in ("[red]t", "[b]c", "[link=x]y[/link]", "[i]n"))


def test_template_is_beside_the_code() -> None:
    import reports

    assert (Path(reports.__file__).parent / "templates" / "page.html").is_file()
