"""When a claim of a report is false: for every kind, what planted truth contradicts it, and what its error is a share of.

The error of what a report decides is the share of the reports that make at least one false claim of the kind about an outcome,
among the reports of studies in which such a claim can be false: a family-wise error, as corrected p-values promise it. The error
of an interval or of a promise is the share of the claims that are false.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from studies.run_record import ACCURACY, SPARSITY, TEST_ACCURACY, Level
from tests.benchmarks.sentence_claims import Claim
from tests.benchmarks.sentence_truths import ADDITIONS, ENERGY, SPIKES, Planted

METRICS: Mapping[str, str] = {
    "validation accuracy": ACCURACY,
    "test accuracy": TEST_ACCURACY,
    "activation sparsity": SPARSITY,
    "spikes per neuron and image": SPIKES,
    "spikes per neuron": SPIKES,
    "synaptic operations": ADDITIONS,
    "energy": ENERGY,
}
"""By the names that reports have for outcomes."""
IN_PERCENT = (ACCURACY, TEST_ACCURACY, SPARSITY)
HALF_A_DIGIT = 0.005
"""Of a printed number in percent, so that rounding alone makes no claim false."""
HALF_A_RATIO = 0.05
"""The same of a ratio with three decimals, in percent."""
SAME = 1e-9
SMALL_SHARE = 0.01
"""Of the spikes: by how much they may differ where a difference of sparsity is called none."""

Judge = Callable[[Planted, Claim], float | None]
"""1 where the claim is false, 0 where it is true, None where it does not count; a share where the claim states a probability."""


@dataclass(frozen=True)
class Kind:
    """A kind of claim."""

    truth: str
    """What makes it false, in words."""
    is_per_report: bool
    judge: Judge
    is_of_primary: bool = False
    """Whether it is said of the primary outcome alone."""


def _unit(metric: str) -> float:
    return 100.0 if metric in IN_PERCENT else 1.0


def _tolerance(metric: str, *bounds: float) -> float:
    """Half of the last digit that is printed: of the second decimal, or the fourth significant one."""
    return HALF_A_DIGIT if metric in IN_PERCENT else 5e-4 * max(map(abs, bounds), default=0.0)


def _difference(planted: Planted, claim: Claim) -> float:
    """In points; of counts and costs in percent of the baseline."""
    metric = METRICS[claim.outcome]
    difference = 100 * planted.difference(metric, claim.factor, claim.level)
    return (
        difference if metric in IN_PERCENT else difference / planted.level_means(metric, claim.factor)[_baseline(planted, claim)]
    )


def _baseline(planted: Planted, claim: Claim) -> Level:
    return planted.study.baseline[claim.factor]


def direction(planted: Planted, claim: Claim) -> float:
    """The sign."""
    return float(claim.sign * _difference(planted, claim) <= SAME or not claim.is_consistent)


def trend(planted: Planted, claim: Claim) -> float:
    """Every step from a level to the next larger one, and some step at all."""
    means = planted.level_means(METRICS[claim.outcome], claim.factor)
    steps = claim.sign * np.diff([mean for _, mean in sorted(means.items())])
    return float(steps.min() < -SAME or steps.max() <= SAME)


def matters_most(planted: Planted, claim: Claim) -> float:
    """The largest true difference of the factor, against those of the others."""
    sizes = {}
    for factor, levels in planted.study.factors.items():
        means = planted.level_means(METRICS[claim.outcome], factor)
        sizes[factor] = max(abs(means[level] - means[planted.study.baseline[factor]]) for level in levels if level in means)
    return float(any(size >= sizes[claim.factor] - SAME for factor, size in sizes.items() if factor != claim.factor))


def bound(planted: Planted, claim: Claim) -> float:
    """The size of the difference; of sparsity, that of the spikes; and that there is a network that has learnt something."""
    metric = METRICS[claim.outcome]
    is_larger = abs(_difference(planted, claim)) > claim.number + HALF_A_DIGIT
    if metric == SPARSITY:
        means = planted.level_means(SPIKES, claim.factor)
        is_larger |= abs(means[claim.level] / means[_baseline(planted, claim)] - 1) > SMALL_SHARE + SAME
    return float(is_larger or (planted.is_at_chance and metric == ACCURACY))


def no_difference(planted: Planted, claim: Claim) -> float:
    """The recorded values themselves, of a factorial their means over cells."""
    mine, others = (_by_seed(planted, claim, level) for level in (claim.level, _baseline(planted, claim)))
    return float(any(abs(mine[seed] - others[seed]) > SAME for seed in mine.keys() & others.keys()))


def _by_seed(planted: Planted, claim: Claim, level: Level) -> dict[int, float]:
    metric, study = METRICS[claim.outcome], planted.study
    cell = {**study.baseline, claim.factor: level}
    values: dict[int, list[float]] = {}
    for run in planted.runs:
        is_of_level = run.levels[claim.factor] == level and ("factorial" in study.design or run.levels == cell)
        if is_of_level and metric in run.metrics:
            values.setdefault(run.seed, []).append(run.metrics[metric])
    return {seed: float(np.mean(of_seed)) for seed, of_seed in values.items()}


def of_difference(planted: Planted, claim: Claim) -> float:
    """The difference within the bounds; of counts and costs the ratio. Of a fraction, over the cells that it trains."""
    metric = METRICS[claim.outcome]
    means = planted.level_means(metric, claim.factor, are_trained=True)
    difference = 100 * (means[claim.level] - means[_baseline(planted, claim)])
    if metric in IN_PERCENT:
        return _missed(claim, difference, HALF_A_DIGIT)
    return _missed(claim, difference / means[_baseline(planted, claim)], HALF_A_RATIO)


def of_mean(planted: Planted, claim: Claim) -> float:
    """The level's mean within the bounds. Of a fraction, over the cells that it trains."""
    metric = METRICS[claim.outcome]
    slack = _tolerance(metric, claim.low, claim.high)
    return _missed(claim, _unit(metric) * planted.level_means(metric, claim.factor, are_trained=True)[claim.level], slack)


