"""A document for a terminal of 80 columns."""

import re
from collections.abc import Sequence
from typing import Literal

import rich.table
from rich.console import Group
from rich.text import Text

from analysis.reporting.document_model import Document, ItemList, Row, Table

WIDTH = 80
LEAST_WIDTH = 20
"""Of a column of texts, whose longer ones wrap; numbers wrap only where they would not fit otherwise."""
MOST_LINES = 40
"""Of a table or a list; the files have all."""
STYLES = {"better": "green", "worse": "red", "undecided": "yellow", "no-data": "red", "baseline": "dim"}
"""The colour of a row's last cell, by the row's first class."""


def to_terminal(document: Document) -> Group:
    """Tables and lists first, then the answer and the warnings, so that these are in view when it ends.

    Details and figures are left out, long tables and lists are cut, and say so.
    """
    parts: list[rich.table.Table | Text] = [Text(document.title, "bold"), Text(document.lead)]
    parts += [Text(document.status)] if document.status else []
    caption = ""
    for section in document.sections:
        if section.is_detail:
            continue
        parts += [Text(), Text(section.title, "bold")]
        if isinstance(section, ItemList):
            parts += [*(Text(f"  {item}") for item in section.items[:MOST_LINES]), *_more(len(section.items))]
            continue
        if section.caption not in ("", caption):  # tables in a row may have the same one
            parts.append(Text(section.caption, "dim"))
        caption = section.caption
        parts += [_table(section.fitted("narrow")), *_more(len(section.rows))]
    parts += [Text(), *_answer(document)]
    parts += [Text(warning, "yellow") for warning in document.warnings]
    return Group(*parts)


def _answer(document: Document) -> list[Text]:
    if not document.headline:
        return [Text(f"• {verdict}") for verdict in document.verdicts]
    return [Text(document.headline, "bold"), *([Text(document.summary)] if document.summary else [])]


def _more(num: int) -> list[Text]:
    return [Text(f"  and {num - MOST_LINES} more, which the files have", "dim")] if num > MOST_LINES else []


def _table(table: Table) -> rich.table.Table:
    rows = table.rows[:MOST_LINES]
    drawn = rich.table.Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for column, (width, least) in zip(table.columns, _widths(table, rows), strict=True):
        justify: Literal["left", "right"] = "left" if column.is_text else "right"
        drawn.add_column(Text(column.title), justify=justify, overflow="fold", width=width, min_width=least)
    group = ""
    for row in rows:
        if row.group != group:
            drawn.add_row(Text(_broken(row.group), "bold"))
        group = row.group
        *cells, last = row.cells
        style = STYLES.get(row.classes.partition(" ")[0], "")
        drawn.add_row(*(Text(f" {cell}" if group and not i else cell) for i, cell in enumerate(cells)), Text(last, style))
    return drawn


def _broken(name: str) -> str:
    """A name in lines of a column's least width, broken behind underscores and not inside words."""
    lines = [""]
    for part in re.findall("[^_]*_|[^_]+", name):
        if lines[-1] and len(lines[-1]) + len(part) > LEAST_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _widths(table: Table, rows: Sequence[Row]) -> list[tuple[int | None, int | None]]:
    """The width, or the least width, of every column; neither where numbers have to wrap too."""
    longest = [
        max(len(text) for text in (*(row.cells[i] for row in rows), *column.title.split(), ""))
        for i, column in enumerate(table.columns)
    ]
    least = [min(width, LEAST_WIDTH) if column.is_text else width for column, width in zip(table.columns, longest, strict=True)]
    if sum(least) + len(least) > WIDTH:  # each has a space behind it
        return [(None, None)] * len(least)
    room = WIDTH - sum(longest) - len(longest) - 1  # the indent of groups
    for i, column in enumerate(table.columns):
        grown = max(least[i], len(column.title)) - least[i]
        if not column.is_text and grown <= room:  # a title of several words in one line
            least[i] += grown
            room -= grown
    return [(None, width) if column.is_text else (width, None) for column, width in zip(table.columns, least, strict=True)]
