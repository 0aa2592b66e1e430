"""The figures of a search: the Pareto front with its probabilities, progress, importance, partial dependence."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.reporting import formatting
from analysis.reporting.document_model import CaptionedFigure, Width, heading
from analysis.reporting.figures.style import (
    INK,
    MARKERS,
    OKABE_ITO,
    STYLE,
    Draw,
    as_label,
    captioned,
    panels,
    scale_of,
)
from analysis.reporting.topics.rankings import SURE, draws_in_words
from analysis.reporting.topics.search import by_importance, error_in_words, importance_caption, reference_in_words
from analysis.statistics.data.outcomes import Outcome, has_several_objectives, objectives_of
from analysis.statistics.search.exploration import Exploration
from analysis.statistics.search.importance import Importance, Share
from analysis.statistics.search.partial_dependence import Dependence, SurrogateModel
from analysis.statistics.search.rankings import Configuration, Ranking
from analysis.statistics.summary import Summary
from studies.run_record import StudyRecord

MOST_LEVELS_DRAWN = 12
MOST_FACTORS_DRAWN = 12
LONGEST_LABEL = 22


def search_figures(summary: Summary) -> list[CaptionedFigure]:
    """The front of the objectives, the progress of the search, importance, and the partial dependence of every objective."""
    found: list[tuple[str, str, Draw]] = [("The objectives against each other", _front_caption(summary), partial(front, summary))]
    explored = summary.exploration
    if explored is None:
        return captioned(*found)
    note = "" if explored.is_space_filling else "Associations, not effects. "
    what = "Hypervolume over time" if has_several_objectives(summary.study) else "Best value over time"
    found.append((what, _progress_caption(summary), partial(progress, summary)))
    found.append(("Importance of the factors", importance_caption(explored), partial(importance, summary)))
    for learnt in explored.surrogate_models.values():
        if learnt.dependences:
            caption = f"{note}{_dependence_caption(explored, learnt)}"
            found.append((f"{heading(learnt.outcome)} by factor", caption, partial(dependence, summary, explored, learnt)))
    return captioned(*found)


def _label(outcome: Outcome, name: str) -> str:
    return as_label(f"{name} (%)" if outcome.is_fraction else name)


def importance(summary: Summary, width: Width = "wide") -> Figure | None:
    """A panel per objective, a line per factor, the most important first; None where nothing was judged."""
    explored = summary.exploration
    judged = {
        outcome: by_importance([one for one in importances if one.fanova])[:MOST_FACTORS_DRAWN]
        for outcome, importances in (explored.importances.items() if explored else ())
    }
    judged = {outcome: importances for outcome, importances in judged.items() if importances}
    if not judged:
        return None
    with mpl.rc_context(STYLE):
        num_factors = max(map(len, judged.values()))
        figure, places = panels(len(judged), 2, (6.0, 1.4 + 0.42 * num_factors), width)
        for axes, (outcome, importances) in zip(places, judged.items(), strict=True):
            for place, one in enumerate(importances):
                _draw_shares(axes, one, place)
            axes.set_yticks(
                range(len(importances)), [as_label(formatting.factor_name(summary.study, one.factor)) for one in importances]
            )
            axes.set_ylim(len(importances) - 0.5, -0.5)
            axes.set(title=as_label(heading(outcome)), xlabel="share (%)", xlim=(0, None))
        places[0].legend(loc="lower right")
        return figure


def _draw_shares(axes: Axes, one: Importance, place: int) -> None:
    for i, (name, share) in enumerate((("fANOVA", one.fanova), ("PED-ANOVA", one.ped_anova))):
        if share is not None:
            _draw_share(axes, share, place + 0.16 * (2 * i - 1), i, name if place == 0 else "_")


def _draw_share(axes: Axes, share: Share, height: float, i: int, label: str) -> None:
    value, error = 100 * share.value, 100 * share.standard_error
    style: Any = {"color": OKABE_ITO[i], "marker": MARKERS[i], "markersize": 6, "linewidth": 1.5}
    axes.errorbar(value, height, xerr=[[min(error, value)], [error]], label=label, **style)
    if not math.isnan(share.by_chance):
        strokes = [height - 0.14, height + 0.14]
        axes.plot([100 * share.by_chance] * 2, strokes, color=OKABE_ITO[i], linewidth=1.5, alpha=0.6)


def dependence(summary: Summary, explored: Exploration, learnt: SurrogateModel, width: Width = "wide") -> Figure | None:
    """A panel per factor on one scale: the surrogate model's mean prediction with its band, and the configurations tried."""
    shown = learnt.dependences[:MOST_FACTORS_DRAWN]
    with mpl.rc_context(STYLE):
        figure, places = panels(len(shown), 3, (4.4, 3.4), width)
        scale = scale_of(learnt.outcome)
        low = scale * min(float(one.low.min()) for one in shown)
        high = scale * max(float(one.high.max()) for one in shown)
        for axes, one in zip(places, shown, strict=True):
            _draw_dependence(axes, summary.study, one, scale)
            axes.set_ylim(low - 0.12 * (high - low), high + 0.05 * (high - low))
            _draw_tried(axes, explored, one)
            axes.set(
                xlabel=as_label(formatting.factor_name(summary.study, one.axis.factor)),
                ylabel=_label(learnt.outcome, learnt.outcome.name),
            )
        return figure


