"""What is fitted to times: exponents, a fixed cost beside one that grows, and shares of several known quantities of work."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear


@dataclass(frozen=True)
class PowerLaw:
    """``y = factor · x^exponent``, with the exponent's standard error (None of two points)."""

    exponent: float
    error: float | None
    factor: float


def power_law(xs: Sequence[float], ys: Sequence[float]) -> PowerLaw:
    """The least squares of log y on log x.

    Raises:
        ValueError: There are fewer than two different x.
    """
    if len(set(xs)) < 2:
        raise ValueError(f"an exponent needs at least two different x, but got {list(xs)}")
    log_x, log_y = np.log(xs), np.log(ys)
    centred = log_x - log_x.mean()
    exponent = float(centred @ log_y / (centred @ centred))
    intercept = float(log_y.mean() - exponent * log_x.mean())
    error = None
    if len(xs) > 2:
        residuals = log_y - intercept - exponent * log_x
        error = math.sqrt(float(residuals @ residuals) / (len(xs) - 2) / float(centred @ centred))
    return PowerLaw(exponent, error, math.exp(intercept))


@dataclass(frozen=True)
class FixedAndGrowing:
    """``seconds = fixed + slope · work``; a fixed cost below 0 says that time grows faster than the work."""

    fixed: float
    slope: float

    def fixed_share(self, work: float) -> float:
        """Of the time at so much work."""
        return self.fixed / (self.fixed + self.slope * work)


def fixed_and_growing(work: Sequence[float], seconds: Sequence[float]) -> FixedAndGrowing:
    """The line with the least squares of relative errors, so that small times count as much as large ones."""
    y = np.asarray(seconds)
    columns = np.stack([np.ones(len(y)), np.asarray(work)], axis=1) / y[:, None]
    scale = np.abs(columns).max(axis=0)
    (fixed, slope), *_ = np.linalg.lstsq(columns / scale, np.ones(len(y)), rcond=None)
    return FixedAndGrowing(float(fixed / scale[0]), float(slope / scale[1]))


@dataclass(frozen=True)
class CostModel:
    """``seconds = Σ cost · quantity``; and the median relative error of that."""

    seconds_per_unit: Mapping[str, float]
    median_error: float

    def shares(self, quantities: Mapping[str, float]) -> dict[str, float]:
        """Of the time that the model predicts for these quantities, what is each one's."""
        parts = {name: cost * quantities[name] for name, cost in self.seconds_per_unit.items()}
        return {name: part / sum(parts.values()) for name, part in parts.items()}


def cost_model(quantities: Sequence[Mapping[str, float]], seconds: Sequence[float], at_least: Mapping[str, float]) -> CostModel:
    """The costs with the least squares of relative errors.

    Args:
        quantities: Of every measurement, by name; the same names for all.
        seconds: That it took.
        at_least: What the cost of some is known not to be below; that of the others is 0.
    """
    names, y = list(quantities[0]), np.asarray(seconds)
    columns = np.array([[row[name] for name in names] for row in quantities]) / y[:, None]
    scale = columns.max(axis=0)
    least = np.array([at_least.get(name, 0.0) for name in names]) * scale
    costs = lsq_linear(columns / scale, np.ones(len(y)), bounds=(least, np.inf)).x / scale
    error = float(np.median(np.abs(columns @ costs - 1)))
    return CostModel(dict(zip(names, costs.tolist(), strict=True)), error)
