"""All figures of a summary, in the order in which they are read, each with its heading, caption and file name."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from analysis.reporting import figures, spiking_figures
from analysis.statistics.summary import Summary


@dataclass(frozen=True)
class Plate:
    """One figure; ``name`` is that of its files."""

    name: str
    heading: str
    caption: str
    figure: Figure


FIGURES: tuple[tuple[str, Callable[[Summary], Figure | None], str, str], ...] = (
    (
        "differences",
        figures.differences,
        "Differences from the baseline",
        "Mean and 95 % interval over seeds; filled where the corrected p-value decides.",
    ),
    (
        "accuracy_against_t",
        figures.accuracy_against_t,
        "Accuracy against t",
        "Validation accuracy of the spike counts up to step t: means and 95 % intervals over seeds.",
    ),
    (
        "objectives",
        figures.objectives,
        "The objectives against each other",
        "A point for every configuration, the mean over its seeds; the line is the Pareto front of what was searched.",
    ),
    (
        "accuracy_against_cost",
        spiking_figures.accuracy_against_cost,
        "Accuracy against cost",
        "A point per cell, numbered as in the table of that name: means and 95 % intervals over seeds, both ways; filled on the "
        "front. Energy is a model: 4.6 pJ per MAC, 0.9 pJ per AC (45 nm).",
    ),
    (
        "sparsity_by_layer",
        spiking_figures.sparsity_by_layer,
        "Sparsity by layer",
        "Zeros among each layer's outputs over all time steps and images, means over seeds.",
    ),
)
"""File name, function, heading and caption. A function gives None where a study has nothing to draw."""


def gallery(summary: Summary) -> list[Plate]:
    """The figures that the study has something to draw for."""
    drawn = [(name, heading, caption, draw(summary)) for name, draw, heading, caption in FIGURES]
    return [Plate(name, heading, caption, figure) for name, heading, caption, figure in drawn if figure is not None]
