"""The tables of a paper: the results of all cells, and one for every outcome, with what is decidedly the best in bold type.

Bold is a level that is better than every other level of its factor (or a configuration that is better than every other one
shown), see ``decided_best``, where no verdict of the report says otherwise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Row, Table, heading
from analysis.reporting.topics.effects import factor_and_cell
from analysis.reporting.topics.rankings import HEADINGS, shown
from analysis.reporting.topics.spiking import PICOJOULES
from analysis.statistics.data.cells import finite_values, group_by_levels
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.level_cells import AROUND_A_BASELINE, FACTORIAL, level_cells
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME, TEST_OUTCOME, Outcome, named, outcomes_of
from analysis.statistics.effects.adjusted_means import level_values
from analysis.statistics.effects.best_level import decided_best
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.search.rankings import Ranking
from analysis.statistics.spiking import CellResult, CostPoint
from analysis.statistics.summary import Summary
from studies.run_record import ACCURACY, TEST_ACCURACY, Level, StudyRecord, level_in_words

MOST_LISTED = 40
"""Of more cells only those on a front are listed."""
MOST_UNFOLDED = 12
MOST_NAMED, LONGEST_NAME = 14, 36
"""Points of a figure, and characters of a name, that have room in it."""


def paper_tables(summary: Summary) -> list[Table]:
    """The results of all cells, and a table for every outcome: of its effects, else of the first ranking."""
    results = replace(_results(summary), title="results", label=f"{summary.study.name}-results")
    tables = [results, *(_table(summary, outcome) for outcome in outcomes_of(summary.study))]
    return [table for table in tables if table and table.rows]


def results_tables(summary: Summary) -> list[Table]:
    """The results of all cells as a page shows them, with the fronts on which they are."""
    table = _results(summary)
    points = {frozenset(point.levels.items()): point for point in summary.spiking.points}
    if not table.rows or not points:
        return [table] if table.rows else []
    fronts = [_fronts(points.get(frozenset(cell.levels.items()))) for cell in listed_cells(summary)]
    rows = [replace(row, cells=[*row.cells, front]) for row, front in zip(table.rows, fronts, strict=True)]
    caption = (
        f"{table.caption} A cell is on a Pareto front if no other has fewer operations (or less energy) at no lower accuracy, "
        "by the means; one whose interval overlaps a neighbour's may be on it by chance."
    )
    columns = [*table.columns, Column("Pareto front of", is_text=True)]
    if are_numbered(summary):
        columns = [Column("no."), *columns]
        rows = [_numbered(row, place) for place, row in enumerate(rows, start=1)]
    return [replace(table, columns=columns, rows=rows, caption=caption)]


def _numbered(row: Row, number: int) -> Row:
    return replace(row, cells=[str(number), *row.cells], bold=None if row.bold is None else row.bold + 1)


def point_names(summary: Summary) -> dict[int, str]:
    """What the points of a figure are called, by their index: their cells' names, or their numbers in the table of cells.

    All points have one if they are few, else those on a front.
    """
    points = summary.spiking.points
    named = list(range(len(points)))
    if len(points) > MOST_NAMED:
        named = [i for i in named if points[i].is_on_operations_front or points[i].is_on_energy_front]
    if are_numbered(summary):
        places = {frozenset(cell.levels.items()): str(place) for place, cell in enumerate(listed_cells(summary), start=1)}
        return {i: places.get(frozenset(points[i].levels.items()), "") for i in named}
    return {i: _short_name(summary, points[i]) for i in named}


def are_numbered(summary: Summary) -> bool:
    """Whether names would be too many or too long for a figure, so that cells have numbers there and in their table."""
    names = [_short_name(summary, point) for point in summary.spiking.points]
    return len(names) > MOST_NAMED or any(len(name) > LONGEST_NAME for name in names)


def _short_name(summary: Summary, point: CostPoint) -> str:
    named = formatting.cell_in_short if summary.study.baseline else formatting.configuration_in_words
    return named(summary.study, point.levels)


def _fronts(point: CostPoint | None) -> str:
    on = {"operations": point.is_on_operations_front, "energy": point.is_on_energy_front} if point else {}
    return ", ".join(name for name, is_on in on.items() if is_on) or formatting.NONE


def listed_cells(summary: Summary) -> Sequence[CellResult]:
    """The cells of a design, those that a ranking shows, or of very many those on a front."""
    cells = {frozenset(cell.levels.items()): cell for cell in summary.spiking.cells}
    if summary.rankings:
        keys = [frozenset(one.levels.items()) for one in shown(summary.rankings[0])]
        return [cells[key] for key in keys if key in cells]
    if len(cells) > MOST_LISTED:
        on_front = [one for one in summary.spiking.points if one.is_on_operations_front or one.is_on_energy_front]
        keys = [frozenset(point.levels.items()) for point in on_front] or list(cells)
        return [cells[key] for key in keys[:MOST_LISTED]]
    return sorted(cells.values(), key=lambda cell: cell.levels != summary.study.baseline)


def _results(summary: Summary) -> Table:
    """A row for every cell. Where there is little room only what is compared has its interval."""
    study, cells = summary.study, listed_cells(summary)
    validation, test = (next(iter(named)).name for named in (_named(summary, ACCURACY), _named(summary, TEST_ACCURACY)))
    power, prefix = _prefix([cell.operations.mean for cell in cells if cell.operations])
    costs: list[tuple[str, str, list[Estimate | None]]] = [
        ("spikes per neuron", "spikes", [cell.spikes_per_neuron for cell in cells]),
        (f"synaptic operations{prefix}", f"ops.{prefix}", [formatting.divided(cell.operations, power) for cell in cells]),
        ("energy, µJ", "energy, µJ", [formatting.divided(cell.energy_pj, PICOJOULES) for cell in cells]),
    ]
    costs = [cost for cost in costs if any(cost[2])]
    columns = [
        Column("cell", is_text=True),
        Column("seeds", only="wide"),
        Column(f"{validation} %", short_title="val. %"),
        Column(f"{test} %", only="wide"),
        Column("test %", only="narrow"),
    ]
    for title, short_title, _ in costs:
        columns += [Column(title, only="wide"), Column(short_title, only="narrow")]
    best = _best_cell(summary)
    rows = []
    for place, cell in enumerate(cells):
        row = [_cell_name(study, cell.levels), _seeds(cell)]
        row += [_mean(ACCURACY_OUTCOME, cell.accuracy), _mean(ACCURACY_OUTCOME, cell.test_accuracy)]
        row.append(formatting.mean(ACCURACY_OUTCOME, cell.test_accuracy))
        for _, _, values in costs:
            row += [formatting.plus_minus(values[place]), _rounded(values[place])]
        rows.append(Row(row, "baseline" if cell.levels == study.baseline else "", bold=2 if cell.levels == best else None))
    is_folded = len(rows) > MOST_UNFOLDED
    return Table("Cells", _results_caption(summary, len(cells)), columns, rows, is_folded=is_folded, is_detail=True)


def _results_caption(summary: Summary, num_listed: int) -> str:
    study, num = summary.study, len(summary.spiking.cells)
    said = [
        f"Accuracy and cost of each cell in the study {study.name}, means over seeds ± half of the 95 % interval (Student's t)."
    ]
    if study.baseline and study.design in AROUND_A_BASELINE:
        said.append(
            f"The baseline is {formatting.levels_named(study, study.baseline)}; the other cells differ from it as they say."
        )
    if summary.stability and summary.stability.num_collapsed:
        said.append("Some replicates collapse, so accuracies have no intervals.")
    if any(cell.operations for cell in summary.spiking.cells):
        said.append(
            "Operations and energy are per image; a constant input counts once. Energy is modelled: 4.6 pJ per MAC, "
            "0.9 pJ per AC (45 nm)."
        )
    if num_listed < num:
        said.append(f"Of {num} cells these are the best or on a front.")
    if _best_cell(summary) is not None:
        said.append("Bold: decidedly better than every other cell.")
    return " ".join(said)


def _named(summary: Summary, metric: str) -> list[Outcome]:
    return [outcome for outcome in (*outcomes_of(summary.study), named(summary.study, TEST_OUTCOME)) if outcome.metric == metric]


def _cell_name(study: StudyRecord, levels: Mapping[str, Level]) -> str:
    return (formatting.cell_in_words if study.design in AROUND_A_BASELINE else formatting.configuration_in_words)(study, levels)


def _seeds(cell: CellResult) -> str:
    return formatting.seeds(cell.accuracy.num_values if cell.accuracy else 0, cell.num_planned)


def _best_cell(summary: Summary) -> Mapping[str, Level] | None:
    """The cell that is decidedly better than all others in accuracy, where that is what the study is judged on first."""
    found = summary.stability
    return found.cells[0].levels if found and found.is_decided and summary.primary.metric == ACCURACY else None


def _prefix(values: Sequence[float]) -> tuple[float, str]:
    """A thousand or a million, if all of the values are larger, and how a heading says so."""
    smallest = min(values, default=0.0)
    return next(((power, name) for power, name in ((1e6, ", M"), (1e3, ", k")) if smallest >= power), (1.0, ""))


def _rounded(estimate: Estimate | None) -> str:
    return formatting.NONE if estimate is None else f"{estimate.mean:.3g}" if estimate.mean < 1000 else f"{estimate.mean:.0f}"


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
        Row(
            _effect_cells(summary.study, outcome, effect),
            group=factor_and_cell(summary.study, effect),
            bold=2 if any(effect is one for one in best) else None,
        )
        for effect in effects
    ]
    what = "Means over all cells that have a level" if summary.study.design in FACTORIAL else "Simple effects"
    caption = (
        f"{heading(outcome)} in the study {summary.study.name}. {what}, ± half of the 95 % interval (Student's t over seeds); "
        "differences from the baseline, paired by seed; p of the exact sign-flip test, corrected by Holm over the contrasts of "
        f"this table, and the intervals that this test does not reject.{formatting.smallest_p_in_words(effects)} Bold: decidedly "
        "better than every other level of its factor."
    )
    return Table(outcome.name, caption, columns, rows, label=_label(summary, outcome))


def _effect_cells(study: StudyRecord, outcome: Outcome, effect: LevelEffect) -> list[str]:
    compared = ["baseline" if effect.is_baseline else formatting.NONE, ""]
    if effect.contrast:
        compared = [_difference(outcome, effect.contrast.difference), formatting.p_value(effect.contrast.corrected_p)]
    seeds = formatting.seeds(effect.num_finished, effect.num_planned)
    return [formatting.level_name(study, effect.factor, effect.level), seeds, _mean(outcome, effect.estimate), *compared]


def _best_level(summary: Summary, outcome: Outcome, effects: Sequence[LevelEffect]) -> LevelEffect | None:
    """The level that is decidedly better than all others of its factor, where the verdicts agree."""
    levels = level_cells(summary.study, summary.runs)
    by_level = dict(
        zip(((one.factor, level_in_words(one.level)) for one in levels), level_values(levels, outcome.metric)[0], strict=True)
    )
    values = [by_level[effect.factor, level_in_words(effect.level)] for effect in effects]
    place = decided_best(values, outcome)
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
    best = decided_best(values, outcome)
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
    if estimate is None or not math.isfinite(estimate.low):
        return mean
    return f"{mean} ± {formatting.number(outcome, estimate.half_width)}"


def _difference(outcome: Outcome, estimate: Estimate) -> str:
    mean, low, high = (formatting.contrast_number(outcome, bound) for bound in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low}, {high})" if math.isfinite(estimate.low) else mean
