"""Tables as LaTeX (booktabs): a file for each, and a document that shows them all."""

import itertools
import re
import unicodedata

from analysis.reporting.document_model import Column, Document, Row, Table, slug

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
DOCUMENT = "tables.tex"
PREAMBLE = r"""\documentclass{article}
\usepackage{booktabs}
\usepackage[margin=2cm]{geometry}
\begin{document}
"""


def to_latex(document: Document) -> dict[str, str]:
    """File names and contents: one file for every table, and ``tables.tex``, which inputs them and compiles as it is."""
    tables: dict[str, str] = {}
    for table in document.sections:
        if isinstance(table, Table):
            names = (f"{slug(table.title)}{'_' * bool(i)}{i or ''}.tex" for i in itertools.count())
            tables[next(name for name in names if name not in (*tables, DOCUMENT))] = _float(table)
    inputs = "".join(f"\\input{{{name}}}\n" for name in tables) or "No outcome has a table.\n"
    return {**tables, DOCUMENT: f"{PREAMBLE}{inputs}\\end{{document}}\n"}


def escaped(text: str) -> str:
    """A text with LaTeX's special characters escaped, in ASCII; characters without an ASCII form become question marks."""
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii():
        return character if character.isprintable() else "?"
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in ACCENTS:
        return f"{ACCENTS[parts[1]]}{{{parts[0]}}}"
    return "?"


def _float(table: Table) -> str:
    label = re.sub(r"[^A-Za-z0-9-]+", "-", table.label)
    widest = 0.3 if any(row.group for row in table.rows) else 0.5
    columns = "".join(rf"p{{{widest}\linewidth}}" if column.is_text else "r" for column in table.columns)
    head = " & ".join("$p$" if column.title == "p" else escaped(column.title) for column in table.columns).lstrip()
    inner = "\n".join(["\\toprule", rf"{head} \\", "\\midrule", *_lines(table), "\\bottomrule"])
    return (
        "% needs \\usepackage{booktabs}\n\\begin{table}\n\\centering\\small\n"
        f"\\caption{{{escaped(table.caption)}}}\n\\label{{tab:{label}}}\n\\vspace{{0.6em}}\n"
        f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}\n{inner}\n\\end{{tabular}}\n\\end{{table}}\n"
    )


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
        return (r"\raggedright\quad " if row.group else r"\raggedright ") + escaped(cell)
    if not NUMBER.search(cell) or re.fullmatch(r"\d+( of \d+)?", cell):  # counts are texts
        return escaped(cell)
    numbers = NUMBER.sub(lambda found: f"${_tex_number(found[0])}$", cell)
    return rf"\boldmath$\mathbf{{{numbers.strip('$')}}}$" if i == row.bold else numbers


def _tex_number(text: str) -> str:
    """1.5e-07 with its power of ten, ± as LaTeX has it."""
    text = re.sub(r"e([+-]\d+)", lambda power: rf" \times 10^{{{int(power[1])}}}", text)
    return text.replace("±", r"\pm")
