"""A document of sentences, tables and lists, for a terminal, as Markdown and as a page: what is no ablation summary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.reporting.document_model import Section

MOST_LINES = 40
"""Of a table or list in a terminal; the files have all."""


@dataclass(frozen=True)
class Document:
    """What is said, in the order in which it is read."""

    title: str
    lead: str
    sentences: Sequence[str]
    warnings: Sequence[str]
    sections: Sequence[Section]
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By heading; those without an item are left out."""


def document_markdown(document: Document) -> str:
    """All of it."""
    lines = [f"# {document.title}", "", document.lead, ""]
    lines += [*(f"- {sentence}" for sentence in document.sentences), ""]
    lines += [f"**{warning}**\n" for warning in document.warnings]
    for section in document.sections:
        lines += table_lines(section)
    for heading, items in document.lists.items():
        lines += list_lines(heading, items)
    return "\n".join(lines)


def document_page(document: Document) -> str:
    """One HTML page that needs nothing else; every text that comes from a study or a run is escaped."""
    loader = PackageLoader("analysis.reporting.formats")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("document.html.jinja")
    return template.render(document=document)


def document_terminal(document: Document) -> Group:
    """For a terminal of 80 columns; long tables are cut, and say so."""
    parts: list[Table | Text] = [Text(document.title, "bold"), Text(document.lead), Text()]
    parts += [Text(f"• {sentence}") for sentence in document.sentences]
    parts += [Text(warning, "yellow") for warning in document.warnings]
    for section in document.sections:
        parts += [Text(), Text(section.title, "bold"), Text(section.caption, "dim"), _terminal_table(section)]
        parts += _more(len(section.lines))
    for heading, items in document.lists.items():
        if items:
            parts += [Text(), Text(heading, "bold"), *(Text(f"  {item}") for item in items[:MOST_LINES]), *_more(len(items))]
    return Group(*parts)


def _terminal_table(section: Section) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for column in section.columns:
        table.add_column(Text(column.title), justify="left" if column.is_text else "right", overflow="fold")
    for line in section.lines[:MOST_LINES]:
        table.add_row(*map(Text, line.cells))
    return table


def _more(num: int) -> list[Text]:
    return [Text(f"  and {num - MOST_LINES} more, which the files have", "dim")] if num > MOST_LINES else []


def list_lines(heading: str, items: Sequence[str]) -> list[str]:
    """A list in Markdown, with its heading; nothing where there is no item."""
    return [f"## {heading}", "", *(f"- {item}" for item in items), ""] if items else []


def table_lines(section: Section) -> list[str]:
    """A table in Markdown, with its heading and caption."""
    rules = ["---" if column.is_text else "---:" for column in section.columns]
    rows = [[column.title for column in section.columns], rules, *(line.cells for line in section.lines)]
    return [f"## {section.title}", "", section.caption, "", *map(_row, rows), ""]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
