"""What the analysis uses of Optuna beside its public interface: the exact hypervolume of three objectives and more.

``CHECKED_FOR`` names the versions for which this module was written and tested; pyproject.toml asks for the same ones. The
function is looked for when this module is imported: where Optuna has moved or changed it, an error says so.
"""

import inspect
from pkgutil import resolve_name
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna

CHECKED_FOR = "optuna>=5.0,<6"
"""The versions for which this module was checked, as pyproject.toml has them."""

_HYPERVOLUME = "optuna._hypervolume:compute_hypervolume"
_PARAMETERS = ["loss_vals", "reference_point", "assume_pareto"]


def exact_hypervolume(front_NO: npt.NDArray[np.float64]) -> float:
    """The volume between a front and the point whose coordinates are all 1 (Zitzler and Thiele 1998).

    Args:
        front_NO: Losses of at most 1, one row per configuration and one column per objective; no row dominates another.
    """
    return float(resolve_name(_HYPERVOLUME)(front_NO, np.ones(front_NO.shape[1]), assume_pareto=True))


def check() -> None:
    """Look whether the installed Optuna has the function that this module uses, with the parameters that it expects.

    Raises:
        RuntimeError: It has not; the message names the installed version and the function.
    """
    function = _function()
    if not callable(function) or list(inspect.signature(function).parameters) != _PARAMETERS:
        raise RuntimeError(
            f"spikesweep relies on {_HYPERVOLUME}({', '.join(_PARAMETERS)}), which Optuna {optuna.__version__} lacks or has "
            f"changed. Install {CHECKED_FOR}, or adapt analysis/statistics/optuna_internals.py."
        )


def _function() -> Any:
    try:
        return resolve_name(_HYPERVOLUME)
    except (ImportError, AttributeError):
        return None


check()
