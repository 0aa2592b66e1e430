"""The importance of each factor for an outcome among what was tried: fANOVA and PED-ANOVA, with errors and chance levels."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.search.design_matrix import DesignMatrix, Mask, model_inputs, some_of
from analysis.statistics.search.factor_axes import Array, FactorAxis
from analysis.statistics.search.fanova import forest_of, main_effect_shares
from analysis.statistics.search.ped_anova import best_of, cells_on, ped_anova_share

FEWEST_CONFIGURATIONS = 20
"""Fewer say nothing of importance."""
MOST_CONFIGURATIONS = 600
"""If there are more, this number of them is drawn."""
NUM_HALVES = 50
NUM_SHUFFLES = 19
"""By chance the largest of 19 shuffles is exceeded once in 20."""
NUM_TREES = 12
"""Of a forest; the shares are means over as many forests as there are shuffles."""
SEED = 20260121

Rows = npt.NDArray[np.intp]
Shares = Callable[[Rows, Rows], tuple[Array, Array]]
"""Of the configurations of some rows the shares of the factors, and of their shadows, which have the levels of other rows."""


@dataclass(frozen=True)
class Share:
    """A share between 0 and 1, and its standard error.

    ``by_chance`` is the largest share that a shadow, a factor with its levels shuffled, had in any shuffle; NaN in a sample that
    was chosen by its results, where a shadow does not tell what chance can do.
    """

    value: float
    standard_error: float
    by_chance: float

    @property
    def is_above_chance(self) -> bool:
        """Whether it is larger than the shadows' in all shuffles."""
        return self.value > self.by_chance


@dataclass(frozen=True)
class Importance:
    """Of one factor for one outcome; None where too few configurations have the factor and a value.

    ``num_configurations`` were looked at by fANOVA, ``num_ranked`` (pruned ones too) by PED-ANOVA, which is None where the sample
    was chosen by its results.
    """

    factor: str
    num_configurations: int
    num_ranked: int
    fanova: Share | None
    ped_anova: Share | None


def importances(tried: DesignMatrix, outcome: Outcome, *, with_pruned: bool, is_space_filling: bool = True) -> list[Importance]:
    """Every factor's importance by fANOVA (``main_effect_shares``) and PED-ANOVA (``ped_anova_share``), in the order of axes.

    A conditional factor is judged among the configurations in which it is active. In an adaptive search these are associations,
    not effects: the sample is where values were good. Nothing is then said of chance, and there is no PED-ANOVA: it compares the
    best with all that was tried, which a search has soon made alike in just the factor that matters most.

    The standard error is the standard deviation over 50 random halves of the configurations: a half without replacement varies as
    much as a bootstrap resample of all (Politis and Romano 1994), and has no configuration twice, which a forest would learn
    by heart. Chance is judged by shadows (Kursa and Rudnicki 2010): forests see beside every factor a copy with its levels
    shuffled among the configurations, so that a factor without any part is as a shadow.

    Args:
        tried: What was tried.
        outcome: One that the design matrix has values of.
        with_pruned: Whether a pruned configuration counts, for PED-ANOVA alone, as worse than all that were not.
        is_space_filling: Whether the results had no part in choosing what was tried.
    """
    found: dict[str, Importance] = {}
    active_NF = ~np.isnan(tried.places_NF)
    for i, axis in enumerate(tried.axes):
        if axis.factor not in found:
            together = [j for j in range(len(tried.axes)) if np.array_equal(active_NF[:, j], active_NF[:, i])]
            of_stratum = _of_stratum(tried, outcome, together, with_pruned=with_pruned, is_space_filling=is_space_filling)
            found |= {importance.factor: importance for importance in of_stratum}
    return [found[axis.factor] for axis in tried.axes]


