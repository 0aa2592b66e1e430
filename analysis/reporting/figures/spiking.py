"""The figures of spiking networks: accuracy against what it costs, and sparsity by layer."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from analysis.reporting import formatting
from analysis.reporting.document_model import CaptionedFigure, Width
from analysis.reporting.figures.style import (
    INK,
    OKABE_ITO,
    STYLE,
    as_label,
    captioned,
    frame_accuracies,
    label_points,
    logarithmic,
    panels,
    wrapped,
)
from analysis.reporting.topics.paper_tables import are_numbered, point_names
from analysis.reporting.topics.published import Published, matches
from analysis.reporting.topics.spiking import PICOJOULES, row_in_words
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.spiking import CostPoint, SpikingRow
from analysis.statistics.summary import Summary

MOST_WITH_BARS = 60
MOST_ROWS = 30
LONGEST_UPRIGHT = 8
"""Characters of a layer's name that fit above its column."""
SPREAD_FOR_LOG = 8
"""Largest over smallest cost, from which their axis is logarithmic."""


def spiking_figures(summary: Summary) -> list[CaptionedFigure]:
    """Accuracy against cost, and sparsity by layer."""
    beneath = " Below the line: published numbers." if _published_with_layers(summary) else ""
    numbers = ", numbered as in the table of cells" if are_numbered(summary) else ""
    return captioned(
        (
            "Accuracy against cost",
            f"One point per cell{numbers}: means with 95 % intervals over seeds in both directions. The line is the Pareto front "
            "of the means, and points on it are filled.",
            partial(accuracy_against_cost, summary),
        ),
        (
            "Sparsity by layer",
            f"Zeros among each layer's outputs over all time steps and images, means over seeds.{beneath}",
            partial(sparsity_by_layer, summary),
        ),
    )


def accuracy_against_cost(summary: Summary, width: Width = "wide") -> Figure | None:
    """Two panels, operations and energy: a point per cell with its name and intervals, and the Pareto front of the means.

    None where no replicate measured its cost.
    """
    points = summary.spiking.points
    if not points:
        return None
    with mpl.rc_context(STYLE):
        figure, (left, right) = panels(2, 2, (4.7, 4.2), width, sharey=True)
        operations = [point.is_on_operations_front for point in points]
        means = [_draw_costs(left, points, lambda point: point.operations, operations, 1.0)]
        left.set(xlabel="synaptic operations per image")
        energy = [point.is_on_energy_front for point in points]
        means += [_draw_costs(right, points, lambda point: point.energy_pj, energy, 1 / PICOJOULES)]
        right.set(xlabel="modelled energy per image (µJ)")
        frame_accuracies(left, [point.accuracy for point in points])
        names = point_names(summary)
        labels = [wrapped(names.get(i, ""), 18) for i in range(len(points))]
        accuracies = [100 * point.accuracy.mean for point in points]
        for axes, costs in zip((left, right), means, strict=True):
            label_points(axes, list(zip(costs, accuracies, strict=True)), labels)
    return figure


def _draw_costs(
    axes: Axes, points: Sequence[CostPoint], cost: Callable[[CostPoint], Estimate], on_front: Sequence[bool], scale: float
) -> list[float]:
    """Draw the points of one panel; returns where they are across."""
    means = [scale * cost(point).mean for point in points]
    order = sorted((i for i, is_on in enumerate(on_front) if is_on), key=lambda i: means[i])
    accuracies = [100 * point.accuracy.mean for point in points]
    axes.plot(
        [means[i] for i in order],
        [accuracies[i] for i in order],
        drawstyle="steps-post",
        color=OKABE_ITO[0],
    )
    for i, point in enumerate(points):
        colour = OKABE_ITO[0] if on_front[i] else INK
        if len(points) <= MOST_WITH_BARS:
            _draw_bars(axes, point.accuracy, cost(point), scale, colour)
        axes.plot(
            means[i], accuracies[i], marker="o", markersize=5, color=colour, markerfacecolor=colour if on_front[i] else "none"
        )
    if max(means) > SPREAD_FOR_LOG * min(means) > 0:
        logarithmic(axes, min(means), max(means))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.grid()
    return means


