"""The ablation summary as a document: the one place that puts the topics and figures together."""

from collections.abc import Callable

from analysis.reporting import answer
from analysis.reporting.document_model import Document, ItemList, Table, filled, without_repetitions
from analysis.reporting.figures.all_figures import all_figures
from analysis.reporting.topics.choices import labelled, selection_tables, tuned_tables
from analysis.reporting.topics.claims.families import EXPLORATORY
from analysis.reporting.topics.claims.other_images import other_images_tables
from analysis.reporting.topics.effects import effect_tables, effect_verdicts
from analysis.reporting.topics.interactions import interaction_tables, interaction_verdicts
from analysis.reporting.topics.method import counts_in_words, design_list, method_list, recipe_table, unfinished_list
from analysis.reporting.topics.paper_tables import paper_tables, results_tables
from analysis.reporting.topics.published import published_tables, with_published
from analysis.reporting.topics.rank_stability import stability_tables, stability_verdicts
from analysis.reporting.topics.rankings import ranking_tables, ranking_verdicts
from analysis.reporting.topics.search import search_tables, search_verdicts
from analysis.reporting.topics.spiking import spiking_tables
from analysis.statistics.selection import selection_warnings
from analysis.statistics.summary import Summary

TABLES: tuple[Callable[[Summary], list[Table]], ...] = (
    results_tables,
    effect_tables,
    other_images_tables,
    interaction_tables,
    stability_tables,
    ranking_tables,
    search_tables,
    spiking_tables,
    selection_tables,
    published_tables,
    tuned_tables,
)
"""In the order in which they are read; each gives the tables that the study has something to say in."""


def summary_document(summary: Summary) -> Document:
    """The whole report of a study: the answer, warnings, figures, tables, what has not finished, design, method, recipe."""
    return Document(
        title=f"{summary.study.name}: ablation summary",
        lead=summary.study.question,
        status=counts_in_words(summary),
        headline=answer.headline(summary),
        summary=answer.paragraph(summary),
        verdicts=verdicts(summary),
        warnings=summary.warnings,
        figures=[labelled(summary, figure) for figure in all_figures(summary)],
        sections=filled(
            *tables(summary),
            sentence_list(summary),
            unfinished_list(summary),
            design_list(summary.study),
            method_list(summary),
            recipe_table(summary),
        ),
    )


def sentence_list(summary: Summary) -> ItemList:
    """All verdicts but the one that is the answer."""
    said = answer.headline(summary)
    return ItemList("Every verdict in a sentence", [one for one in verdicts(summary) if one != said], is_folded=True)


def paper_document(summary: Summary) -> Document:
    """The tables that a paper shows of a study, one for every outcome."""
    return Document(
        title=summary.study.name,
        lead=summary.study.question,
        verdicts=verdicts(summary),
        warnings=selection_warnings(summary.runs),
        sections=[labelled(summary, table) for table in paper_tables(summary)],
    )


def tables(summary: Summary) -> list[Table]:
    """All tables of a summary, published numbers among them as reference."""
    found = [labelled(summary, with_published(summary, table)) for of_topic in TABLES for table in of_topic(summary)]
    return without_repetitions(found)


def verdicts(summary: Summary) -> list[str]:
    """The answer in sentences: of effects one per factor and outcome, of rankings what was tried and what is best.

    Confirmatory ones come first; a sentence parts them from the exploratory ones.
    """
    confirmatory = list(effect_verdicts(summary, are_confirmatory=True))
    exploratory = [
        *effect_verdicts(summary, are_confirmatory=False),
        *interaction_verdicts(summary),
        *stability_verdicts(summary),
        *ranking_verdicts(summary),
        *search_verdicts(summary),
    ]
    return [*confirmatory, *([EXPLORATORY] if confirmatory and exploratory else []), *exploratory]
