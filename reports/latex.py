"""Tables as a LaTeX document that compiles as it is with a stock TeX; everything from data is escaped."""

import re
from collections.abc import Sequence

from reports.layout import Cell, Table, groups, plain

PREAMBLE = r"""\documentclass{article}
\usepackage[a4paper,landscape,margin=12mm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
% A table at its own size, or scaled down to what the page has room for.
\newcommand{\tofit}[1]{\resizebox*{!}{\ifdim\totalheight>.75\textheight .75\textheight\else\totalheight\fi}{%
  \resizebox{\ifdim\width>\linewidth \linewidth\else\width\fi}{!}{#1}}}
\setlength{\belowcaptionskip}{6pt}
\pagestyle{empty}
\begin{document}
"""
BREAK = "\0"  # stands where two characters would otherwise be set as one
NEGATIVE = re.compile(r"^-(?=\d)")
LIGATURE = re.compile("(?<=[-'])(?=[-'])")
SPECIAL = (
    {character: f"\\{character}" for character in "&%#_{}"}
    | {character: f"{{{character}}}" for character in "[]*"}  # read as options after a line break
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {'"': r"{\ttfamily\char34}", "`": r"{\ttfamily\char18}", "$": r"{\upshape\char36}", BREAK: "{}"}
    | {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "–": "--", "×": r"$\times$", "−": "$-$"}
)
ACCENTED = frozenset(map(chr, range(0xC0, 0x100))) - set("ÐÞðþ×÷")  # what the default encoding can set
MARKS = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "warning": r"\textbf{{{}}}"}


def latex(tables: Sequence[Table]) -> str:
    r"""A complete document of one floating table each (packages booktabs, geometry and graphicx).

    A paper can take its `table` environments together with the definition of `\tofit`.
    """
    return PREAMBLE + "\n".join(_float(table) for table in tables) + "\\end{document}\n"


def _float(table: Table) -> str:
    align = "".join(column.align for column in table.columns)
    footnotes = [rf"\textsuperscript{{{number}}} {_text(text)}" for number, text in enumerate(table.footnotes, 1)]
    lines = [
        r"\begin{table}[p]",
        r"\centering",
        rf"\caption{{{_text(table.title)}}}",
        rf"\tofit{{\begin{{tabular}}{{{align}}}",
        r"\toprule",
        *_head(table),
        *_body(table),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\medskip\footnotesize\raggedright",
        *(rf"{note}\par" for note in (*footnotes, *map(_text, table.notes))),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _head(table: Table) -> list[str]:
    lines, headings, rules, first = [], [], [], 1
    for heading, number in groups(table.columns):
        headings.append(rf"\multicolumn{{{number}}}{{{'c' if heading else 'l'}}}{{{_text(heading)}}}")
        rules += [rf"\cmidrule(lr){{{first}-{first + number - 1}}}"] if heading else []
        first += number
    if rules:
        lines += [" & ".join(headings) + r" \\", " ".join(rules)]
    upper = [_text(column.title) if column.detail else "" for column in table.columns]
    if any(upper):
        lines.append(" & ".join(upper) + r" \\")
    return [*lines, " & ".join(_text(column.detail or column.title) for column in table.columns) + r" \\"]


def _body(table: Table) -> list[str]:
    lines = []
    for section in table.sections:
        lines.append(r"\midrule")
        if section.title:
            lines.append(rf"\multicolumn{{{len(table.columns)}}}{{l}}{{\textit{{{_text(section.title)}}}}} \\")
        for row in section.rows:
            spread = any(cell.spread for cell in row)
            lines.append(" & ".join(map(_cell, row)) + (r" \\[-.5ex]" if spread else r" \\"))
            lines += [" & ".join(map(_spread, row)) + r" \\[.5ex]"] if spread else []
    return lines


def _cell(cell: Cell) -> str:
    text = MARKS[cell.mark].format(_text(NEGATIVE.sub("−", cell.text)))
    return text + (rf"\textsuperscript{{{','.join(map(str, cell.footnotes))}}}" if cell.footnotes else "")


def _spread(cell: Cell) -> str:
    return rf"{{\footnotesize {_text(cell.spread)}}}" if cell.spread else ""


def _text(text: str) -> str:
    return "".join(map(_character, LIGATURE.sub(BREAK, plain(text))))


def _character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii() or character in ACCENTED:
        return character
    return rf"\texttt{{U+{ord(character):04X}}}"