def _draw_bars(axes: Axes, accuracy: Estimate, cost: Estimate, scale: float, colour: str) -> None:
    at = (scale * cost.mean, 100 * accuracy.mean)
    style: Any = {"color": colour, "linewidth": 1.2, "alpha": 0.55}
    axes.plot([at[0], at[0]], [100 * accuracy.low, 100 * accuracy.high], **style)
    axes.plot([scale * cost.low, scale * cost.high], [at[1], at[1]], **style)


def _short(value: float) -> str:
    """20 k, 1.5 M: an axis label of a count."""
    for power, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= power:
            return f"{value / power:g}{name}"
    return f"{value:g}"


def sparsity_by_layer(summary: Summary, width: Width = "wide") -> Figure | None:
    """A heat map of the share of zeros, in percent: a row per level or configuration, a column per layer.

    Published numbers of the same model on the same data stand beneath, apart. None where no replicate has layers.
    """
    layers = summary.spiking.layers
    rows = [row for row in summary.spiking.rows if row.sparsity][:MOST_ROWS]
    if len(layers) < 2 or not rows:
        return None
    published = _published_with_layers(summary)
    longest, across, beside = (34, 0.62, 3.1) if width == "wide" else (16, 0.42, 1.7)
    labels = [wrapped(row_in_words(summary.study, row), longest) for row in rows]
    labels += [wrapped(f"published: {found.model}", longest) for found in published]
    values = [_means(row, layers) for row in rows] + [_published_means(found, layers) for found in published]
    heights = sum(0.16 + 0.16 * (label.count("\n") + 1) for label in labels)
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels(1, 1, (beside + across * len(layers), 1.0 + heights))
        _draw_heat_map(axes, np.array(values), num_own=len(rows))
        longest_upright = LONGEST_UPRIGHT if width == "wide" else 0
        turn: Any = {"rotation": 35, "ha": "right"} if max(map(len, layers)) > longest_upright else {}
        axes.set_xticks(range(len(layers)), map(as_label, layers), **turn)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(length=0)
        axes.set_title("zeros among the outputs (%)", loc="left")
    return figure


def _published_with_layers(summary: Summary) -> list[Published]:
    return [found for found in matches(summary.study, summary.runs) if found.sparsity]


def _means(row: SpikingRow, layers: Sequence[str]) -> list[float]:
    return [100 * row.sparsity[layer].mean if layer in row.sparsity else np.nan for layer in layers]


def _published_means(found: Published, layers: Sequence[str]) -> list[float]:
    return [found.sparsity.get(layer, np.nan) for layer in layers]


def _draw_heat_map(axes: Axes, values: NDArray[np.float64], num_own: int) -> None:
    """Numbers stand in the cells; a line separates published from measured rows."""
    low, high = float(np.nanmin(values)), 100.0
    num_rows, num_columns = values.shape
    edges = np.arange(num_columns + 1) - 0.5, np.arange(num_rows + 1) - 0.5
    mesh = axes.pcolormesh(*edges, np.ma.masked_invalid(values), cmap="cividis", vmin=low, vmax=high, edgecolors="none")
    axes.invert_yaxis()
    colours = mesh.to_rgba(np.nan_to_num(values, nan=low))
    for (i, j), value in np.ndenumerate(values):
        text = formatting.NONE if np.isnan(value) else f"{value:.1f}"
        colour = INK if np.isnan(value) else _readable_on(colours[i, j])
        axes.text(j, i, text, ha="center", va="center", fontsize=9, color=colour)
    if num_own < len(values):
        axes.axhline(num_own - 0.5, color=INK, linewidth=2)
    axes.spines[:].set_visible(False)


def _readable_on(colour: NDArray[np.float64]) -> str:
    """Black or white, whichever has the higher contrast with it (WCAG 2.2: equal at a relative luminance of 0.179)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return "#ffffff" if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] < 0.179 else "#000000"
