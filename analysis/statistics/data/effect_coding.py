"""Effect coding: the columns of a linear model for the cells of a factorial design."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from analysis.statistics.data.cell_by_seed import FloatArray
from analysis.statistics.data.cells import Cell
from analysis.statistics.data.level_cells import depends_on
from studies.run_record import Level, StudyRecord

OVERLAP = 1e-9
Term = tuple[str, ...]
"""The factors of a main effect or of an interaction, in the study's order."""


def levels_in(factors: Mapping[str, Sequence[Level]], cells: Sequence[Cell]) -> dict[str, list[Level]]:
    """The levels of every factor that at least one cell has, in the study's order."""
    return {
        name: [level for level in levels if any(name in cell[0].levels and cell[0].levels[name] == level for cell in cells)]
        for name, levels in factors.items()
    }


def effect_codes(levels: Sequence[Level]) -> FloatArray:
    """Sum-to-zero coding of k levels: a k × (k - 1) matrix, an identity with a last row of -1, so that effects add up to 0."""
    num = len(levels)
    return np.vstack([np.eye(num - 1), -np.ones((1, num - 1))]) if num > 1 else np.zeros((num, 0))


def main_columns(name: str, levels: Sequence[Level], cells: Sequence[Cell]) -> FloatArray:
    """A factor's columns, a row for every cell; 0 where the factor is inactive.

    So the effect of the factor that it depends on is an average over it.
    """
    codes = effect_codes(levels)
    columns = np.zeros((len(cells), codes.shape[1]))
    for row, cell in enumerate(cells):
        if name in cell[0].levels and cell[0].levels[name] in levels:
            columns[row] = codes[levels.index(cell[0].levels[name])]
    return columns


def term_columns(study: StudyRecord, cells: Sequence[Cell]) -> dict[Term, FloatArray]:
    """The columns of every main effect, then of every interaction of two factors: all products of theirs.

    A factor that is only active beside some levels of another has no interaction with it.
    """
    present = levels_in(study.factors, cells)
    mains = {name: main_columns(name, levels, cells) for name, levels in present.items() if len(levels) > 1}
    pairs = [pair for pair in combinations(mains, 2) if not (depends_on(study, *pair) or depends_on(study, *pair[::-1]))]
    interactions: dict[Term, FloatArray] = {(first, second): _products(mains[first], mains[second]) for first, second in pairs}
    return {**{(name,): columns for name, columns in mains.items()}, **interactions}


def _products(first: FloatArray, second: FloatArray) -> FloatArray:
    return (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)


def shared_terms(study: StudyRecord, cells: Sequence[Cell]) -> dict[str, list[Term]]:
    """For every factor the terms of the model from which these cells cannot wholly separate its main effect.

    They are the main effects of others and the interactions of two factors whose columns, the mean apart, are not orthogonal to
    the factor's: none in a complete full factorial.
    """
    bases = {term: span(columns - columns.mean(axis=0)) for term, columns in term_columns(study, cells).items()}
    return {
        name: [term for term, basis in bases.items() if term != (name,) and _overlap(bases[name,], basis)]
        for name in study.factors
        if (name,) in bases
    }


def _overlap(first: FloatArray, second: FloatArray) -> bool:
    return float(np.abs(first.T @ second).max(initial=0.0)) > OVERLAP


def span(columns: FloatArray) -> FloatArray:
    """Orthonormal columns that span the same."""
    if not columns.size:
        return columns[:, :0]
    basis, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    kept: FloatArray = basis[:, sizes > max(columns.shape) * np.finfo(np.float64).eps * max(sizes.max(), 1.0)]
    return kept


def rank(columns: FloatArray) -> int:
    """How many of the columns are independent."""
    return int(np.linalg.matrix_rank(columns)) if columns.size else 0
