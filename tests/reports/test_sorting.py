"""Tables that sort, in a real browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports.layout import Cell, Column, Section, Table
from reports.render import html

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium: install one to try the page")]


class State(HTMLParser):
    """The names of the rows in their order, and aria-sort of the headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.sorts: list[str | None] = []
        self._named = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "th" and given.get("scope") == "col":
            self.sorts.append(given.get("aria-sort"))
        self._named = tag == "th" and given.get("scope") == "row"

    def handle_data(self, data: str) -> None:
        if self._named and data.strip():
            self.names.append(data.strip())
            self._named = False


@pytest.fixture
def table() -> Table:
    columns = (Column("Model", align="l"), Column("PR", "PER ↓", "Content"), Column("Note", align="l"))
    first = [
        (Cell("b"), Cell("1,000.5", "best", "± 2.00"), Cell("x10")),
        (Cell("c"), Cell("–", footnotes=(1,)), Cell("x9")),
        (Cell("a"), Cell("9.5", "second", footnotes=(1,)), Cell("–")),
        (Cell("d"), Cell("-3e-05"), Cell("12")),
    ]
    second = [(Cell("f"), Cell("70.00"), Cell("z")), (Cell("e"), Cell("8.00"), Cell("y"))]
    return Table("T", columns, (Section("", tuple(first)), Section("More", tuple(second))), ("failed",))


def opened(folder: Path, page: str, script: str) -> str:
    """The page as the browser has it after a script more at its end."""
    path = folder / "page.html"
    path.write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    assert BROWSER is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--dump-dom"]
    done = subprocess.run([BROWSER, *options, path.as_uri()], capture_output=True, text=True, check=True, timeout=300)
    return done.stdout


@pytest.mark.parametrize(
    ("clicks", "names", "sorts"),
    [
        ([], "bcadfe", [None, None, None]),
        ([1], "dabcef", [None, "ascending", None]),
        ([1, 1], "badcfe", [None, "descending", None]),
        ([1, 1, 1], "bcadfe", [None, None, None]),
        ([1, 0], "abcdef", ["ascending", None, None]),
        ([2], "dcbaef", [None, None, "ascending"]),
    ],
)
def test_a_click_on_a_heading_sorts_each_section(
    tmp_path: Path, table: Table, clicks: list[int], names: str, sorts: list[str | None]
) -> None:
    page = re.sub("<meta http-equiv[^>]*>", "", html("T", [table]))  # which lets no script of ours in
    script = f"for (const i of {clicks}) document.querySelectorAll('thead button')[i].click();"
    state = State(opened(tmp_path, page, script))
    assert "".join(state.names) == names and state.sorts == sorts


def test_the_page_runs_its_own_script_alone(tmp_path: Path, table: Table) -> None:
    content = opened(tmp_path, html("T", [table]), "document.title = 'ran'")
    assert "<title>T</title>" in content and content.count("<button") == 3
