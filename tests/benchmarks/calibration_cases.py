"""The cases of the calibration: planted studies, what the reports' code says of them, and what else is done in the field."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.statistics.data.estimates import Estimate, mean_interval
from analysis.statistics.data.level_cells import level_cells
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME
from analysis.statistics.effects.contrasts import SIGNIFICANCE
from analysis.statistics.effects.interactions import VarianceTable, variance_table
from analysis.statistics.effects.level_effects import LevelEffect, level_effects
from analysis.statistics.effects.power import sd_of_differences, smallest_effect
from analysis.statistics.effects.rank_stability import rank_stability
from studies.run_record import Level, StudyRecord
from tests.benchmarks.simulated_studies import (
    FACTORIAL,
    MEAN,
    NOISE_SD,
    NOISES,
    ONE_AT_A_TIME,
    SPREADS,
    Cells,
    FloatArray,
    cells_of,
    drawn_values,
    records_of,
    study_of,
)

NUM_BOOTSTRAPS = 1000
FIRST_SEEDS = 3
"""So many seeds are what "the best of 3" looks at."""
RANKED: Mapping[str, Sequence[float] | None] = {
    "6 drawn cells": None,
    "2 equal cells": [0.0] * 2,
    "2 equal cells and 6 far worse": [0.0] * 2 + [-20.0] * 6,
    "8 equal cells": [0.0] * 8,
    "60 equal cells": [0.0] * 60,
    "8 cells, half a standard deviation apart": [-0.5 * place for place in range(8)],
    "8 clearly different cells": [-5.0 * place for place in range(8)],
    "60 cells, one clearly the best": [0.0, *[-5.0] * 59],
}
"""True means of the cells in standard deviations between replicates; None: drawn from a normal distribution of as much."""
FACTORIAL_CELLS = cells_of("full_factorial", FACTORIAL)

CALLED_WRONGLY, AMONG, FIRST = "called the best and is not", "among those that may be", "interval of the first covered"
DIFFERENCES, MEANS, SHARES = "differences covered", "means covered", "partial ω² covered"
FAMILY, TABLE = "family-wise error", "error of the table"
INTERVALS, ERRORS = (DIFFERENCES, MEANS, SHARES), (FAMILY, TABLE)
T_INTERVALS, SIGN_FLIP_ERRORS = (MEANS,), (FAMILY,)
AT_LEAST_95 = (DIFFERENCES,)
"""Their intervals are at the level of Holm's procedure, so that they cover more than 95 %."""


@dataclass(frozen=True)
class Rate:
    """A share with its simulation error, one standard error (of n that agree, 1/n); NaN where nothing was counted."""

    value: float
    error: float
    num_studies: int

    @classmethod
    def of(cls, by_study: Sequence[float] | FloatArray) -> "Rate":
        """From a share for every study, NaN for one that does not count."""
        known = np.asarray(by_study, dtype=np.float64)
        known = known[np.isfinite(known)]
        if len(known) < 2:
            return cls(math.nan, math.nan, 0)
        error = float(known.std(ddof=1)) / math.sqrt(len(known))
        return cls(float(known.mean()), max(error, 1 / len(known)), len(known))

    @classmethod
    def pooled(cls, rates: Sequence["Rate"]) -> "Rate":
        """Over the studies of all of these."""
        known = [rate for rate in rates if rate.num_studies]
        num = sum(rate.num_studies for rate in known)
        value = sum(rate.num_studies * rate.value for rate in known) / num
        return cls(value, math.sqrt(sum((rate.num_studies * rate.error) ** 2 for rate in known)) / num, num)

    def in_words(self) -> str:
        """In percent: ``95.1 ± 0.2``."""
        return f"{100 * self.value:.1f} ± {100 * self.error:.1f}" if self.num_studies else "–"

    def as_pair(self) -> list[float | None]:
        """Value and error, for JSON."""
        return [round(self.value, 5), round(self.error, 5)] if self.num_studies else [None, None]


