"""All figures of a summary, in the order in which they are read."""

from collections.abc import Callable

from analysis.reporting.document_model import CaptionedFigure
from analysis.reporting.figures.effects import effect_figures
from analysis.reporting.figures.search import search_figures
from analysis.reporting.figures.spiking import spiking_figures
from analysis.statistics.summary import Summary

FIGURES: tuple[Callable[[Summary], list[CaptionedFigure]], ...] = (effect_figures, search_figures, spiking_figures)
"""Each gives the figures that a study has something to draw for. A title names the files, so that no two may be the same."""


def all_figures(summary: Summary) -> list[CaptionedFigure]:
    """Every figure of a study, not yet rendered."""
    return [figure for figures in FIGURES for figure in figures(summary)]
