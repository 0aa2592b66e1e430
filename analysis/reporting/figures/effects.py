"""The figures of effects: differences from the baseline, and accuracy against the time step."""

from collections.abc import Sequence
from functools import partial

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
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
    line_style,
    panels,
    scale_of,
    wrapped,
)
from analysis.statistics.data.outcomes import SPARSITY_OUTCOME, SPIKES_OUTCOME, Outcome
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.summary import Summary
from studies.run_record import ACCURACY, StudyRecord

MOST_FULL_BANDS = 5
"""With more lines in a panel the bands of their intervals are fainter."""
MOST_FINELY_TICKED = 60
SPREAD_FOR_LOG = 12
"""The ratio of the largest bound of the differences to the median one from which their axis is logarithmic away from 0."""


def effect_figures(summary: Summary) -> list[CaptionedFigure]:
    """Differences from the baseline, and accuracy against t."""
    return captioned(
        (
            "Differences from the baseline",
            "Mean, and 95 % interval where there are seeds enough for one; filled where the corrected p-value decides.",
            partial(differences, summary),
        ),
        (
            "Accuracy against t",
            "Validation accuracy of the outputs summed up to step t: means and 95 % intervals over seeds.",
            partial(accuracy_against_t, summary),
        ),
    )


def accuracy_against_t(summary: Summary, width: Width = "wide") -> Figure | None:
    """A panel per factor, a line per level: mean validation accuracy of the outputs summed up to t, with its interval.

    A level's line ends where one of its cells has no further step; a factor whose lines would be points has no panel. None where
    no factor has lines, or no replicate's curve was read.
    """
    of_accuracy = next((effects for outcome, effects in summary.effects.items() if outcome.metric == ACCURACY), ())
    curves = [effect for effect in of_accuracy if effect.accuracy_at_t]
    factors = list(dict.fromkeys(effect.factor for effect in curves if len(effect.accuracy_at_t) > 1))
    if not factors:
        return None
    by_factor = [[effect for effect in curves if effect.factor == factor] for factor in factors]
    study = summary.study
    height = 3.4 + 0.19 * max(sum(_label(study, effect).count("\n") + 1 for effect in effects) for effects in by_factor)
    with mpl.rc_context(STYLE):
        in_a_row = 2 if len(factors) != 3 else 3
        figure, places = panels(len(factors), in_a_row, (4.5, height), width)
        for axes, effects in zip(places, by_factor, strict=True):
            for i, effect in enumerate(effects):
                _draw_curve(axes, effect, i, _label(study, effect), band=0.16 if len(effects) <= MOST_FULL_BANDS else 0.07)
            _frame_curves(axes, formatting.factor_name(study, effects[0].factor), effects)
    return figure


def _label(study: StudyRecord, effect: LevelEffect) -> str:
    level = formatting.level_name(study, effect.factor, effect.level)
    return wrapped(level + (" (baseline)" if effect.is_baseline else ""), 40)


def _draw_curve(axes: Axes, effect: LevelEffect, i: int, label: str, *, band: float) -> None:
    steps = range(1, len(effect.accuracy_at_t) + 1)
    mean, low, high = ([100 * getattr(estimate, bound) for estimate in effect.accuracy_at_t] for bound in ("mean", "low", "high"))
    style = {**line_style(i), **({"color": INK, "linestyle": "-"} if effect.is_baseline else {})}
    every = max(1, len(mean) // 12)
    axes.plot(steps, mean, markersize=4, markevery=(min(i, every - 1), every), label=label, **style)
    axes.fill_between(steps, low, high, color=style["color"], alpha=band, linewidth=0)


def _frame_curves(axes: Axes, factor: str, effects: Sequence[LevelEffect]) -> None:
    axes.set(title=as_label(factor), xlabel="time step t")
    frame_accuracies(axes, [estimate for effect in effects for estimate in effect.accuracy_at_t])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), borderaxespad=0, labelspacing=0.3)


