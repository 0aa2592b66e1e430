"""Two studies compared: cell by cell or level by level, and the effects of their factors."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from analysis.statistics.data.cells import block_means, estimate, finite_values, group_by_levels
from analysis.statistics.data.estimates import EVERYWHERE, Estimate
from analysis.statistics.data.level_cells import LevelCells, level_cells
from analysis.statistics.data.outcomes import Outcome, outcomes_of
from analysis.statistics.data.scales import Scale
from analysis.statistics.effects.contrasts import SIGNIFICANCE, PairedValues, contrast_at, holm, holm_levels, paired_values
from studies.run_record import COMPARED_ROLES, Level, RunRecord, StudyRecord

FEWEST_PAIRS = 2

Kind = Literal["cell", "level", "effect"]
Verdict = Literal["higher", "lower", "undecided", "no data"]
Values = Mapping[int, float]
"""An outcome by seed."""


@dataclass(frozen=True)
class ComparedValue:
    """A cell, level or effect that both studies have: its value in each, and the second minus the first.

    A ``cell`` is a combination of levels; a ``level`` is the mean over its cells, and an ``effect`` its difference from its
    factor's baseline level, both as the study's own summary has them. Values are in the outcome's unit. They are paired by seed
    where at least two seeds, and half of those of the study that has fewer, are shared; then all values are over the shared
    seeds, and interval and test are those of sign flips (``paired_contrasts``), of accuracies on the logit scale. Otherwise both
    are Welch's (1947), which assume independent seeds. ``corrected_p`` is Holm's over all of one kind and outcome, and the
    interval is at the level at which his procedure tests it, so that it holds 0 if and only if nothing is decided. Estimates
    are None, and p-values NaN, where there are too few values.
    """

    kind: Kind
    levels: Mapping[str, Level]
    """Of a level and of an effect: the factor's one."""
    first: Estimate | None
    second: Estimate | None
    difference: Estimate | None
    is_paired: bool
    p: float
    corrected_p: float

    @property
    def verdict(self) -> Verdict:
        """What the second study has against the first."""
        if self.difference is None:
            return "no data"
        if self.corrected_p < SIGNIFICANCE:
            return "higher" if self.difference.mean > 0 else "lower"
        return "undecided"


@dataclass(frozen=True)
class Repetition:
    """How many replicates of one identity finished in both studies; how many of them have the same outcome to the last digit."""

    num_shared: int
    num_equal: int


class StudyLevels:
    """One study's levels with their cells, by factor and level; none where its design compares none."""

    def __init__(self, study: StudyRecord, runs: Sequence[RunRecord]) -> None:
        self.levels = {_key_of(level): level for level in level_cells(study, runs) if level.cells}

    def reference(self, factor: str) -> LevelCells | None:
        """The level that the factor's others are compared with."""
        return next((level for level in self.levels.values() if level.factor == factor and level.is_baseline), None)


def shared_outcomes(first: StudyRecord, second: StudyRecord) -> tuple[Outcome, ...]:
    """The first study's outcomes that are the second's too."""
    others = {outcome.metric for outcome in outcomes_of(second)}
    return tuple(outcome for outcome in outcomes_of(first) if outcome.metric in others)


def compare_cells(first: Sequence[RunRecord], second: Sequence[RunRecord], outcome: Outcome) -> list[ComparedValue]:
    """Every combination of levels that both studies have, in the order of the first."""
    ours, theirs = _cells(first), _cells(second)
    values = [
        (ours[key][0].levels, finite_values(ours[key], outcome.metric), finite_values(theirs[key], outcome.metric))
        for key in ours
        if key in theirs
    ]
    return _compare("cell", outcome, values)


def compare_levels(first: StudyLevels, second: StudyLevels, outcome: Outcome) -> list[ComparedValue]:
    """Every level that both studies have of a factor of one name."""
    return _compare("level", outcome, _of_levels(first, second, lambda _, level: block_means(level.cells, outcome.metric)))


def compare_effects(first: StudyLevels, second: StudyLevels, outcome: Outcome) -> list[ComparedValue]:
    """The effect of every level that both studies compare with the same baseline level of its factor."""

    def effect(study: StudyLevels, level: LevelCells) -> Values:
        reference = study.reference(level.factor)
        values, at_reference = (block_means(found.cells, outcome.metric) for found in (level, reference or level))
        return {seed: values[seed] - at_reference[seed] for seed in values.keys() & at_reference.keys()}

    def is_comparable(level: LevelCells) -> bool:
        references = [study.reference(level.factor) for study in (first, second)]
        return not level.is_baseline and all(references) and len({_key_of(found) for found in references if found}) == 1

    return _compare("effect", outcome, _of_levels(first, second, effect, is_comparable))


def repetition(first: Sequence[RunRecord], second: Sequence[RunRecord], outcome: Outcome) -> Repetition:
    """Count the replicates that finished in both studies, and those whose outcome is the same to the last digit."""
    values = {run.identity: run.metrics.get(outcome.metric) for run in first if run.status == "FINISHED"}
    pairs = [
        (values[run.identity], run.metrics.get(outcome.metric))
        for run in second
        if run.status == "FINISHED" and run.identity in values
    ]
    return Repetition(len(pairs), sum(one == other and one is not None for one, other in pairs))


