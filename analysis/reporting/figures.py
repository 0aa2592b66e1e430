"""The summary's figures, as SVG for the page: legible in light and dark, safe for colour-blind readers."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.statistics.effects import LevelEffect
from analysis.statistics.intervals import Estimate
from analysis.statistics.outcomes import Outcome
from analysis.statistics.summary import Summary
from studies.run_record import ACCURACY, level_in_words

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
    """A panel per factor, a line per level: mean validation accuracy of the spike counts up to t, with its interval.

    Empty where no replicate's curve was read.
    """
    of_accuracy = next((effects for outcome, effects in summary.effects.items() if outcome.metric == ACCURACY), ())
    factors = list(dict.fromkeys(effect.factor for effect in of_accuracy if effect.accuracy_at_t))
    if not factors:
        return ""
    with mpl.rc_context(_STYLE):
        figure = Figure(layout="constrained")
        for axes, factor in zip(_panels(figure, len(factors), 3, (4.6, 4.4)), factors, strict=True):
            effects = [effect for effect in of_accuracy if effect.factor == factor and effect.accuracy_at_t]
            for i, effect in enumerate(effects):
                _draw_curve(axes, effect, i)
            axes.set(title=factor, xlabel="time step t", ylabel="validation accuracy (%)")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend(loc="lower right")
        return _svg(figure)


def _draw_curve(axes: Axes, effect: LevelEffect, i: int) -> None:
    steps = range(1, len(effect.accuracy_at_t) + 1)
    mean = [100 * estimate.mean for estimate in effect.accuracy_at_t]
    colour = INK if effect.is_baseline else OKABE_ITO[i % len(OKABE_ITO)]
    label = level_in_words(effect.level) + (" (baseline)" if effect.is_baseline else "")
    axes.plot(steps, mean, color=colour, marker=MARKERS[i % len(MARKERS)], markersize=4, label=label)
    low = [100 * estimate.low for estimate in effect.accuracy_at_t]
    high = [100 * estimate.high for estimate in effect.accuracy_at_t]
    axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)


def differences(summary: Summary) -> str:
    """A panel per outcome: every level's paired difference from the baseline, with its interval; filled where decided."""
    with mpl.rc_context(_STYLE):
        figure = Figure(layout="constrained")
        num_levels = max(sum(effect.is_contrast for effect in effects) for effects in summary.effects.values())
        panels = _panels(figure, len(summary.effects), 2, (6.4, 1.5 + 0.42 * num_levels))
        for axes, (outcome, effects) in zip(panels, summary.effects.items(), strict=True):
            shown = [effect for effect in effects if effect.contrast is not None]
            for place, effect in enumerate(shown):
                if effect.contrast is not None:
                    decided = effect.verdict in ("higher", "lower")
                    _draw_difference(axes, effect.contrast.difference, place, outcome, decided=decided)
            axes.axvline(0, color=INK, linewidth=1, linestyle=":")
            axes.set_yticks(range(len(shown)), [f"{effect.factor} = {level_in_words(effect.level)}" for effect in shown])
            axes.invert_yaxis()
            what = "points" if outcome.is_fraction else "difference"
            axes.set(title=outcome.name, xlabel=f"{what} from the baseline (95 %)")
        return _svg(figure)


def _draw_difference(axes: Axes, difference: Estimate, place: int, outcome: Outcome, *, decided: bool) -> None:
    colour, scale = OKABE_ITO[0] if decided else INK, _scale(outcome)
    axes.plot([scale * difference.low, scale * difference.high], [place, place], color=colour, linewidth=2)
    face = colour if decided else "none"
    axes.plot([scale * difference.mean], [place], marker="o", markersize=7, color=colour, markerfacecolor=face)


def _scale(outcome: Outcome) -> float:
    return 100 if outcome.is_fraction else 1


def _panels(figure: Figure, num: int, most_in_a_row: int, size: tuple[float, float]) -> Sequence[Axes]:
    """So many axes of this size in inches, in rows; places that are left over in the last one stay empty."""
    num_columns = min(num, most_in_a_row)
    num_rows = -(-num // num_columns)
    figure.set_size_inches(size[0] * num_columns, size[1] * num_rows)
    panels: list[Axes] = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
    for spare in panels[num:]:
        spare.set_visible(False)
    return panels[:num]


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")