def contrasts(num_seeds: int, noise: str, has_missing: bool, num_studies: int) -> dict[str, Rate]:
    """Intervals and family-wise errors of 4 contrasts with one baseline."""
    generator = np.random.default_rng([num_seeds, list(NOISES).index(noise), has_missing, 1])
    cells, study = cells_of("one_factor_at_a_time", ONE_AT_A_TIME), study_of("one_factor_at_a_time", ONE_AT_A_TIME, num_seeds)
    planted_NC = NOISE_SD * generator.normal(size=(num_studies, len(cells)))
    values = drawn_values(generator, noise, planted_NC, num_seeds, has_missing=has_missing)
    null = drawn_values(generator, noise, np.zeros_like(planted_NC), num_seeds, has_missing=has_missing)
    judged = [_effects(study, cells, of_study) for of_study in values]
    truth = planted_NC[:, 1:] - planted_NC[:, :1]
    return {
        DIFFERENCES: Rate.of([_covered(found, true) for found, true in zip(judged, truth, strict=True)]),
        MEANS: Rate.of([_means_covered(found, MEAN + true) for found, true in zip(judged, planted_NC, strict=True)]),
        FAMILY: Rate.of([_claims(_effects(study, cells, of_study)) for of_study in null]),
        "percentile bootstrap covered": Rate.of(_bootstrap_covered(values, truth, generator)),
        "Welch, uncorrected: error": Rate.of(_welch_claims(null)),
        "best of 3 seeds: error": Rate.of(_best_of(null) != 0),
    }


def _effects(study: StudyRecord, cells: Cells, values_CS: FloatArray) -> list[LevelEffect]:
    return level_effects(level_cells(study, records_of(cells, values_CS)), ACCURACY_OUTCOME)


def _covered(effects: Sequence[LevelEffect], truth: Sequence[float] | FloatArray) -> float:
    """The share of the contrasts whose interval has the truth; NaN if none has an interval."""
    found = [effect.contrast for effect in effects if not effect.is_baseline]
    hits = [
        contrast.difference.low <= true <= contrast.difference.high
        for contrast, true in zip(found, truth, strict=True)
        if contrast and contrast.has_interval
    ]
    return float(np.mean(hits)) if hits else math.nan


def _means_covered(effects: Sequence[LevelEffect], truth: FloatArray) -> float:
    """The same for the cells' means, the baseline's once."""
    others = [effect for effect in effects if not effect.is_baseline]
    estimates = [effect.estimate for effect in [effects[0], *others]]
    hits = [
        found.low <= true <= found.high for found, true in zip(estimates, truth, strict=True) if found and found.num_values > 1
    ]
    return float(np.mean(hits)) if hits else math.nan


def _claims(effects: Sequence[LevelEffect]) -> bool:
    return any(effect.verdict in ("higher", "lower") for effect in effects)