def _missed(claim: Claim, truth: float, slack: float) -> float:
    return float(not claim.low - slack <= truth <= claim.high + slack)


def consistent(_planted: Planted, claim: Claim) -> float:
    """Nothing planted: the interval beside the verdict."""
    return float(not claim.is_consistent)


def interaction(planted: Planted, claim: Claim) -> float:
    """Whether any of the terms that the row names has a part in the true means."""
    parts = [planted.component(METRICS[claim.outcome], term) for term in claim.term]
    return float(all(np.abs(part).max() <= SAME for part in parts))


def of_share(planted: Planted, claim: Claim) -> float:
    """Partial ω²: the variance of the row's terms over the trained cells, over that and the noise of a replicate."""
    metric = METRICS[claim.outcome]
    parts = np.sum([planted.component(metric, term) for term in claim.term], axis=0)
    explained = float(np.mean(parts**2))
    truth = explained / (explained + planted.noise[metric])
    return float(not claim.low - HALF_A_DIGIT <= truth <= claim.high + HALF_A_DIGIT)


def _is_best(planted: Planted, claim: Claim) -> bool:
    named = planted.configurations(claim.role)
    metric = METRICS[claim.outcome]
    means = {words: planted.mean(metric, levels) for words, levels in named.items()}
    return means[claim.configuration] >= max(means.values()) - SAME


def best(planted: Planted, claim: Claim) -> float:
    """Whether another one has a higher true mean; where all are equal, none is the best."""
    named = planted.configurations(claim.role)
    means = [planted.mean(METRICS[claim.outcome], levels) for levels in named.values()]
    return float(not _is_best(planted, claim) or sum(mean >= max(means) - SAME for mean in means) > 1)


def excluded(planted: Planted, claim: Claim) -> float:
    """Whether all that have the highest true mean are said not to be the best."""
    named = planted.configurations(claim.role)
    metric = METRICS[claim.outcome]
    means = {words: planted.mean(metric, levels) for words, levels in named.items()}
    best_ones = {words for words, mean in means.items() if mean >= max(means.values()) - SAME}
    return float(best_ones <= set(claim.excluded))


def of_best(planted: Planted, claim: Claim) -> float:
    """The mean of the cell that was selected within the bounds."""
    metric = METRICS[claim.outcome]
    levels = planted.configurations(claim.role)[claim.configuration]
    return _missed(claim, _unit(metric) * planted.mean(metric, levels), _tolerance(metric, claim.low, claim.high))


def associated(planted: Planted, claim: Claim) -> float:
    """Whether the factor does anything to the outcome."""
    return float(claim.factor in planted.inert[METRICS[claim.outcome]])


def most(planted: Planted, claim: Claim) -> float:
    """Which factor has the largest main effect."""
    return float(claim.factor != planted.most[METRICS[claim.outcome]])


KINDS: Mapping[str, Kind] = {
    "direction": Kind("the level's true mean is not on that side of the baseline's, or word and sign disagree", True, direction),
    "verdict of the table": Kind("the level's true mean is not on that side of the baseline's", True, direction),
    "trend": Kind("a step from one level to the next goes the other way, or none goes this way", True, trend),
    "matters most": Kind("another factor has an effect as large", True, matters_most, is_of_primary=True),
    "no effect larger than": Kind(
        "the true difference is larger; of sparsity, the spikes differ by more than 1 %; or no network has learnt anything",
        True,
        bound,
    ),
    "equal in every seed": Kind("a seed of both has another value", False, no_difference),
    "interval of a difference": Kind("it does not hold the true difference", False, of_difference),
    "interval of a mean": Kind("it does not hold the level's true mean", False, of_mean),
    "verdict beside its interval": Kind(
        "higher or lower, and the interval holds 0; or undecided, and it does not", False, consistent
    ),
    "interaction": Kind("none of the terms that are named has a part in the true means", True, interaction),
    "effect in the analysis of variance": Kind("none of the row's terms has a part in the true means", True, interaction),
    "interval of partial ω²": Kind("it does not hold the true share", False, of_share),
    "best": Kind("another is as good or better in the true means", True, best, is_of_primary=True),
    "may be the best": Kind("those that are the best in the true means are not among them", True, excluded, is_of_primary=True),
    "interval of the best": Kind("it does not hold the true mean of the cell that was selected", False, of_best),
    "associated beyond chance": Kind("the factor does nothing to the outcome", True, associated),
    "most associated": Kind("another factor has the largest main effect", True, most),
}
PROMISES: Mapping[str, str] = {
    "more seeds": "with so many more, and what was measured as the truth, it is decided (or shown small) in less than 80 %",
    "seeds that are not enough": "with so many, and what was measured as the truth, it is decided (or shown small) in 80 %",
}
"""Kinds that are judged by drawing the study again, see ``sentence_promises``."""


def can_be_false(kind: str, planted: Planted, outcome: str) -> bool:
    """Whether a study can make a false claim of a kind about an outcome: of no effect, only where there is one."""
    if kind != "no effect larger than":
        return True
    if not planted.study.baseline:
        return False
    metrics = {METRICS[outcome], SPIKES if METRICS[outcome] == SPARSITY else METRICS[outcome]}
    factors = planted.study.factors
    spans = [np.ptp(list(planted.level_means(metric, factor).values())) for metric in metrics for factor in factors]
    return max(spans) > SAME or planted.is_at_chance
