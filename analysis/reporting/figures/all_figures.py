"""All figures of a summary, in the order in which they are read."""

from collections.abc import Callable

from analysis.reporting.figures.effects import effect_plates
from analysis.reporting.figures.search import search_plates
from analysis.reporting.figures.spiking import spiking_plates
from analysis.reporting.figures.style import Plate
from analysis.statistics.summary import Summary

PLATES: tuple[Callable[[Summary], list[Plate]], ...] = (effect_plates, search_plates, spiking_plates)
"""Each gives the figures that a study has something to draw for. A heading names the files, so that no two may be the same."""


def gallery(summary: Summary) -> list[Plate]:
    """Every figure of a study, not yet rendered."""
    return [plate for plates in PLATES for plate in plates(summary)]