def _draw_dependence(axes: Axes, study: StudyRecord, one: Dependence, scale: float) -> None:
    colour = OKABE_ITO[0]
    if not one.axis.levels:
        x = [float(level or 0) for level in one.levels]
        axes.plot(x, scale * one.mean, color=colour, linewidth=2)
        axes.fill_between(x, scale * one.low, scale * one.high, color=colour, alpha=0.2, linewidth=0)
        if one.axis.is_log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=7))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: formatting.plain_number(value)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=one.axis.is_integer))
        return
    kept = range(len(one.levels)) if one.axis.is_ordered else _best_places(one)
    x = list(range(len(kept)))
    mean, error = scale * one.mean[list(kept)], scale * (one.high - one.mean)[list(kept)]
    axes.errorbar(x, mean, yerr=error, color=colour, marker="o", linestyle="-" if one.axis.is_ordered else "none")
    labels = [as_label(_shortened(formatting.level_name(study, one.axis.factor, one.levels[place]))) for place in kept]
    is_long = max(map(len, labels)) * len(labels) > 24
    axes.set_xticks(x, labels, rotation=60 if is_long else 0, ha="right" if is_long else "center", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(kept) - 0.5)


def _best_places(one: Dependence) -> list[int]:
    """Of many levels those with the highest predictions, in the study's order."""
    return sorted(np.argsort(-one.mean, kind="stable")[:MOST_LEVELS_DRAWN].tolist())


