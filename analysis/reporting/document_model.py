"""A report without a format: what it says, in the order in which it is read.

Topics make tables and lists, ``summary_document`` and the scripts put them together, and the renderers know no more than this.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

from matplotlib.figure import Figure

from analysis.reporting import formatting
from analysis.statistics.data.outcomes import Outcome
from studies.plain_text import visible

LONGEST_SLUG = 100
"""Characters of a file's name without its ending."""
Width = Literal["wide", "narrow"]
"""A page or a file; a terminal of 80 columns."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: Its heading.
        is_text: Texts stand on the left, numbers on the right.
        is_long: A text of several lines.
        only: The one width that has the column; both have it where this is None.
        short_title: Its heading where the table is narrow, if that is another one.
    """

    title: str
    is_text: bool = False
    is_long: bool = False
    only: Width | None = None
    short_title: str | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        cells: One for every column, also for those that only one width has.
        classes: The page's CSS classes. The last cell has the colour of the first class.
        group: What rows that follow each other have in common. A narrow table has it as a heading, a wide one as a column.
        bold: The index of the cell that a paper sets in bold type: what is decidedly the best.
        only: The one width that has the row; both have it where this is None.
    """

    cells: Sequence[str]
    classes: str = ""
    group: str = ""
    bold: int | None = None
    only: Width | None = None


@dataclass(frozen=True)
class Table:
    """A table with its title and caption.

    Args:
        title: Its heading.
        caption: What the numbers are, and of what.
        columns: Those of both widths.
        rows: Their cells are in the order of the columns.
        is_folded: The page shows the title alone until a reader opens it.
        is_detail: A terminal leaves it out.
        label: What a paper refers to it by.
    """

    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    is_folded: bool = False
    is_detail: bool = False
    label: str = ""

    def fitted(self, width: Width) -> "Table":
        """The table with the columns and rows of one width."""
        places = [i for i, column in enumerate(self.columns) if column.only in (None, width)]
        columns = [self.columns[i] for i in places]
        if width == "narrow":
            columns = [column if column.short_title is None else replace(column, title=column.short_title) for column in columns]
        rows = [
            replace(row, cells=[row.cells[i] for i in places], bold=places.index(row.bold) if row.bold in places else None)
            for row in self.rows
            if row.only in (None, width)
        ]
        return replace(self, columns=columns, rows=rows)


@dataclass(frozen=True)
class ItemList:
    """A list of sentences or names under a title; see ``Table`` for how the formats show it."""

    title: str
    items: Sequence[str]
    is_folded: bool = False
    is_detail: bool = False


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure with its title and a caption.

    Args:
        title: Its heading.
        caption: What is drawn.
        figure: As the files have it, and a page that is wide enough.
        narrow: The same for a phone, its panels below each other; None where that is no other figure.
    """

    title: str
    caption: str
    figure: Figure
    narrow: Figure | None = None

    @property
    def name(self) -> str:
        """The name of its files, without the ending."""
        return slug(self.title)


@dataclass(frozen=True)
class Document:
    """A whole report: an ablation summary, a comparison of two studies, or an overview of what was run.

    Args:
        title: Its heading.
        lead: The question of the study.
        verdicts: What was found, one sentence each.
        warnings: What a reader must mind before believing the answer.
        sections: Tables and lists.
        figures: They are read before the sections.
        status: How much of the study has finished, in a sentence.
        headline: The answer in one line; where there is one, it and the summary stand in the place of the verdicts, and these
            in a list of the sections.
        summary: The answer in a paragraph.

    Texts of studies and runs are in all of its parts: control characters and line ends of these are escapes, in every format.
    """

    title: str
    lead: str
    verdicts: Sequence[str]
    warnings: Sequence[str] = ()
    sections: Sequence[Table | ItemList] = ()
    figures: Sequence[CaptionedFigure] = ()
    status: str = ""
    headline: str = ""
    summary: str = ""

    @property
    def answer(self) -> Sequence[str]:
        """What a reader is told first: one line and one paragraph, or else the verdicts."""
        return [part for part in (self.headline, self.summary) if part] or self.verdicts

    def __post_init__(self) -> None:
        for part in fields(self):
            object.__setattr__(self, part.name, _visible(getattr(self, part.name)))


def _visible(part: Any) -> Any:
    if isinstance(part, str):
        return visible(part)
    if isinstance(part, list | tuple):
        return [_visible(inner) for inner in part]
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{inner.name: _visible(getattr(part, inner.name)) for inner in fields(part)})
    return part


SectionT = TypeVar("SectionT", bound=Table | ItemList)


def filled(*sections: SectionT) -> list[SectionT]:
    """The tables and lists that have something in them."""
    return [section for section in sections if (section.rows if isinstance(section, Table) else section.items)]


def without_repetitions(tables: Sequence[Table]) -> list[Table]:
    """The tables, where a sentence that a caption has is not in the captions of later ones."""
    said: set[str] = set()
    found = []
    for table in tables:
        sentences = re.split(r"(?<=\.) (?=[A-Z“])", table.caption)
        found.append(replace(table, caption=" ".join(sentence for sentence in sentences if sentence not in said)))
        said.update(sentences)
    return found


def slug(title: str) -> str:
    """A title as the name of a file: ``accuracy_against_t``; ``unnamed`` where it has no letter from a to z, and no digit."""
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:LONGEST_SLUG] or "unnamed"


def heading(outcome: Outcome) -> str:
    """An outcome's name as a title; a metric's own name stays as it is."""
    return outcome.name if outcome.name == outcome.metric else outcome.name.capitalize()


def estimate_column(outcome: Outcome, only: Width | None = None) -> Column:
    """A column of means with their intervals."""
    return Column(f"{outcome.name}{formatting.unit(outcome)} (95 %)", only=only)


def mean_column(outcome: Outcome) -> Column:
    """A column of means alone, for a narrow table."""
    return Column(f"{outcome.name}{formatting.unit(outcome)}", only="narrow")
