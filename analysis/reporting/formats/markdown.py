"""A document as Markdown."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.reporting.document_model import Document, ItemList, Row, Table
from studies.plain_text import in_markdown

MOST_COLUMNS = 6
MOST_ROWS = 20
"""Of the table in a short note."""


def to_markdown(document: Document) -> str:
    """The whole document; of figures it shows the files ``figures/NAME.svg``, which it expects beside it.

    Its texts read as they are: HTML, links and marks in them are escaped.
    """
    lines = [f"# {in_markdown(document.title)}", "", in_markdown(document.lead), ""]
    lines += [in_markdown(document.status), ""] if document.status else []
    lines += _answer(document)
    lines += _warnings(document)
    for figure in document.figures:
        title = in_markdown(figure.title)
        lines += [f"## {title}", "", f"![{title}](figures/{figure.name}.svg)", "", in_markdown(figure.caption), ""]
    caption = ""
    for section in document.sections:
        lines += [f"## {in_markdown(section.title)}", ""]
        if isinstance(section, ItemList):
            lines += _bullets(section.items)
        else:
            is_said = section.caption in ("", caption)
            caption = section.caption
            lines += [*([] if is_said else [in_markdown(caption), ""]), *_table(section), ""]
    return "\n".join(lines)


def to_markdown_note(document: Document) -> str:
    """The answer in short: one line and one paragraph, the warnings, and the first columns and rows of the first table."""
    lines = _answer(document)
    lines += _warnings(document)
    tables = [section for section in document.sections if isinstance(section, Table)]
    for table in tables[:1]:
        wide = table.fitted("wide")
        rows = [replace(row, cells=row.cells[:MOST_COLUMNS]) for row in wide.rows[:MOST_ROWS]]
        lines += _table(replace(wide, columns=wide.columns[:MOST_COLUMNS], rows=rows))
    return "\n".join(lines)


def _answer(document: Document) -> list[str]:
    if not document.headline:
        return _bullets(document.verdicts)
    summary = [in_markdown(document.summary), ""] if document.summary else []
    return [in_markdown(document.headline), "", *summary]


def _bullets(items: Sequence[str]) -> list[str]:
    return [*(f"- {in_markdown(item)}" for item in items), ""]


def _warnings(document: Document) -> list[str]:
    return [f"**{in_markdown(warning)}**\n" for warning in document.warnings]


def _table(table: Table) -> list[str]:
    wide = table.fitted("wide")
    rules = ["---" if column.is_text else "---:" for column in wide.columns]
    titles = [in_markdown(column.title) for column in wide.columns]
    return [f"| {' | '.join(cells)} |" for cells in (titles, rules, *map(_cells, wide.rows))]


def _cells(row: Row) -> list[str]:
    shown = list(map(in_markdown, row.cells))
    return [f"**{cell}**" if i == row.bold and cell else cell for i, cell in enumerate(shown)]
