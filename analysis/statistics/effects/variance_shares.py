"""Partial ω²: how much of the variance a term explains, with its interval."""

from dataclasses import dataclass

from scipy import optimize, special

LARGEST_EXACT = 1e6
"""Beyond it Patnaik's approximation is used, which is right to seven digits there; SciPy's sums would give NaN."""


@dataclass(frozen=True)
class VarianceShare:
    """Partial ω²: the part of a term in the variance of term and error together, a share without a unit."""

    value: float
    """Below 0 by chance where there is none."""
    low: float
    high: float


def variance_share(f: float, df: int, residual_df: int, num_values: int, confidence: float = 0.95) -> VarianceShare:
    """Partial ω² = df·(F - 1) / (df·(F - 1) + N) of a fixed effect (Olejnik and Algina 2003, equation 8).

    The interval is of λ / (λ + N), where λ are the noncentralities under which F is neither among the highest nor the lowest
    2.5 % (Steiger 2004). It is exact for normal noise of one variance, and excludes 0 only where p is below 0.025.

    Args:
        f: The term's F.
        df: Its degrees of freedom.
        residual_df: The error's.
        num_values: N, all replicates of the analysis.
        confidence: Of the interval.
    """
    excess = df * (f - 1)
    tail = (1 - confidence) / 2
    bounds = [_noncentrality(f, df, residual_df, share) for share in (1 - tail, tail)]
    low, high = (bound / (bound + num_values) for bound in bounds)
    return VarianceShare(excess / (excess + num_values), low, high)


def _noncentrality(f: float, df: int, residual_df: int, share: float) -> float:
    """The noncentrality under which this share of Fs is below ``f``; 0 where it is less even without any."""

    def surplus(noncentrality: float) -> float:
        return _share_below(f, df, residual_df, noncentrality) - share

    if surplus(0.0) <= 0:
        return 0.0
    highest = df * f + 10.0
    while surplus(highest) > 0:
        highest *= 2
    return float(optimize.brentq(surplus, 0.0, highest))


def _share_below(f: float, df: int, residual_df: int, noncentrality: float) -> float:
    """The noncentral F's distribution function (Patnaik 1949: a central one, scaled, with more degrees of freedom)."""
    if not noncentrality:
        return float(special.fdtr(df, residual_df, f))
    if noncentrality <= LARGEST_EXACT:
        return float(special.ncfdtr(df, residual_df, noncentrality, f))
    scale = (df + noncentrality) / df
    return float(special.fdtr((df + noncentrality) ** 2 / (df + 2 * noncentrality), residual_df, f / scale))
