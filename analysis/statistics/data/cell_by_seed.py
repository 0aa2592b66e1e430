"""The values of a design as a matrix of cells by seeds, and its split into means of cells and effects of seeds."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analysis.statistics.data.cells import Cell, finite_values

FloatArray = npt.NDArray[np.float64]


def value_matrix(cells: Sequence[Cell], metric: str) -> tuple[FloatArray, list[int]]:
    """A metric, a row for every cell and a column for every seed that any cell has a value of; NaN where there is none.

    Returns:
        The matrix, and its columns' seeds in ascending order.
    """
    values = [finite_values(cell, metric) for cell in cells]
    seeds = sorted(set().union(*values))
    matrix = np.array([[of_cell.get(seed, np.nan) for seed in seeds] for of_cell in values], dtype=np.float64)
    return matrix.reshape(len(cells), len(seeds)), seeds


def two_way_fit(values_CS: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fit cell + seed by least squares: the mean of every cell, adjusted for seeds that it lacks, and the effect of every seed.

    In a matrix without gaps these are its rows' means, and its columns' means minus the mean of all. With gaps they are the
    intra-block estimates of an incomplete block design (Cochran and Cox 1957, chapter 9): seeds from the normal equations that
    are left when cells are eliminated. A cell without a value gets NaN.

    Args:
        values_CS: Cells by seeds, NaN where there is no value; every seed has one.

    Returns:
        The cells' means, and the seeds' effects, whose sum is 0.
    """
    known = np.isfinite(values_CS)
    filled = np.where(known, values_CS, 0.0)
    num_in_cell = known.sum(axis=1)
    share = known / np.maximum(num_in_cell, 1)[:, None]
    rest = filled.sum(axis=0) - share.T @ filled.sum(axis=1)
    effects = np.linalg.lstsq(seed_equations(known), rest, rcond=None)[0]
    effects -= effects.mean() if len(effects) else 0.0
    sums = filled.sum(axis=1) - known @ effects
    means = np.divide(sums, num_in_cell, out=np.full(len(sums), np.nan), where=num_in_cell > 0)
    return means, effects


def seed_equations(known_CS: npt.NDArray[np.bool_]) -> FloatArray:
    """The matrix of the normal equations for the seeds after the cells are eliminated.

    Its rank is the number of parameters that the seeds add to those of the cells (Cochran and Cox 1957, chapter 9).
    """
    share = known_CS / np.maximum(known_CS.sum(axis=1), 1)[:, None]
    equations: FloatArray = np.diag(known_CS.sum(axis=0).astype(np.float64)) - known_CS.T.astype(np.float64) @ share
    return equations