def _bootstrap_covered(values: FloatArray, truth: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Of every study the share of differences in the 2.5th to 97.5th percentile of means over seeds drawn with replacement."""
    differences = values[:, 1:] - values[:, :1]
    num_seeds = differences.shape[-1]
    draws = generator.multinomial(num_seeds, [1 / num_seeds] * num_seeds, size=NUM_BOOTSTRAPS).astype(np.float64)
    known = np.isfinite(differences)
    counts = known @ draws.T
    sums = np.where(known, differences, 0.0) @ draws.T
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    has_pairs = known.sum(axis=-1) > 1
    means[~has_pairs] = 0.0
    low, high = (np.percentile if known.all() else np.nanpercentile)(means, [2.5, 97.5], axis=-1)
    num_covered = (has_pairs & (low <= truth) & (truth <= high)).sum(axis=1)
    num_pairs = has_pairs.sum(axis=1)
    shares: FloatArray = np.divide(num_covered, num_pairs, out=np.full(len(values), np.nan), where=num_pairs > 0)
    return shares


def _welch_claims(values: FloatArray) -> FloatArray:
    """Whether any of a study's levels differs from its baseline by Welch's t-test at 5 %."""
    num = np.isfinite(values).sum(axis=-1)
    filled = np.where(np.isfinite(values), values, 0.0)
    mean = filled.sum(axis=-1) / np.maximum(num, 1)
    squares = np.where(np.isfinite(values), (values - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    share = np.where(num > 1, squares / np.maximum(num - 1, 1) / np.maximum(num, 1), np.inf)
    error = share[:, 1:] + share[:, :1]
    weights = share**2 / np.maximum(num - 1, 1)
    has_both = np.isfinite(error)
    df = np.divide(error**2, weights[:, 1:] + weights[:, :1], out=np.ones_like(error), where=has_both)
    p = 2 * stats.t.sf(np.abs(mean[:, 1:] - mean[:, :1]) / np.sqrt(error), df)
    claims: FloatArray = (p < SIGNIFICANCE).any(axis=1).astype(np.float64)
    return claims


def _best_of(values: FloatArray) -> FloatArray:
    """The cell with the highest value of the first three seeds: what a bold number claims to be the winner."""
    highest = np.where(np.isfinite(values), values, -np.inf)[..., :FIRST_SEEDS].max(axis=-1)
    best: FloatArray = highest.argmax(axis=1).astype(np.float64)
    return best


def variances(num_seeds: int, noise: str, has_missing: bool, num_studies: int) -> dict[str, Rate]:
    """Main effects (adjusted where replicates are missing) and the analysis of variance of a factorial of 2 × 3."""
    generator = np.random.default_rng([num_seeds, list(NOISES).index(noise), has_missing, 2])
    cells, study = cells_of("full_factorial", FACTORIAL), study_of("full_factorial", FACTORIAL, num_seeds)
    planted_NC = NOISE_SD * generator.normal(size=(num_studies, len(cells)))
    values = drawn_values(generator, noise, planted_NC, num_seeds, has_missing=has_missing)
    null = drawn_values(generator, noise, np.zeros_like(planted_NC), num_seeds, has_missing=has_missing)
    judged = [_effects(study, cells, of_study) for of_study in values]
    grid = planted_NC.reshape(-1, 2, 3)
    truth = np.hstack([(grid[:, 1] - grid[:, 0]).mean(axis=1)[:, None], (grid[:, :, 1:] - grid[:, :, :1]).mean(axis=1)])
    shares = _true_shares(grid, noise)
    tables = [variance_table(study, records_of(cells, of_study), ACCURACY_OUTCOME) for of_study in values]
    null_tables = [variance_table(study, records_of(cells, of_study), ACCURACY_OUTCOME) for of_study in null]
    bootstrap = [math.nan] if has_missing else [_share_bootstrap(*pair, generator) for pair in zip(values, shares, strict=True)]
    return {
        DIFFERENCES: Rate.of([_covered(found, true) for found, true in zip(judged, truth, strict=True)]),
        FAMILY: Rate.of([_claims(_effects(study, cells, of_study)) for of_study in null]),
        TABLE: Rate.of([math.nan if table is None else _table_claims(table) for table in null_tables]),
        SHARES: Rate.of([_shares_covered(table, true) for table, true in zip(tables, shares, strict=True)]),
        "partial ω², bootstrap covered": Rate.of(bootstrap),
    }


def _true_shares(grid: FloatArray, noise: str) -> FloatArray:
    """Partial ω² of time steps, layout and their interaction, for every study."""
    rows, columns = grid.mean(axis=2, keepdims=True), grid.mean(axis=1, keepdims=True)
    mean = grid.mean(axis=(1, 2), keepdims=True)
    parts = [np.broadcast_to(part, grid.shape) for part in (rows - mean, columns - mean, grid - rows - columns + mean)]
    spreads = np.array(SPREADS if noise == "differs by level" else [1.0])
    error = NOISE_SD**2 * float(np.mean(spreads**2))
    explained = np.stack([np.mean(part**2, axis=(1, 2)) for part in parts], axis=1)
    shares: FloatArray = explained / (explained + error)
    return shares


def _table_claims(table: VarianceTable) -> bool:
    return any(line.corrected_p < SIGNIFICANCE for line in table.lines)


def _shares_covered(table: VarianceTable | None, truth: FloatArray) -> float:
    if table is None or len(table.lines) != len(truth):
        return math.nan
    return float(np.mean([line.share.low <= true <= line.share.high for line, true in zip(table.lines, truth, strict=True)]))


def _share_bootstrap(values_CS: FloatArray, truth: FloatArray, generator: np.random.Generator) -> float:
    """The same for percentiles of partial ω² over seeds drawn with replacement."""
    num_cells, num_seeds = values_CS.shape
    centred = values_CS - values_CS.mean(axis=0)
    draws = generator.multinomial(num_seeds, [1 / num_seeds] * num_seeds, size=NUM_BOOTSTRAPS).astype(np.float64)
    means = (draws @ centred.T / num_seeds).reshape(-1, 2, 3)
    rows, columns = means.mean(axis=2, keepdims=True), means.mean(axis=1, keepdims=True)
    parts = [np.broadcast_to(part, means.shape) for part in (rows, columns, means - rows - columns)]
    squares = num_seeds * np.stack([(part**2).sum(axis=(1, 2)) for part in parts], axis=1)
    error = draws @ (centred**2).sum(axis=0) - num_seeds * (means**2).sum(axis=(1, 2))
    mean_square = np.maximum(error, 1e-15)[:, None] / ((num_cells - 1) * (num_seeds - 1))
    excess = squares - np.array([1, 2, 2]) * mean_square
    low, high = np.percentile(excess / (excess + num_cells * num_seeds * mean_square), [2.5, 97.5], axis=0)
    return float(np.mean((np.maximum(low, 0) <= truth) & (truth <= high)))


def power(num_seeds: int, design: str, num_levels: Sequence[int], num_studies: int) -> dict[str, Rate]:
    """The last level has the smallest effect that ``check`` promises to find with 80 %, the others none.

    Args:
        num_seeds: Of the design.
        design: Its name.
        num_levels: Of every factor.
        num_studies: How many.
    """
    generator = np.random.default_rng([num_seeds, *num_levels, 3])
    factors: dict[str, list[Level]] = {f"factor {place}": list(range(num)) for place, num in enumerate(num_levels)}
    cells, study = cells_of(design, factors), study_of(design, factors, num_seeds)
    num_contrasts = sum(num_levels) - len(num_levels)
    averaged = max(1, len(cells) // max(num_levels)) if design == "full_factorial" else 1
    effect = smallest_effect(num_seeds, num_contrasts, sd_of_differences(NOISE_SD), num_cells_averaged=averaged)
    if effect is None:
        raise ValueError(f"there must be an effect that so many seeds can find, but got {num_seeds} for {num_contrasts}")
    last = list(factors)[-1]
    planted_C = np.array([effect * (cell[last] == num_levels[-1] - 1) for cell in cells])
    values = drawn_values(generator, "normal", np.tile(planted_C, (num_studies, 1)), num_seeds, has_missing=False)
    judged = [_effects(study, cells, of_study) for of_study in values]
    planted = [effects[-1].contrast for effects in judged]
    return {
        "found": Rate.of([effects[-1].verdict == "higher" for effects in judged]),
        "found at the strictest level": Rate.of([bool(c and c.p * num_contrasts < SIGNIFICANCE) for c in planted]),
        "others claimed": Rate.of([_claims(effects[:-1]) for effects in judged]),
    }


def ranks(num_seeds: int, case: str, num_studies: int) -> dict[str, Rate]:
    """Which of some cells is the best: what is said of it, and whether the interval of the one with the best mean has its truth.

    Args:
        num_seeds: Of the design.
        case: A key of ``RANKED``.
        num_studies: How many; a tenth of them where there are 60 cells.
    """
    generator = np.random.default_rng([num_seeds, list(RANKED).index(case), 4])
    means = RANKED[case]
    num_studies = max(2, num_studies // 10) if means is not None and len(means) > len(FACTORIAL_CELLS) * 5 else num_studies
    planted_NC = NOISE_SD * (
        generator.normal(size=(num_studies, len(FACTORIAL_CELLS))) if means is None else np.tile(means, (num_studies, 1))
    )
    cells: Cells = [{"cell": place} for place in range(planted_NC.shape[1])]
    study = study_of("full_factorial", {"cell": list(range(len(cells)))}, num_seeds)
    values = drawn_values(generator, "normal", planted_NC, num_seeds, has_missing=False)
    judged = [found for of_study in values if (found := rank_stability(study, records_of(cells, of_study)))]
    first = np.array([found.cells[0].levels["cell"] for found in judged], dtype=np.intp)
    places = np.arange(num_studies)
    truth, highest = MEAN + planted_NC[places, first], planted_NC.max(axis=1)
    is_alone = (planted_NC == highest[:, None]).sum(axis=1) == 1
    is_decided = np.array([found.is_decided for found in judged])
    best = np.array([int(generator.choice(np.flatnonzero(row == row.max()))) for row in planted_NC])
    candidates = [{cell.levels["cell"] for cell in found.cells if cell.may_be_best} for found in judged]
    own = [mean_interval([float(value) for value in of_study[place]]) for of_study, place in zip(values, first, strict=True)]
    return {
        "best found": Rate.of(planted_NC[places, first] == highest),
        "called the best": Rate.of(is_decided),
        CALLED_WRONGLY: Rate.of(is_decided & ((planted_NC[places, first] < highest) | ~is_alone)),
        AMONG: Rate.of([place in found for place, found in zip(best.tolist(), candidates, strict=True)]),
        "may be the best, % of cells": Rate.of([len(found) / len(cells) for found in candidates]),
        FIRST: Rate.of([_has(found.cells[0].estimate, true) for found, true in zip(judged, truth, strict=True)]),
        "Student's own of the first covered": Rate.of([_has(found, true) for found, true in zip(own, truth, strict=True)]),
        "best of 3 seeds: best found": Rate.of(planted_NC[places, _best_of(values).astype(np.intp)] == highest),
    }


def _has(found: Estimate, true: float) -> bool:
    return found.low <= true <= found.high


def why(name: str, column: str) -> str:
    """The reason why a rate may leave its range, where it is known."""
    if "differs by level" in name and column in (TABLE, SHARES):
        return "The analysis of variance pools the noise of all cells; the paired intervals and tests do not."
    if "heavy tails" in name and column == SHARES:
        return "The interval of partial ω² takes the noise as normal."
    if "heavy tails" in name:
        return "An outlier widens the estimated spread more than it moves the mean, so that t intervals are cautious."
    return ""
