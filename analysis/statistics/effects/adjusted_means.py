"""Level means of factorial designs: plain where the design is balanced and complete, else adjusted by a linear model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.data.cell_by_seed import FloatArray, two_way_fit, value_matrix
from analysis.statistics.data.cells import Cell, block_means
from analysis.statistics.data.effect_coding import effect_codes, levels_in, main_columns, rank
from analysis.statistics.data.level_cells import LevelCells
from studies.run_record import Level, StudyRecord

TOLERANCE = 1e-8
"""How far a level's row may be from the span of the cells' rows."""


@dataclass(frozen=True)
class AdditiveModel:
    """Main effects alone, for the cells of a factorial design that have values.

    A level's row in ``rows_LP`` times the parameters is its mean where all levels of the other factors count the same.
    """

    columns_CP: FloatArray
    rows_LP: FloatArray
    is_estimable: bool
    """Whether the cells determine all main effects."""


def additive_model(study: StudyRecord, cells: Sequence[Cell], wanted: Sequence[tuple[str, Level]]) -> AdditiveModel:
    """The model for these cells, with a row for every wanted level."""
    present = levels_in(study.factors, cells)
    columns = np.hstack([np.ones((len(cells), 1)), *(main_columns(name, levels, cells) for name, levels in present.items())])
    rows = [_row(study, present, factor, level) for factor, level in wanted]
    return AdditiveModel(columns, np.array(rows).reshape(len(rows), columns.shape[1]), rank(columns) == columns.shape[1])


def _row(study: StudyRecord, present: Mapping[str, Sequence[Level]], factor: str, level: Level) -> FloatArray:
    """1 for the mean, the level's codes; of the factors that must have certain levels for it, the mean of these levels' codes."""
    allowed = {**_allowed(study, factor), factor: [level]}
    parts = [np.ones(1)]
    for name, levels in present.items():
        codes = effect_codes(levels)
        chosen = [codes[levels.index(one)] for one in allowed.get(name, ()) if one in levels]
        parts.append(np.mean(chosen, axis=0) if chosen else np.zeros(codes.shape[1]))
    return np.concatenate(parts)


def _allowed(study: StudyRecord, factor: str) -> dict[str, Sequence[Level]]:
    found: dict[str, Sequence[Level]] = {}
    for name, levels in study.conditions.get(factor, {}).items():
        found |= {**_allowed(study, name), name: levels}
    return found


def adjusted_means(
    study: StudyRecord, cells: Sequence[Cell], wanted: Sequence[tuple[str, Level]], metric: str
) -> list[dict[int, float]] | None:
    """Least-squares means of levels by seed, from a linear model of main effects (Searle, Speed and Milliken 1980).

    The model assumes that the factors do not interact. Within a seed it is fitted to the cells that have a value. What is fitted
    is the deviation from the cells' means over seeds (``two_way_fit``), so that a missing cell does not shift its seed by an
    interaction; the means themselves are weighted as if nothing were missing. Where nothing is missing this is the least-squares
    mean of each seed, and in a balanced design the plain mean.

    Args:
        study: Gives factors and conditions.
        cells: All cells of the factorial design.
        wanted: Factors and levels.
        metric: The outcome, in any unit.

    Returns:
        For every wanted level its mean by seed, of the seeds whose cells determine it; None where the cells do not determine
        all main effects.
    """
    values_CS, seeds = value_matrix(cells, metric)
    places = [place for place, row in enumerate(values_CS) if np.isfinite(row).any()]
    if not places:
        return [{} for _ in wanted]
    kept, values_CS = [cells[place] for place in places], values_CS[places]
    model = additive_model(study, kept, wanted)
    if not model.is_estimable:
        return None
    means, _ = two_way_fit(values_CS)
    at_means = model.rows_LP @ np.linalg.pinv(model.columns_CP) @ means
    found: list[dict[int, float]] = [{} for _ in wanted]
    present = levels_in(study.factors, kept)
    for column, seed in enumerate(seeds):
        told, deviations = _within_seed(model, values_CS[:, column] - means)
        for place, (factor, level) in enumerate(wanted):
            if told[place] and level in present[factor]:
                found[place][seed] = float(at_means[place] + deviations[place])
    return found


def _within_seed(model: AdditiveModel, deviations_C: FloatArray) -> tuple[list[bool], FloatArray]:
    """Which rows the cells with a value tell, and the rows' means of their deviations."""
    known = np.isfinite(deviations_C)
    inverse = np.linalg.pinv(model.columns_CP[known])
    spanned = model.rows_LP @ inverse @ model.columns_CP[known]
    told = np.abs(spanned - model.rows_LP).max(axis=1) < TOLERANCE
    return [bool(each) for each in told], model.rows_LP @ inverse @ deviations_C[known]


def level_values(levels: Sequence[LevelCells], metric: str) -> tuple[list[dict[int, float]], bool]:
    """The value of every level by seed: of its cell, or the mean over its cells.

    Returns:
        The values, and whether they are adjusted: those of a factorial design that is not balanced, or lacks a replicate's
        value, if the cells determine its main effects.
    """
    design = levels[0].design if levels else None
    if design and not (design.is_balanced and np.isfinite(value_matrix(design.cells, metric)[0]).all()):
        adjusted = adjusted_means(design.study, design.cells, [(level.factor, level.level) for level in levels], metric)
        if adjusted is not None:
            return adjusted, True
    return [block_means(level.cells, metric) for level in levels], False