def _of_stratum(
    tried: DesignMatrix, outcome: Outcome, judged: Sequence[int], *, with_pruned: bool, is_space_filling: bool
) -> list[Importance]:
    """Of the factors that are active in the same configurations."""
    generator = np.random.default_rng(SEED)
    is_active = ~np.isnan(tried.places_NF[:, judged[0]])
    known = is_active & tried.known(outcome)
    ranked = known | (is_active & tried.is_pruned) if with_pruned else known
    axes = [tried.axes[i] for i in judged]
    if known.sum() < FEWEST_CONFIGURATIONS or np.ptp(tried.values[outcome][known]) == 0:
        return [Importance(axis.factor, int(known.sum()), int(ranked.sum()), None, None) for axis in axes]
    by_fanova = _estimate(_fanova(tried, outcome, judged, known), known, generator)
    by_ped: Sequence[Share | None] = [None] * len(axes)
    if is_space_filling:
        by_ped = _estimate(_ped_anova(tried, outcome, axes, judged), ranked, generator)
    else:
        by_fanova = [replace(share, by_chance=math.nan) for share in by_fanova]
    return [
        Importance(axis.factor, min(int(known.sum()), MOST_CONFIGURATIONS), min(int(ranked.sum()), MOST_CONFIGURATIONS), *shares)
        for axis, shares in zip(axes, zip(by_fanova, by_ped, strict=True), strict=True)
    ]


def _fanova(tried: DesignMatrix, outcome: Outcome, judged: Sequence[int], known: Mask) -> Shares:
    """A forest of all factors that are active wherever these are; beside them their shadows, of other configurations."""
    always = [i for i in range(len(tried.axes)) if not np.isnan(tried.places_NF[known, i]).any()]
    axes = [tried.axes[i] for i in always]
    inputs_NC = model_inputs(axes, tried.places_NF[:, always])
    values_N = tried.values[outcome]
    kept = [always.index(i) for i in judged]

    def shares(rows: Rows, shuffled: Rows) -> tuple[Array, Array]:
        forest = forest_of(np.hstack([inputs_NC[rows], inputs_NC[shuffled]]), values_N[rows], num_trees=NUM_TREES, seed=SEED)
        found = main_effect_shares(forest, [*axes, *axes])
        return found[: len(axes)][kept], found[len(axes) :][kept]

    return shares


def _ped_anova(tried: DesignMatrix, outcome: Outcome, axes: Sequence[FactorAxis], judged: Sequence[int]) -> Shares:
    cells = [cells_on(axis, np.nan_to_num(tried.places_NF[:, i])) for axis, i in zip(axes, judged, strict=True)]
    losses_N = np.array([outcome.better_first(value) for value in tried.values[outcome]])
    losses_N[np.isnan(losses_N)] = np.inf

    def shares(rows: Rows, shuffled: Rows) -> tuple[Array, Array]:
        is_best = best_of(losses_N[rows])
        own, shadows = (
            [
                ped_anova_share(cells_N[levels_of], num_cells, is_best, is_ordered=axis.is_ordered)
                for axis, (cells_N, num_cells) in zip(axes, cells, strict=True)
            ]
            for levels_of in (rows, shuffled)
        )
        return np.array(own), np.array(shadows)

    return shares


def _estimate(shares: Shares, usable: Mask, generator: np.random.Generator) -> list[Share]:
    """The mean over shuffles, the deviation over halves, the largest of all shadows over shuffles.

    It is the largest of all, so that in 1 of 20 samples any factor without a part is above it, however many there are.
    """
    rows = some_of(np.flatnonzero(usable), MOST_CONFIGURATIONS, generator)
    own, shadows = zip(*(shares(rows, generator.permutation(rows)) for _ in range(NUM_SHUFFLES)), strict=True)
    halves = [some_of(rows, len(rows) // 2, generator) for _ in range(NUM_HALVES)]
    of_halves = [shares(half, generator.permutation(half))[0] for half in halves]
    found = np.mean(own, axis=0), np.std(of_halves, axis=0, ddof=1), np.full(len(own[0]), np.max(shadows))
    return [Share(*map(float, parts)) for parts in zip(*found, strict=True)]
