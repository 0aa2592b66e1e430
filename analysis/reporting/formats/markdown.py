"""A document as Markdown."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.reporting.document_model import Document, ItemList, Table

MOST_COLUMNS = 6
MOST_ROWS = 20
"""Of the table in a short note."""


def to_markdown(document: Document) -> str:
    """The whole document; of figures it shows the files ``figures/NAME.svg``, which it expects beside it."""
    lines = [f"# {document.title}", "", document.lead, ""]
    lines += [document.status, ""] if document.status else []
    lines += _bullets(document.verdicts)
    lines += _warnings(document)
    for figure in document.figures:
        lines += [f"## {figure.title}", "", f"![{figure.title}](figures/{figure.name}.svg)", "", figure.caption, ""]
    for section in document.sections:
        lines += [f"## {section.title}", ""]
        lines += _bullets(section.items) if isinstance(section, ItemList) else [section.caption, "", *_table(section), ""]
    return "\n".join(lines)


def to_markdown_note(document: Document) -> str:
    """The answer in short: the headline, the other verdicts, the warnings, and the first columns and rows of the first table."""
    lines = [document.headline, ""]
    lines += _bullets([verdict for verdict in document.verdicts if verdict != document.headline])
    lines += _warnings(document)
    tables = [section for section in document.sections if isinstance(section, Table)]
    for table in tables[:1]:
        wide = table.fitted("wide")
        rows = [replace(row, cells=row.cells[:MOST_COLUMNS]) for row in wide.rows[:MOST_ROWS]]
        lines += _table(replace(wide, columns=wide.columns[:MOST_COLUMNS], rows=rows))
    return "\n".join(lines)


def _bullets(items: Sequence[str]) -> list[str]:
    return [*(f"- {item}" for item in items), ""]


def _warnings(document: Document) -> list[str]:
    return [f"**{warning}**\n" for warning in document.warnings]


def _table(table: Table) -> list[str]:
    wide = table.fitted("wide")
    rules = ["---" if column.is_text else "---:" for column in wide.columns]
    rows = [[column.title for column in wide.columns], rules, *(row.cells for row in wide.rows)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in rows]
