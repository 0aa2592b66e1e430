"""Factors as Optuna distributions."""

from collections.abc import Mapping, Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from search_spaces.language.designs import Level

LARGEST_SEED = 2**31 - 1


def distributions(factors: Mapping[str, Sequence[Level]]) -> dict[str, BaseDistribution]:
    """One categorical distribution a factor, over its levels, and the seed's range under the name ``seed``."""
    space: dict[str, BaseDistribution] = {name: CategoricalDistribution(levels) for name, levels in factors.items()}
    return {**space, "seed": IntDistribution(0, LARGEST_SEED)}
