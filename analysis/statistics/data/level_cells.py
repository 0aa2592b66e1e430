"""The cells that represent a level: one in designs around a baseline, all that have the level in factorial ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.statistics.data.cells import Cell, active_levels, group_by_levels, reference_cell
from studies.run_record import Level, RunRecord, StudyRecord

AROUND_A_BASELINE = ("one_factor_at_a_time", "leave_one_out")
FACTORIAL = ("full_factorial", "fractional_factorial")


@dataclass(frozen=True)
class FactorialDesign:
    """All cells of a factorial study."""

    study: StudyRecord
    cells: Sequence[Cell]
    is_balanced: bool
    """Whether plain means over a level's cells differ by the level alone (see ``is_balanced``)."""


@dataclass(frozen=True)
class LevelCells:
    """One level of one factor and the cells that represent it, none where the design lacks them.

    ``in_cell`` is what its factor's reference cell has other than the baseline: empty unless the factor is conditional.
    """

    factor: str
    level: Level
    is_baseline: bool
    cells: Sequence[Cell]
    in_cell: Mapping[str, Level]
    design: FactorialDesign | None = None
    """None in designs around a baseline."""


def level_cells(study: StudyRecord, runs: Sequence[RunRecord]) -> list[LevelCells]:
    """Every level of every factor, in the study's order, with the cells that its effect is made of.

    Designs around a baseline give simple effects: a level stands in its factor's reference cell. Factorial designs give main
    effects: a level stands in all cells that have it. Other designs compare no levels.
    """
    if study.design in AROUND_A_BASELINE:
        return _simple(study, runs)
    return _main(study, runs) if study.design in FACTORIAL else []


def _simple(study: StudyRecord, runs: Sequence[RunRecord]) -> list[LevelCells]:
    cells = group_by_levels(run for run in runs if run.role == "cell")
    baseline = active_levels(study, study.baseline)
    found = []
    for factor, levels in study.factors.items():
        reference = reference_cell(study, factor)
        in_cell = {name: level for name, level in reference.items() if name != factor and baseline.get(name, _ABSENT) != level}
        for level in levels:
            wanted = active_levels(study, {**study.baseline, **reference, factor: level})
            cell = cells.get(frozenset(wanted.items())) if factor in wanted else None
            is_baseline = level == reference.get(factor, _ABSENT)
            found.append(LevelCells(factor, level, is_baseline, [cell] if cell else [], in_cell))
    return found


def _main(study: StudyRecord, runs: Sequence[RunRecord]) -> list[LevelCells]:
    cells = list(group_by_levels(run for run in runs if run.role == "cell").values())
    found = [
        LevelCells(
            factor,
            level,
            level == study.baseline.get(factor, _ABSENT),
            [cell for cell in cells if cell[0].levels.get(factor, _ABSENT) == level],
            {},
        )
        for factor, levels in study.factors.items()
        for level in levels
    ]
    design = FactorialDesign(study, cells, not unbalanced_levels(study, found))
    return [replace(level, design=design) for level in found]


_ABSENT = object()
"""Equals no level; None is one."""


def unbalanced_levels(study: StudyRecord, levels: Sequence[LevelCells]) -> list[LevelCells]:
    """The levels whose cells are not balanced against those of their factor's baseline level."""
    baselines = {level.factor: level for level in levels if level.is_baseline and level.cells}
    return [
        level
        for level in levels
        if level.cells and level.factor in baselines and not is_balanced(study, level, baselines[level.factor])
    ]


def is_balanced(study: StudyRecord, level: LevelCells, baseline: LevelCells) -> bool:
    """Whether a level's cells have the other factors' levels in the same shares as the baseline level's cells.

    Where not, the two means also differ because of the other factors. Factors that are active only beside some levels of this
    one are left out.
    """
    others = [name for name in study.factors if name != level.factor and not depends_on(study, name, level.factor)]
    return all(_shares(level, name) == _shares(baseline, name) for name in others)


def depends_on(study: StudyRecord, name: str, factor: str) -> bool:
    """Whether a factor is active only under a condition on another one, directly or through a third."""
    conditions = study.conditions.get(name, {})
    return factor in conditions or any(depends_on(study, other, factor) for other in conditions)


def _shares(level: LevelCells, name: str) -> dict[object, float]:
    found = [cell[0].levels.get(name, _ABSENT) for cell in level.cells]
    return {value: found.count(value) / len(found) for value in found}
