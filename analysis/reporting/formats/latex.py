"""Tables as LaTeX (booktabs): a file for each, and documents that show them all.

A table has the width of the page; one that has narrow columns has a second file, of the width of one column of two.
"""

import itertools
import re
import textwrap
import unicodedata

from analysis.reporting.document_model import Column, Document, Row, Table, Width, slug
from studies.label_texts import TEX

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "±": r"$\pm$",
    "µ": r"$\mu$",
    "²": r"\textsuperscript{2}",
    "“": "``",
    "”": "''",
    "’": "'",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "·": r"$\cdot$",
    "…": r"\dots{}",
}
ACCENTS = {
    "\u0300": r"\`",
    "\u0301": r"\'",
    "\u0302": r"\^",
    "\u0303": r"\~",
    "\u0308": r"\"",
    "\u030a": r"\r",
    "\u030c": r"\v",
    "\u0327": r"\c",
}
"""By Unicode's combining characters."""
NUMBER = re.compile(r"(< )?[+-]?\d[\d.]*(e[+-]\d+)?( ± \d[\d.]*(e[+-]\d+)?)?")
"""As ``formatting`` writes them, with what belongs to them."""
LONGEST_HEAD = 14
"""Characters in a line of a heading over numbers."""
DOCUMENT, TWO_COLUMNS = "tables.tex", "tables_two_columns.tex"
PREAMBLE = r"""\documentclass%s{article}
\usepackage{booktabs}
\usepackage[margin=2cm]{geometry}
\begin{document}
"""


def to_latex(document: Document) -> dict[str, str]:
    """File names and contents: files for every table, and two documents that compile as they are.

    ``tables.tex`` has all tables on pages of one column; ``tables_two_columns.tex`` has them on pages of two, those that have a
    narrow form in that one.
    """
    wide: dict[str, str] = {}
    narrow: dict[str, str] = {}
    for table in document.sections:
        if isinstance(table, Table):
            names = (f"{slug(table.title)}{'_' * bool(i)}{i or ''}.tex" for i in itertools.count())
            name = next(name for name in names if name not in (*wide, *narrow.values(), DOCUMENT, TWO_COLUMNS))
            wide[name] = _float(table, "wide")
            if any(column.only == "narrow" for column in table.columns):
                narrow[name] = name.replace(".tex", "_one_column.tex")
                wide[narrow[name]] = _float(table, "narrow")
    shown = [name for name in wide if name not in narrow.values()]
    documents = {
        DOCUMENT: _document("", shown),
        TWO_COLUMNS: _document("[twocolumn]", [narrow.get(name, name) for name in shown]),
    }
    return {**wide, **documents}


def _document(options: str, names: list[str]) -> str:
    inputs = "".join(f"\\input{{{name}}}\n" for name in names) or "No outcome has a table.\n"
    return f"{PREAMBLE % options}{inputs}\\end{{document}}\n"


def escaped(text: str) -> str:
    """A text with LaTeX's special characters escaped, in ASCII; characters without an ASCII form become question marks.

    The mathematics of labels is set as such.
    """
    return re.sub(r"(?<!\\)\$\$", " ", "".join(map(_escaped, text)))


def _escaped(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character in TEX:
        return f"${TEX[character]}$"
    if character.isascii():
        return character if character.isprintable() else "?"
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in ACCENTS:
        return f"{ACCENTS[parts[1]]}{{{parts[0]}}}"
    return "?"


def _float(table: Table, width: Width) -> str:
    environment, size = ("table*", r"\small") if width == "wide" else ("table", r"\footnotesize\setlength{\tabcolsep}{2.5pt}")
    table = table.fitted(width)
    label = re.sub(r"[^A-Za-z0-9-]+", "-", table.label)
    columns = "".join(
        rf"p{{{_width(table, i, width):.2f}\linewidth}}" if column.is_text else "r" for i, column in enumerate(table.columns)
    )
    head = " & ".join(map(_head, table.columns)).lstrip()
    inner = "\n".join(["\\toprule", rf"{head} \\", "\\midrule", *_lines(table), "\\bottomrule"])
    return (
        f"% needs \\usepackage{{booktabs}}\n\\begin{{{environment}}}\n\\centering{size}\n"
        f"\\caption{{{escaped(table.caption)}}}\n\\label{{tab:{label}}}\n\\vspace{{0.6em}}\n"
        f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}\n{inner}\n\\end{{tabular}}\n\\end{{{environment}}}\n"
    )


def _width(table: Table, i: int, width: Width) -> float:
    """The width of a column of texts, as a part of the line's: what its longest text takes, if that is not too much."""
    a_character, most = (0.013, 0.25) if width == "wide" else (0.026, 0.23)
    longest = max((len(row.cells[i]) for row in table.rows), default=0) + 2 * any(row.group for row in table.rows)
    return min(most, 0.03 + a_character * longest)


def _head(column: Column) -> str:
    """A heading; over numbers, a long one in several lines."""
    if column.title == "p":
        return "$p$"
    lines = textwrap.wrap(column.title, LONGEST_HEAD) if not column.is_text else [column.title]
    shown = r"\\".join(map(escaped, lines))
    return rf"\shortstack[r]{{{shown}}}" if len(lines) > 1 else shown


def _lines(table: Table) -> list[str]:
    """Rows of one group stand under its name, apart from the others."""
    lines: list[str] = []
    group = ""
    for row in table.rows:
        if row.group != group:
            lines += [r"\addlinespace"] if lines else []
            lines.append(rf"\multicolumn{{{len(table.columns)}}}{{@{{}}l}}{{\textit{{{escaped(row.group)}}}}} \\")
        group = row.group
        cells = [_cell(row, column, i) for i, column in enumerate(table.columns)]
        lines.append(" & ".join(cells) + r" \\")
    return lines


def _cell(row: Row, column: Column, i: int) -> str:
    cell = row.cells[i]
    if column.is_text:
        return (r"\raggedright\quad " if row.group else r"\raggedright ") + _breakable(escaped(cell))
    if not NUMBER.search(cell) or re.fullmatch(r"\d+( of \d+)?", cell):  # counts are texts
        return escaped(cell)
    numbers = NUMBER.sub(lambda found: f"${_tex_number(found[0])}$", cell)
    return rf"\boldmath$\mathbf{{{numbers.strip('$')}}}$" if i == row.bold else numbers


def _breakable(text: str) -> str:
    """A text that may be broken behind the underscores and the equals signs of levels."""
    return re.sub(r"(\\_|=)(?=\S)", r"\1\\allowbreak{}", text)


def _tex_number(text: str) -> str:
    """1.5e-07 with its power of ten, ± as LaTeX has it."""
    text = re.sub(r"e([+-]\d+)", lambda power: rf" \times 10^{{{int(power[1])}}}", text)
    return text.replace("±", r"\pm")