def differences(summary: Summary, width: Width = "wide") -> Figure | None:
    """A panel per outcome: every level's paired difference from the baseline, with its interval; filled where decided.

    Sparsity has none where spikes were counted, which say more. None for designs that compare no levels.
    """
    if not summary.effects:
        return None
    drawn = dict(summary.effects)
    if SPIKES_OUTCOME in drawn and summary.primary != SPARSITY_OUTCOME:
        drawn.pop(SPARSITY_OUTCOME, None)
    rows = [[effect for effect in effects if effect.num_cells] for effects in drawn.values()]
    labels = [wrapped(_level_in_full(summary.study, effect), 25 if width == "wide" else 20) for effect in rows[0]]
    height = 0.9 + sum(0.17 + 0.17 * (label.count("\n") + 1) for label in labels)
    with mpl.rc_context(STYLE):
        figure, places = panels(len(rows), 2 if len(rows) != 3 else 3, (4.0, height), width, sharey=True)
        for axes, (outcome, effects) in zip(places, zip(drawn, rows, strict=True), strict=True):
            for place, effect in enumerate(effects):
                _draw_difference(axes, effect, place, outcome)
            _frame_differences(axes, outcome, effects)
        places[0].set_yticks(range(len(labels)), labels)
        places[0].set_ylim(len(labels) - 0.5, -0.5)
    return figure


def _level_in_full(study: StudyRecord, effect: LevelEffect) -> str:
    level = formatting.level_name(study, effect.factor, effect.level)
    return f"{formatting.factor_name(study, effect.factor)} = {level}{' (baseline)' * effect.is_baseline}"


def _draw_difference(axes: Axes, effect: LevelEffect, place: int, outcome: Outcome) -> None:
    if effect.is_baseline:
        axes.plot([0], [place], marker="D", markersize=6, color=INK, markerfacecolor="none", linestyle="none")
        return
    if effect.contrast is None:
        axes.annotate("no data", (0, place), xytext=(6, 0), textcoords="offset points", va="center")
        return
    is_decided, scale, difference = effect.verdict in ("higher", "lower"), _scale_of(outcome), effect.contrast.difference
    colour = OKABE_ITO[0] if is_decided else INK
    axes.plot([scale * difference.low, scale * difference.high], [place, place], color=colour, linewidth=2)
    face = colour if is_decided else "none"
    axes.plot([scale * difference.mean], [place], marker="o", markersize=7, color=colour, markerfacecolor=face)


def _scale_of(outcome: Outcome) -> float:
    """What a contrast is multiplied by to be drawn: those of counts and costs are in percent, too."""
    return 100.0 if outcome.is_ratio else scale_of(outcome)


def _frame_differences(axes: Axes, outcome: Outcome, effects: Sequence[LevelEffect]) -> None:
    axes.axvline(0, color=INK, linewidth=1, linestyle=":")
    what = "points" if outcome.is_fraction else "%" if outcome.is_ratio else "difference"
    label = f"{what} from the baseline (95 %)"
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    found = [effect.contrast.difference for effect in effects if effect.contrast]
    bounds = np.abs([_scale_of(outcome) * bound for one in found for bound in (one.mean, one.low, one.high)])
    bounds = bounds[np.isfinite(bounds) & (bounds > 0)]
    if len(bounds) and bounds.max() > SPREAD_FOR_LOG * np.median(bounds):
        label += f"\nlogarithmic beyond ±{_part_logarithmic(axes, bounds):g}"
    for place in range(1, len(effects)):
        if effects[place].factor != effects[place - 1].factor:
            axes.axhline(place - 0.5, color=INK, linewidth=0.5, alpha=0.4)
    axes.set(title=as_label(outcome.name), xlabel=label)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)


def _part_logarithmic(axes: Axes, bounds: NDArray[np.float64]) -> float:
    """Make an axis linear around 0 and logarithmic beyond the bound returned; ticks at 1, 10, … and, if they fit, 3, 30, …."""
    linear = float(f"{np.median(bounds):.1g}")
    axes.set_xscale("symlog", linthresh=linear, linscale=1.0)
    axes.margins(x=0.03)  # also fits the limits, which were those of a linear axis
    decades = 10.0 ** np.arange(np.floor(np.log10(linear)), np.ceil(np.log10(np.max(bounds))) + 1)
    steps = (1, 3) if np.max(bounds) < MOST_FINELY_TICKED * linear else (1,)
    beyond = [step * decade for decade in decades for step in steps if step * decade >= 2.4 * linear]
    axes.xaxis.set_major_locator(FixedLocator([*(-tick for tick in beyond), -linear, 0, linear, *beyond]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axes.xaxis.set_minor_locator(NullLocator())
    return linear
