"""The whole summary as Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from analysis.reporting.document_model import Section
from analysis.reporting.figures.all_figures import gallery
from analysis.reporting.figures.style import Plate
from analysis.reporting.formats.document import list_lines as _list
from analysis.reporting.formats.document import table_lines as _table
from analysis.reporting.formats.terminal import verdicts
from analysis.reporting.topics.effects import effect_sections
from analysis.reporting.topics.interactions import variance_sections
from analysis.reporting.topics.method import counts_in_words, design_lines, method_lines, recipe_sections, unfinished_lines
from analysis.reporting.topics.published import published_sections, with_published
from analysis.reporting.topics.rank_stability import stability_sections, stability_sentences
from analysis.reporting.topics.rankings import ranking_sections
from analysis.reporting.topics.search import search_sections
from analysis.reporting.topics.spiking import spiking_sections
from analysis.reporting.topics.tuning import tuned_sections
from analysis.statistics.summary import Summary

MOST_COLUMNS = 6
MOST_LINES = 20
"""Of the table among the findings."""

TABLES: tuple[Callable[[Summary], list[Section]], ...] = (
    effect_sections,
    variance_sections,
    stability_sections,
    ranking_sections,
    search_sections,
    spiking_sections,
    published_sections,
    tuned_sections,
)
"""In the order in which they are read; each gives the sections that the study has something to say in."""


def sections(summary: Summary) -> list[Section]:
    """All tables of a summary, published numbers among them as reference."""
    return [with_published(summary, section) for tables in TABLES for section in tables(summary)]


def findings(summary: Summary) -> str:
    """The answer in short: the best cell, sentences, warnings, and the first table without what it says of decisions."""
    best = list(stability_sentences(summary))
    lines = [*best, ""]
    lines += [f"- {verdict}" for verdict in verdicts(summary) if verdict not in best] + [""]
    lines += [f"**{warning}**\n" for warning in summary.warnings]
    for section in sections(summary)[:1]:
        rows = [replace(line, cells=line.cells[:MOST_COLUMNS]) for line in section.lines[:MOST_LINES]]
        lines += [
            line for line in _table(replace(section, columns=section.columns[:MOST_COLUMNS], lines=rows)) if line.startswith("|")
        ]
    return "\n".join(lines)


def markdown(summary: Summary, plates: Sequence[Plate] | None = None) -> str:
    """Counts, sentences, warnings, figures, tables, what has not finished, method.

    Args:
        summary: What is said.
        plates: Its gallery, if that is drawn already; the text refers to the files ``figures/NAME.svg``.
    """
    study = summary.study
    lines = [f"# {study.name}", "", study.question, "", counts_in_words(summary), ""]
    lines += [f"- {verdict}" for verdict in verdicts(summary)] + [""]
    lines += [f"**{warning}**\n" for warning in summary.warnings]
    for plate in gallery(summary) if plates is None else plates:
        lines += [f"## {plate.heading}", "", f"![{plate.heading}](figures/{plate.name}.svg)", "", plate.caption, ""]
    for section in sections(summary):
        lines += _table(section)
    lines += _list("Not finished", unfinished_lines(summary))
    lines += _list("Design", design_lines(study))
    lines += _list("Method", method_lines(summary))
    for section in recipe_sections(summary):
        lines += _table(section)
    return "\n".join(lines)
