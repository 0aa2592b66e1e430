"""A table in words, before it becomes Markdown or a page."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.reporting import formatting
from analysis.statistics.data.outcomes import Outcome


@dataclass(frozen=True)
class Column:
    """A column's title; texts stand on the left, numbers on the right; long texts may break."""

    title: str
    is_text: bool = False
    is_long: bool = False


@dataclass(frozen=True)
class Line:
    """One line's cells, in the order of the columns; ``classes`` are the page's."""

    cells: Sequence[str]
    classes: str = ""


@dataclass(frozen=True)
class Section:
    """A table with its title and what one has to know to read it; the page folds what few need."""

    title: str
    caption: str
    columns: Sequence[Column]
    lines: Sequence[Line]
    is_folded: bool = False


def title(outcome: Outcome) -> str:
    """An outcome's name at the head of a section; a metric's own name stays as it is."""
    return outcome.name if outcome.name == outcome.metric else outcome.name.capitalize()


def estimate_column(outcome: Outcome) -> Column:
    """A column of means with their intervals."""
    return Column(f"{outcome.name}{formatting.unit(outcome)} (95 %)")