def _shortened(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def _draw_tried(axes: Axes, explored: Exploration, one: Dependence) -> None:
    """A stroke at the bottom for every configuration of a range, crosses above them for pruned ones."""
    if one.axis.levels:
        return
    i = [axis.factor for axis in explored.tried.axes].index(one.axis.factor)
    places = explored.tried.places_NF[:, i]
    values = one.axis.low + places * (one.axis.high - one.axis.low)
    if one.axis.is_log:
        values = np.exp(np.log(one.axis.low) + places * np.log(one.axis.high / one.axis.low))
    bottom: Any = {"linestyle": "none", "transform": axes.get_xaxis_transform(), "color": INK}
    finished = values[~np.isnan(places) & ~explored.tried.is_pruned]
    axes.plot(finished, np.full(len(finished), 0.02), marker="|", markersize=7, alpha=0.25, **bottom)
    pruned = values[~np.isnan(places) & explored.tried.is_pruned]
    axes.plot(pruned, np.full(len(pruned), 0.07), marker="x", markersize=3, alpha=0.35, **bottom)


def _dependence_caption(explored: Exploration, learnt: SurrogateModel) -> str:
    pruned = ", crosses those that were pruned" if explored.tried.num_pruned else ""
    many = any(len(one.levels) > MOST_LEVELS_DRAWN and not one.axis.is_ordered for one in learnt.dependences)
    most = f" Of a factor's many levels the {MOST_LEVELS_DRAWN} with the highest predictions are shown." if many else ""
    return (
        f"Partial dependence: {error_in_words(learnt)}. The band is by random halves of the configurations. "
        f"Strokes at the bottom are the configurations tried{pruned}.{most}"
    )


def front(summary: Summary, width: Width = "wide") -> Figure | None:
    """Two objectives against each other: what was tried, filled where it is probably on the front, and the finalists' intervals.

    None where the study has not two objectives or ranks nothing.
    """
    pair = objectives_of(summary.study)
    kinds = {ranking.kind: ranking for ranking in summary.rankings}
    tried = kinds.get("search") or kinds.get("cell")
    if len(pair) != 2 or tried is None or not any(one.on_front for one in tried.configurations):
        return None
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels(1, 1, (9.4, 4.8), width)
        _draw_tried_points(axes, tried, pair[1], pair[0])
        if "finalist" in kinds:
            _draw_finalists(axes, kinds["finalist"].configurations, pair[1], pair[0])
        axes.set(xlabel=_label(pair[1], heading(pair[1])), ylabel=_label(pair[0], heading(pair[0])))
        figure.legend(loc="outside right upper" if width == "wide" else "outside lower left")  # nothing is hidden behind it
        return figure


def _draw_tried_points(axes: Axes, tried: Ranking, across: Outcome, up: Outcome) -> None:
    rest = [one for one in tried.configurations if not one.on_front and one.keeps_limits]
    _draw_points(axes, rest, across, up, color=INK, marker="o", alpha=0.3, label="tried")
    broken = [one for one in tried.configurations if not one.keeps_limits]
    if broken:
        _draw_points(axes, broken, across, up, color=INK, marker="x", alpha=0.3, label="beyond the limits")
    line = sorted(tried.front, key=lambda one: one.mean(across))
    drawstyle = "steps-pre" if across.direction == "maximize" else "steps-post"  # what is reached, not what lies between
    _draw_points(axes, line, across, up, color=OKABE_ITO[0], linestyle="-", drawstyle=drawstyle, marker="", label="Pareto front")
    if not tried.front_basis:
        _draw_points(axes, line, across, up, color=OKABE_ITO[0], marker="o", label="on it")
        return
    sure = [one for one in tried.front if one.front_probability >= SURE]
    unsure = [one for one in tried.front if not one.front_probability >= SURE]  # or nothing is known of it
    _draw_points(axes, sure, across, up, color=OKABE_ITO[0], marker="o", label="on it in at least half of the draws")
    _draw_points(axes, unsure, across, up, color=OKABE_ITO[0], marker="o", markerfacecolor="none", label="on it in fewer")


def _draw_finalists(axes: Axes, finalists: Sequence[Configuration], across: Outcome, up: Outcome) -> None:
    """Means with their intervals over the fresh seeds, and the probability of being on the front of the finalists."""
    for i, one in enumerate(finalists):
        if across in one.estimates and up in one.estimates:
            x, y = one.estimates[across], one.estimates[up]
            errors: dict[str, Any] = {
                "xerr": scale_of(across) * np.nan_to_num([[x.mean - x.low], [x.high - x.mean]]),
                "yerr": scale_of(up) * np.nan_to_num([[y.mean - y.low], [y.high - y.mean]]),
            }
            style: Any = {"color": OKABE_ITO[1], "marker": "D", "markersize": 5, "linewidth": 1}
            label = "finalists, fresh seeds (95 %)" if i == 0 else "_"
            axes.errorbar(scale_of(across) * x.mean, scale_of(up) * y.mean, **errors, **style, label=label)


def _draw_points(axes: Axes, found: Sequence[Configuration], across: Outcome, up: Outcome, **style: Any) -> None:
    x = [scale_of(across) * one.mean(across) for one in found]
    y = [scale_of(up) * one.mean(up) for one in found]
    axes.plot(x, y, **{"linestyle": "none", "markersize": 5, **style})


def _front_caption(summary: Summary) -> str:
    caption = "A point for every configuration, the mean over its seeds; the line is the Pareto front of what was tried."
    tried = [ranking for ranking in summary.rankings if ranking.kind != "finalist"]
    if tried and tried[0].front_basis:
        return f"{caption} Filled: on the front in at least half of the {draws_in_words(tried[0])}."
    return (
        f"{caption} One seed does not say how certain it is that a configuration is on it."
        if tried and tried[0].kind == "search"
        else caption
    )


def progress(summary: Summary, width: Width = "wide") -> Figure | None:
    """What the search had reached after every trial, with a cross where one was pruned; None without a search."""
    explored = summary.exploration
    if explored is None or explored.progress is None or len(explored.progress.num_trials) < 2:
        return None
    is_volume = bool(explored.progress.reference)
    scale = 100.0 if is_volume else scale_of(summary.primary)
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels(1, 1, (7.0, 3.6), width)
        reached = scale * np.asarray(explored.progress.reached)
        axes.plot(explored.progress.num_trials, reached, color=OKABE_ITO[0], linewidth=2, drawstyle="steps-post")
        pruned = 1 + np.flatnonzero(explored.tried.is_pruned)
        bottom: Any = {"linestyle": "none", "transform": axes.get_xaxis_transform(), "color": INK, "marker": "x", "alpha": 0.5}
        axes.plot(pruned, np.full(len(pruned), 0.03), markersize=4, **bottom)
        best = _label(summary.primary, f"best {summary.primary.name}")
        axes.set(xlabel="trials, as they were begun", ylabel="hypervolume (% of the box)" if is_volume else best)
        return figure


def _progress_caption(summary: Summary) -> str:
    explored = summary.exploration
    if explored is None or explored.progress is None:
        return ""
    pruned = " Crosses: pruned trials." if explored.tried.num_pruned else ""
    if not explored.progress.reference:
        selected = "It was selected on, so it looks better than it is."
        return f"The best {summary.primary.name} after each number of trials. {selected}{pruned}"
    return (
        f"The share of the box between the worst values (the reference point: {reference_in_words(explored)}) and the best ones "
        f"that the front dominates after each number of trials.{pruned}"
    )
