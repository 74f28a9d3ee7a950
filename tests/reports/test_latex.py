"""LaTeX: a golden document, its structure with any data in it, and a real compilation where there is a TeX."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reports.latex import latex
from reports.layout import Cell, Column, Section, Table
from reports.tables import ablation_table, published_table

GOLDEN = r"""
\begin{table}[p]
\centering
\caption{Hand made}
\tofit{\begin{tabular}{lrr}
\toprule
\multicolumn{1}{l}{} & \multicolumn{2}{c}{Content} \\
\cmidrule(lr){2-3}
 & PR & KS \\
Model & PER $\downarrow$ & Acc $\uparrow$ \\
\midrule
\multicolumn{3}{l}{\textit{Teachers}} \\
T\_1\textsuperscript{1,2} & \textbf{5.41} & \textbf{96.30} \\
\midrule
\multicolumn{3}{l}{\textit{Students}} \\
a\&b & \textbf{8.16} & \underline{96.27} \\[-.5ex]
 & {\footnotesize $\pm$ 0.50} &  \\[.5ex]
c & \underline{9.17} & -- \\
\bottomrule
\end{tabular}}
\par\medskip\footnotesize\raggedright
\textsuperscript{1} frozen\par
\textsuperscript{2} 5 \% off\par
In \%.\par
\end{table}
\end{document}
"""
ASCII = "".join(map(chr, range(32, 127)))
EVIL = [
    "<script>alert(1)</script>",
    "a_b&c%|",
    r"\input{/etc/passwd}\end{document}",
    "[1ex] * {x} $y$ ~ ^ # `q' \"q\" -- ''",
    "naïve Ångström, ÐÞß, 模型 \x07 \n\n x² ± ↑",
    ASCII,
    "]]]}}}{{{$$$\\\\\\",
]


def evil() -> Table:
    columns = (Column(EVIL[0], EVIL[3], EVIL[1], "l"), Column(EVIL[4], EVIL[5], EVIL[1]), Column("n", group=EVIL[2]))
    rows = tuple((Cell(text, "best", text, (1,)), Cell(text, "second"), Cell("1")) for text in EVIL)
    return Table(EVIL[6], columns, (Section(EVIL[2], rows), Section("", rows)), tuple(EVIL), tuple(EVIL))


def cells(line: str) -> int:
    """Columns that a row takes, counted by its unescaped ampersands and the spans of its multicolumns."""
    spans = [int(number) for number in re.findall(r"\\multicolumn\{(\d+)\}", line)]
    return len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans)


def assert_well_formed(text: str) -> None:
    """Balanced braces and environments, rows as wide as their table, nothing active but the writer's own commands."""
    bare = re.sub(r"\\[\\{}$&%#_]", "", text)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    stack: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []
    widths: list[int] = []
    for line in text.splitlines():
        if found := re.search(r"\\begin\{tabular\}\{([lr]+)\}", line):
            widths.append(len(found[1]))
        elif re.search(r"\\\\(\[-?\.5ex\])?$", line):
            assert cells(line) == widths[-1], line
    body = bare[bare.index(r"\begin{document}") :]
    assert body.count("$") % 2 == 0
    assert not re.search(r"[#~^<>|\"`]|(?<!_)_", re.sub(r"\$[^$]*\$", "", body))
    commands = set(re.findall(r"\\([a-zA-Z]+)", body)) - {"begin", "end", "tofit"}
    assert commands <= set(
        "centering caption toprule midrule bottomrule cmidrule multicolumn textit textbf underline textsuperscript "
        "footnotesize raggedright par medskip downarrow uparrow pm times textbackslash textasciitilde textasciicircum "
        "textless textgreater textbar ttfamily upshape char texttt".split()
    ), commands


def compiled(text: str, folder: Path) -> tuple[int, str]:
    """Pages of the PDF and the log; fails where TeX finds a fault."""
    (folder / "table.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "table.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    log = done.stdout.decode("utf-8", errors="replace")
    assert done.returncode == 0, log[-3000:]
    pages = re.search(r"Output written on table\.pdf \((\d+) pages?", log.replace("\n", ""))
    assert pages, log[-3000:]
    return int(pages[1]), log


def test_golden_text(hand: Table) -> None:
    text = latex([hand])
    assert text.startswith("\\documentclass{article}\n")
    assert text.partition("\\begin{document}")[2] == GOLDEN


def test_a_negative_number_has_a_minus_sign_and_a_name_keeps_its_hyphen() -> None:
    row = (Cell("-v"), Cell("-166", "best"), Cell("ARM-S"))
    document = latex([Table("", (Column("a"), Column("b"), Column("c")), (Section("", (row,)),))])
    assert r"-v & \textbf{$-$166} & ARM-S \\" in document


def test_structure() -> None:
    text = latex([published_table(), ablation_table(), evil()])
    assert_well_formed(text)
    assert text.count(r"\begin{table}") == 3
    assert r"FBANK (as printed)\textsuperscript{1,3} & 0.00 & 0.4791 & 46.5 & 40.5 &" in text
    assert r"a\_b\&c\%\textbar{}" in text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("a_b&c%|", r"a\_b\&c\%\textbar{}"),
        ("<script>", r"\textless{}script\textgreater{}"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("$x$", r"{\upshape\char36}x{\upshape\char36}"),  # \$ takes a font that a small TeX does not have
        ("a--b ''", "a-{}-b '{}'"),
        ("[x] *", "{[}x{]} {*}"),
        ("é 模 x\ny\x1b", r"é \texttt{U+6A21} x y\texttt{U+FFFD}"),
    ],
)
def test_data_is_escaped(data: str, expected: str) -> None:
    text = latex([Table("t", (Column("c"),), (Section("", ((Cell(data),),)),))])
    assert f"\n{expected} \\\\\n" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here: apt-get install texlive-latex-recommended")
def test_it_compiles_and_fits_the_page(tmp_path: Path, hand: Table) -> None:
    long = Table("long", (Column("a"),), (Section("", ((Cell("1"),),) * 150),))
    pages, log = compiled(latex([published_table(), ablation_table(), hand, evil(), long]), tmp_path)
    assert 3 <= pages <= 5
    assert "Overfull" not in log and "too large" not in log
