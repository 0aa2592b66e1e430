"""The configurations that a search or a random design has tried, as a matrix for importance and surrogate models."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.statistics.data.cells import finite_values, group_by_levels
from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.search.factor_axes import Array, FactorAxis, factor_axes
from studies.run_record import PRUNED, RunRecord, StudyRecord

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DesignMatrix:
    """Configurations in the order in which they were begun, with the means of what their replicates measured.

    Args:
        axes: Of the factors.
        places_NF: Where each configuration stands on each axis; NaN where the factor is inactive.
        values: Of each outcome, one for each configuration; NaN where it was pruned or nothing finished.
        is_pruned: Which configurations were stopped early.
    """

    axes: Sequence[FactorAxis]
    places_NF: Array
    values: Mapping[Outcome, Array]
    is_pruned: Mask

    @property
    def num_pruned(self) -> int:
        """How many configurations were stopped early."""
        return int(self.is_pruned.sum())

    def known(self, outcome: Outcome) -> Mask:
        """Which configurations have a value."""
        return np.isfinite(self.values[outcome])


def design_matrix_of(study: StudyRecord, runs: Sequence[RunRecord], outcomes: Sequence[Outcome]) -> DesignMatrix:
    """The searched configurations, or the cells of a random design; finalists' replicates are of other seeds and left out."""
    role = "search" if study.design == "adaptive_search" else "cell"
    cells = list(group_by_levels(run for run in runs if run.role == role).values())
    axes = factor_axes(study, [dict(cell[0].levels) for cell in cells])
    places = [
        [axis.place(cell[0].levels[axis.factor]) if axis.factor in cell[0].levels else math.nan for axis in axes]
        for cell in cells
    ]
    is_pruned = np.array([any(run.status == PRUNED for run in cell) for cell in cells], dtype=np.bool_)
    values = {outcome: _means(cells, outcome, is_pruned) for outcome in outcomes}
    return DesignMatrix(axes, np.array(places, dtype=np.float64).reshape(len(cells), len(axes)), values, is_pruned)


def _means(cells: Sequence[Sequence[RunRecord]], outcome: Outcome, is_pruned: Mask) -> Array:
    found = [list(finite_values(cell, outcome.metric).values()) for cell in cells]
    means = [
        float(np.mean(of_cell)) if of_cell and not pruned else math.nan for of_cell, pruned in zip(found, is_pruned, strict=True)
    ]
    return np.array(means, dtype=np.float64)


def model_inputs(axes: Sequence[FactorAxis], places_NF: Array) -> Array:
    """The inputs of a model: the columns of all axes beside each other.

    Args:
        axes: Of the factors.
        places_NF: Configurations × factors, NaN where a factor is inactive.

    Returns:
        Configurations × columns.
    """
    columns = [axis.columns(places_NF[:, i]) for i, axis in enumerate(axes)]
    return np.hstack(columns) if columns else np.empty((len(places_NF), 0))


def some_of(rows: npt.NDArray[np.intp], most: int, generator: np.random.Generator) -> npt.NDArray[np.intp]:
    """All rows, or ``most`` of them drawn at random without replacement, in their order."""
    return rows if len(rows) <= most else np.sort(generator.choice(rows, most, replace=False))
