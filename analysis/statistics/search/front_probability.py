"""How often a configuration is on the Pareto front when seeds are resampled, or the noise between replicates is drawn."""

from typing import Any

import numpy as np

from analysis.statistics.search.factor_axes import Array
from analysis.statistics.search.pareto import Mask, dominated

NUM_RESAMPLES = 1000
FEWEST_DEGREES = 4
"""Of freedom, for a noise that is worth adding."""
NUM_SWEEPS = 30
"""Over configurations and seeds in turn: one is enough where no replicate is missing."""
SEED = 20260124


def by_resampled_seeds(losses_CSO: Array) -> Array | None:
    """The share of resamples of whole seeds in which each configuration is on the Pareto front of all.

    All configurations get the same seeds, so that what a seed does to all of them cancels. The
    resampled means are widened by √(k / (k - 1)) about the mean of k seeds, since a bootstrap of k values varies by that much
    too little (Efron 1982, section 5).

    Args:
        losses_CSO: Configurations × seeds × objectives, less is better; NaN where a replicate has not finished.

    Returns:
        One for each configuration, NaN for one that has not two values, which tell nothing of its spread; it stands in the way of
        the others as it is. None where there are not two seeds to resample.
    """
    known_CS = _known(losses_CSO)
    has_value = known_CS.any(axis=1)
    if losses_CSO.shape[1] < 2 or not (known_CS.sum(axis=1) > 1).any():
        return None
    values_CSO, known_CS = np.nan_to_num(losses_CSO[has_value]) * known_CS[has_value, :, None], known_CS[has_value]
    num_C = known_CS.sum(axis=1)
    mean_CO = values_CSO.sum(axis=1) / num_C[:, None]
    widening_C = np.sqrt(num_C / np.maximum(1, num_C - 1))
    generator = np.random.default_rng(SEED)
    num_seeds = known_CS.shape[1]
    count_C = np.zeros(len(mean_CO))
    for weights_S in generator.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=NUM_RESAMPLES):
        total_C = known_CS @ weights_S
        drawn_CO = np.tensordot(values_CSO, weights_S, axes=(1, 0)) / np.maximum(1, total_C)[:, None]
        deviation_CO = np.where(total_C[:, None] > 0, drawn_CO - mean_CO, 0.0)
        count_C += ~dominated(mean_CO + widening_C[:, None] * deviation_CO)
    probability = np.full(len(has_value), np.nan)
    probability[has_value] = np.where(num_C > 1, count_C / NUM_RESAMPLES, np.nan)
    return probability


def replicate_noise(losses_CSO: Array) -> Array | None:
    """The residuals of the replicates' losses after configuration + seed, scaled by √(n / degrees of freedom).

    Only this noise can change an order: configurations that were tried with one and the same seed share what the seed does.
    Of a single configuration the seed's part cannot be told, and stays in.

    Returns:
        Rows × objectives; None where there is too little of it (fewer than 4 degrees of freedom).
    """
    known_CS = _known(losses_CSO)
    losses_CSO = np.where(known_CS[:, :, None], losses_CSO, np.nan)[known_CS.sum(axis=1) > 1]
    if not len(losses_CSO):
        return None
    losses_CSO = losses_CSO[:, _known(losses_CSO).any(axis=0)]
    num_configurations, num_seeds, num_objectives = losses_CSO.shape
    num_values = int(_known(losses_CSO).sum())
    has_fellows = num_configurations > 1
    degrees = num_values - num_configurations - (num_seeds - 1 if has_fellows else 0)
    if degrees < FEWEST_DEGREES:
        return None
    residuals = losses_CSO - np.nanmean(losses_CSO, axis=1, keepdims=True)
    for _ in range(NUM_SWEEPS if has_fellows else 0):
        residuals = residuals - np.nanmean(residuals, axis=0, keepdims=True)
        residuals = residuals - np.nanmean(residuals, axis=1, keepdims=True)
    rows = residuals.reshape(-1, num_objectives)
    kept: Array = rows[np.isfinite(rows).all(axis=1)] * (num_values / degrees) ** 0.5
    return kept


def by_added_noise(losses_CO: Array, num_seeds_C: Array, noise_RO: Array) -> Array:
    """The share of draws in which each configuration is on the front if every value had another draw of the noise.

    The noise is assumed to be the same for all configurations. The luck that the best of many had is not corrected for.

    Args:
        losses_CO: Configurations × objectives, less is better; NaN where there is no value.
        num_seeds_C: How many replicates each value is the mean of.
        noise_RO: Draws of the noise of one replicate; see ``replicate_noise``.

    Returns:
        One for each configuration, NaN for one without a value.
    """
    known = _known(losses_CO)
    probability = np.where(known, 0.0, np.nan)
    able = np.flatnonzero(known)[~_hopeless(losses_CO[known], np.ptp(noise_RO, axis=0))]
    generator = np.random.default_rng(SEED)
    scale = 1 / np.sqrt(num_seeds_C[able, None])
    for _ in range(NUM_RESAMPLES):
        noise = noise_RO[generator.integers(len(noise_RO), size=len(able))]
        probability[able] += ~dominated(losses_CO[able] - scale * noise)
    return probability / NUM_RESAMPLES


def _known(losses: Array) -> Any:
    """Where all objectives have a value; an array without its last axis."""
    return np.isfinite(losses).all(axis=-1)


def _hopeless(losses_NO: Array, span_O: Array) -> Mask:
    """Which points some other dominates whatever the noise; they can be left out of every comparison."""
    found = [bool(np.any(np.all(losses_NO + span_O < loss, axis=1))) for loss in losses_NO]
    return np.array(found, dtype=np.bool_)
