"""The tables of a paper: one for every outcome, with what is decidedly the best in bold type.

Bold is a level that is better than every other level of its factor (or a configuration that is better than every other one
shown), see ``decided_best``, where no verdict of the report says otherwise.
"""

import math
from collections.abc import Sequence

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Row, Table, heading
from analysis.reporting.topics.effects import factor_and_cell
from analysis.reporting.topics.rankings import HEADINGS, shown
from analysis.statistics.data.cells import finite_values, group_by_levels
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.level_cells import FACTORIAL, level_cells
from analysis.statistics.data.outcomes import Outcome, outcomes_of
from analysis.statistics.effects.adjusted_means import level_values
from analysis.statistics.effects.best_level import decided_best
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.search.rankings import Ranking
from analysis.statistics.summary import Summary
from studies.run_record import level_in_words


def paper_tables(summary: Summary) -> list[Table]:
    """A table for every outcome: of its effects, else of the first ranking; none where there is neither."""
    tables = [_table(summary, outcome) for outcome in outcomes_of(summary.study)]
    return [table for table in tables if table and table.rows]


def _table(summary: Summary, outcome: Outcome) -> Table | None:
    if outcome in summary.effects:
        return _effect_table(summary, outcome)
    return _ranking_table(summary, summary.rankings[0], outcome) if summary.rankings else None


def _effect_table(summary: Summary, outcome: Outcome) -> Table:
    effects = [effect for effect in summary.effects[outcome] if effect.num_cells]
    best = [_best_level(summary, outcome, [one for one in effects if one.factor == factor]) for factor in summary.study.factors]
    columns = [
        Column("", is_text=True),
        Column("seeds"),
        Column(f"{outcome.name}{formatting.unit(outcome)}"),
        Column(f"difference{' (points)' if outcome.is_fraction else ''}"),
        Column("p"),
    ]
    rows = [
        Row(_effect_cells(outcome, effect), group=factor_and_cell(effect), bold=2 if any(effect is one for one in best) else None)
        for effect in effects
    ]
    what = "Means over all cells that have a level" if summary.study.design in FACTORIAL else "Simple effects"
    caption = (
        f"{heading(outcome)} in the study {summary.study.name}. {what}, ± half of the 95 % interval (Student's t over seeds); "
        "differences from the baseline, paired by seed; p of the exact sign-flip test, corrected by Holm over the contrasts of "
        "this table, and the intervals that this test does not reject. Bold: decidedly better than every other level of its "
        "factor."
    )
    return Table(outcome.name, caption, columns, rows, label=_label(summary, outcome))


def _effect_cells(outcome: Outcome, effect: LevelEffect) -> list[str]:
    compared = ["baseline" if effect.is_baseline else formatting.NONE, ""]
    if effect.contrast:
        compared = [_difference(outcome, effect.contrast.difference), formatting.p_value(effect.contrast.corrected_p)]
    seeds = formatting.seeds(effect.num_finished, effect.num_planned)
    return [level_in_words(effect.level), seeds, _mean(outcome, effect.estimate), *compared]


def _best_level(summary: Summary, outcome: Outcome, effects: Sequence[LevelEffect]) -> LevelEffect | None:
    """The level that is decidedly better than all others of its factor, where the verdicts agree."""
    levels = level_cells(summary.study, summary.runs)
    by_level = dict(
        zip(((one.factor, level_in_words(one.level)) for one in levels), level_values(levels, outcome.metric)[0], strict=True)
    )
    values = [by_level[effect.factor, level_in_words(effect.level)] for effect in effects]
    place = decided_best(values, outcome.direction)
    if place is None:
        return None
    better, worse = ("higher", "lower") if outcome.direction == "maximize" else ("lower", "higher")
    if effects[place].is_baseline:
        agrees = all(effect.is_baseline or effect.verdict == worse for effect in effects)
    else:
        agrees = effects[place].verdict == better
    return effects[place] if agrees else None


def _ranking_table(summary: Summary, ranking: Ranking, outcome: Outcome) -> Table:
    found = [configuration for configuration in shown(ranking) if outcome in configuration.estimates]
    by_levels = group_by_levels(run for run in summary.asked if run.role == ranking.kind)
    values = [finite_values(by_levels[frozenset(one.levels.items())], outcome.metric) for one in found]
    best = decided_best(values, outcome.direction)
    columns = [
        Column("rank"),
        Column("configuration", is_text=True),
        Column("seeds"),
        Column(f"{outcome.name}{formatting.unit(outcome)}"),
    ]
    rows = []
    for place, one in enumerate(found):
        configuration = formatting.configuration_in_words(summary.study, one.levels)
        seeds = formatting.seeds(one.num_finished(outcome), one.num_planned)
        cells = [str(one.rank or formatting.NONE), configuration, seeds, _mean(outcome, one.estimates.get(outcome))]
        rows.append(Row(cells, bold=3 if place == best else None))
    caption = (
        f"{heading(outcome)} in the study {summary.study.name}. {HEADINGS[ranking.kind]}, ranked by {summary.primary.name}; mean "
        "± half of the 95 % interval (Student's t over seeds). Bold: decidedly better than all others shown."
    )
    return Table(outcome.name, caption, columns, rows, label=_label(summary, outcome))


def _label(summary: Summary, outcome: Outcome) -> str:
    return f"{summary.study.name}-{outcome.metric}"


def _mean(outcome: Outcome, estimate: Estimate | None) -> str:
    """A mean ± half of its interval, to as many digits as in the rest of the report."""
    mean = formatting.mean(outcome, estimate)
    if estimate is None or estimate.num_values < 2:
        return mean
    return f"{mean} ± {formatting.number(outcome, estimate.half_width)}"


def _difference(outcome: Outcome, estimate: Estimate) -> str:
    mean, low, high = (formatting.contrast_number(outcome, bound) for bound in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low}, {high})" if math.isfinite(estimate.low) else mean
