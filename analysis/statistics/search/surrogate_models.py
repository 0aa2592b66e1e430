"""Surrogate models: they predict an outcome from a configuration; and their error on configurations that they have not seen."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from analysis.statistics.search.design_matrix import some_of
from analysis.statistics.search.factor_axes import Array
from analysis.statistics.search.fanova import forest_of

Kind = Literal["random forest", "Gaussian process"]
Model = Callable[[Array], Array]

NUM_FOLDS = 5
NUM_TREES = 48
MOST_FOR_PROCESS = 300
"""Configurations that a Gaussian process is conditioned on; its time grows with their cube."""
MOST_FOR_KERNEL = 120
"""Those by whose likelihood its kernel is chosen."""
MOST_COLUMNS_OF_PROCESS = 24
ONE_SIDED_95 = 1.645
SEED = 20260122


@dataclass(frozen=True)
class Score:
    """The error of a surrogate model on configurations that it was not fitted to (5 folds).

    ``rmse`` is in the outcome's unit; ``r_squared`` is 1 minus the mean squared error over the variance, about 0 for what
    predicts no better than the mean. Its standard error is that of a ratio of two means over the configurations.
    """

    kind: Kind
    rmse: float
    r_squared: float
    standard_error: float

    @property
    def is_above_zero(self) -> bool:
        """Whether it predicts better than the mean, with 95 % confidence on one side."""
        return self.r_squared > ONE_SIDED_95 * self.standard_error


def scores(inputs_NC: Array, values_N: Array) -> list[Score]:
    """The 5-fold cross-validated error of every kind of surrogate model that the number of columns allows, the best first.

    Args:
        inputs_NC: Configurations × columns, see ``model_inputs``.
        values_N: The outcome of each, in its unit.
    """
    kinds: list[Kind] = ["random forest"]
    if inputs_NC.shape[1] <= MOST_COLUMNS_OF_PROCESS:
        kinds.append("Gaussian process")
    folds = np.random.default_rng(SEED).permutation(len(values_N)) % NUM_FOLDS
    return sorted((_score(kind, inputs_NC, values_N, folds) for kind in kinds), key=lambda score: score.rmse)


def _score(kind: Kind, inputs_NC: Array, values_N: Array, folds: Any) -> Score:
    errors = np.empty(len(values_N))
    for fold in range(NUM_FOLDS):
        seen = folds != fold
        model = fit(kind, inputs_NC[seen], values_N[seen])
        errors[~seen] = model(inputs_NC[~seen]) - values_N[~seen]
    squared, deviations = errors**2, (values_N - values_N.mean()) ** 2
    ratio = float(squared.mean() / deviations.mean())
    standard_error = float(np.std(squared - ratio * deviations, ddof=1) / deviations.mean()) / len(values_N) ** 0.5
    return Score(kind, float(squared.mean()) ** 0.5, 1 - ratio, standard_error)


def fit(kind: Kind, inputs_NC: Array, values_N: Array) -> Model:
    """Fit a surrogate model and return its prediction function; the kernel of a Gaussian process is chosen anew each time."""
    if kind == "random forest":
        predict: Model = forest_of(inputs_NC, values_N, num_trees=NUM_TREES, seed=SEED).predict
    else:
        kernel = _chosen_kernel(inputs_NC, values_N)
        predict = _fit_process(inputs_NC, values_N, kernel, MOST_FOR_PROCESS, optimizer=None).predict
    return predict


def _chosen_kernel(inputs_NC: Array, values_N: Array) -> Any:
    """Matérn 5/2 with a length for every column, and noise, by marginal likelihood."""
    lengths = Matern(np.ones(inputs_NC.shape[1]), length_scale_bounds=(0.05, 100.0), nu=2.5)
    start = ConstantKernel(1.0, (0.01, 100.0)) * lengths + WhiteKernel(0.1, (1e-6, 10.0))
    return _fit_process(inputs_NC, values_N, start, MOST_FOR_KERNEL, optimizer="fmin_l_bfgs_b").kernel_


def _fit_process(inputs_NC: Array, values_N: Array, kernel: Any, most: int, *, optimizer: str | None) -> Any:
    rows = some_of(np.arange(len(values_N)), most, np.random.default_rng(SEED))
    process = GaussianProcessRegressor(kernel, normalize_y=True, optimizer=optimizer, random_state=SEED)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # a length at its bound: the column does nothing
        return process.fit(inputs_NC[rows], values_N[rows])