def only_in(first: Sequence[RunRecord], second: Sequence[RunRecord]) -> list[Mapping[str, Level]]:
    """The combinations of levels that the first study has, and the second has not."""
    ours, theirs = _cells(first), _cells(second)
    return [cell[0].levels for key, cell in ours.items() if key not in theirs]


def _cells(runs: Sequence[RunRecord]) -> dict[frozenset[tuple[str, bool, Level]], list[RunRecord]]:
    cells = group_by_levels(run for run in runs if run.role in COMPARED_ROLES)
    return {frozenset(_key(name, level) for name, level in cell[0].levels.items()): cell for cell in cells.values()}


def _key(factor: str, level: Level) -> tuple[str, bool, Level]:
    """8 and 8.0 are one level; 1 and true are not."""
    return factor, isinstance(level, bool), level


def _key_of(level: LevelCells) -> tuple[str, bool, Level]:
    return _key(level.factor, level.level)


def _of_levels(
    first: StudyLevels,
    second: StudyLevels,
    values: Callable[[StudyLevels, LevelCells], Values],
    is_wanted: Callable[[LevelCells], bool] = lambda _: True,
) -> list[tuple[Mapping[str, Level], Values, Values]]:
    return [
        ({level.factor: level.level}, values(first, level), values(second, second.levels[key]))
        for key, level in first.levels.items()
        if key in second.levels and is_wanted(level)
    ]


def _compare(kind: Kind, outcome: Outcome, values: Sequence[tuple[Mapping[str, Level], Values, Values]]) -> list[ComparedValue]:
    scale: Scale = "logit" if outcome.is_accuracy and kind != "effect" else "linear"
    tested = [_tested(first, second, scale) for _, first, second in values]
    p_values = [one.p if one else math.nan for one in tested]
    found = []
    for (levels, first, second), one, p, level in zip(values, tested, holm(p_values), holm_levels(p_values), strict=True):
        is_paired = isinstance(one, PairedValues)
        estimates = _estimates(first, second, EVERYWHERE if kind == "effect" else outcome.limits, is_paired=is_paired)
        found.append(
            ComparedValue(kind, levels, *estimates, _difference_at(one, p, level), is_paired, one.p if one else math.nan, p)
        )
    return found


def _difference_at(tested: "PairedValues | WelchTest | None", corrected_p: float, level: float) -> Estimate | None:
    if isinstance(tested, PairedValues):
        return contrast_at(tested, corrected_p, level).difference
    return tested.difference_at(level) if tested else None


def _estimates(
    first: Values, second: Values, limits: tuple[float, float], *, is_paired: bool
) -> tuple[Estimate | None, Estimate | None]:
    """Of a pair over the seeds that both have, so that its difference is that of the two means."""
    if not is_paired:
        return estimate(first, limits), estimate(second, limits)
    seeds = sorted(first.keys() & second.keys())
    return estimate({seed: first[seed] for seed in seeds}, limits), estimate({seed: second[seed] for seed in seeds}, limits)


def _tested(first: Values, second: Values, scale: Scale) -> "PairedValues | WelchTest | None":
    """Second minus first, paired where enough seeds are shared; None where one has no value."""
    num_shared = len(first.keys() & second.keys())
    if num_shared >= FEWEST_PAIRS and 2 * num_shared >= min(len(first), len(second)):
        return paired_values(first, second, np.random.default_rng(0), scale=scale)
    return _welch(first, second) if first and second else None


@dataclass(frozen=True)
class WelchTest:
    """Welch's test of two means (1947); ``error`` and p are NaN where there are too few values, or all are equal."""

    mean: float
    error: float
    freedom: float
    num_values: int
    p: float

    def difference_at(self, level: float) -> Estimate:
        """The difference, with the interval that the test does not reject at this level."""
        half = float(stats.t.isf(level / 2, self.freedom)) * self.error
        return Estimate(self.mean, self.mean - half, self.mean + half, self.num_values)


def _welch(first: Values, second: Values) -> WelchTest:
    samples = [np.array(list(values.values())) for values in (second, first)]
    mean = float(samples[0].mean() - samples[1].mean())
    if min(map(len, samples)) < FEWEST_PAIRS or not sum(sample.var() for sample in samples):
        return WelchTest(mean, math.nan, math.nan, 1, math.nan)
    variances = [float(sample.var(ddof=1)) / len(sample) for sample in samples]
    error = math.sqrt(sum(variances))
    shares = [variance / sum(variances) for variance in variances]
    freedom = 1 / sum(share**2 / (len(sample) - 1) for share, sample in zip(shares, samples, strict=True))
    p = 2 * float(stats.t.sf(abs(mean) / error, freedom))
    return WelchTest(mean, error, freedom, len(first) + len(second), p)
