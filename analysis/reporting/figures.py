"""The summary's figures, as SVG for the page: legible in light and dark, safe for colour-blind readers."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.statistics.effects import ACCURACY_OUTCOME, LevelEffect, Summary
from analysis.statistics.intervals import Estimate

OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK = "#010203"
"""Stands for the page's own text colour, which replaces it in the SVG."""

_STYLE: Any = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
    "legend.frameon": False,
    "svg.hashsalt": "spikesweep",
}


def accuracy_against_t(summary: Summary) -> str:
    """A panel per factor, a line per level: mean validation accuracy of the spike counts up to t, with its interval."""
    factors = list(summary.study.factors)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.6 * len(factors), 4.4), layout="constrained")
        for axes, factor in zip(_row_of_axes(figure, len(factors)), factors, strict=True):
            effects = [e for e in summary.effects[ACCURACY_OUTCOME] if e.factor == factor and e.accuracy_at_t]
            for i, effect in enumerate(effects):
                _draw_curve(axes, effect, i)
            axes.set(title=factor, xlabel="time step t", ylabel="validation accuracy (%)")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if effects:
                axes.legend(loc="lower right")
        return _svg(figure)


def _draw_curve(axes: Axes, effect: LevelEffect, i: int) -> None:
    steps = range(1, len(effect.accuracy_at_t) + 1)
    mean = [100 * estimate.mean for estimate in effect.accuracy_at_t]
    colour = INK if effect.is_baseline else OKABE_ITO[i % len(OKABE_ITO)]
    label = f"{effect.level} (baseline)" if effect.is_baseline else str(effect.level)
    axes.plot(steps, mean, color=colour, marker=MARKERS[i % len(MARKERS)], markersize=4, label=label)
    low = [100 * estimate.low for estimate in effect.accuracy_at_t]
    high = [100 * estimate.high for estimate in effect.accuracy_at_t]
    axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)


def differences(summary: Summary) -> str:
    """A panel per outcome: every level's paired difference from the baseline, with its interval; filled where decided."""
    with mpl.rc_context(_STYLE):
        num_levels = sum(len(levels) - 1 for levels in summary.study.factors.values())
        figure = Figure(figsize=(6.4 * len(summary.effects), 1.5 + 0.42 * num_levels), layout="constrained")
        panels = _row_of_axes(figure, len(summary.effects))
        for axes, (outcome, effects) in zip(panels, summary.effects.items(), strict=True):
            shown = [effect for effect in effects if effect.contrast is not None]
            for place, effect in enumerate(shown):
                if effect.contrast is not None:
                    _draw_difference(axes, effect.contrast.difference, place, decided=effect.verdict in ("higher", "lower"))
            axes.axvline(0, color=INK, linewidth=1, linestyle=":")
            axes.set_yticks(range(len(shown)), [f"{effect.factor} = {effect.level}" for effect in shown])
            axes.invert_yaxis()
            axes.set(title=outcome.name, xlabel="points from the baseline (95 %)")
        return _svg(figure)


def _draw_difference(axes: Axes, difference: Estimate, place: int, *, decided: bool) -> None:
    colour = OKABE_ITO[0] if decided else INK
    axes.plot([100 * difference.low, 100 * difference.high], [place, place], color=colour, linewidth=2)
    face = colour if decided else "none"
    axes.plot([100 * difference.mean], [place], marker="o", markersize=7, color=colour, markerfacecolor=face)


def _row_of_axes(figure: Figure, num: int) -> Sequence[Axes]:
    row: Sequence[Axes] = figure.subplots(1, num, squeeze=False)[0]
    return row


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")
