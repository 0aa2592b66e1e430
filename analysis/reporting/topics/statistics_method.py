"""How effects, interactions and ranks were judged, in sentences of Method."""

from analysis.statistics.effects.rank_stability import NUM_DRAWS
from analysis.statistics.effects.verdicts import NEGLIGIBLE_FRACTION, NEGLIGIBLE_SHARE
from analysis.statistics.summary import Summary


def statistics_lines(summary: Summary) -> list[str]:
    """A sentence or two on each that the summary has."""
    return [*_effects(summary), *_variances(summary), *_stability(summary)]


def _effects(summary: Summary) -> list[str]:
    if not summary.effects:
        return []
    return [
        "Effect size: Hedges' g_av, the paired difference over the root of both levels' mean variance over seeds, corrected for "
        "small samples (Cumming 2012; Lakens 2013).",
        f"“No effect larger than”: an undecided difference whose 95 % interval lies within ±{100 * NEGLIGIBLE_FRACTION:g} points "
        f"(of what is no fraction: ±{100 * NEGLIGIBLE_SHARE:g} % of the baseline's mean). “More seeds”: how many would decide "
        "with 80 % power at the strictest level of Holm's correction, if difference and spread are those measured.",
    ]


def _variances(summary: Summary) -> list[str]:
    if not summary.variances:
        return []
    return [
        "Analysis of variance: seeds are blocks; every term against the model of all terms that do not contain it (type II), "
        "over the interaction of cells and seeds; least squares by statsmodels; p corrected by Holm over the lines of one table.",
        "Partial ω² (Olejnik and Algina 2003) with an interval from the noncentral F (Steiger 2004); estimates below 0 are shown "
        "as 0. Table and interval take the noise as normal and equal in all cells (under heavy tails such intervals cover about "
        "90 % in simulations, not 95), which the paired differences do not.",
    ]


def _stability(summary: Summary) -> list[str]:
    if summary.stability is None:
        return []
    return [
        f"Rank stability: {NUM_DRAWS:,} draws of whole seeds with replacement, generator seed 0, ties shared; the distance of a "
        "draw from the mean of all seeds is stretched as from a normal distribution to Student's t. It takes the best cell as it "
        "is found, so that among cells that hardly differ it is too sure.",
    ]
