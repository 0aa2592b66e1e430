"""Effects: every level with its mean, its paired contrast with its factor's reference level, and a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.statistics.data.cells import block_curves, estimate, finite_values
from analysis.statistics.data.effect_coding import shared_terms
from analysis.statistics.data.estimates import SHARES, Estimate, mean_interval
from analysis.statistics.data.judged_images import JudgedImages, collapsed_seeds, judged_images
from analysis.statistics.data.level_cells import LevelCells
from analysis.statistics.data.outcomes import TEST_OUTCOME, Outcome
from analysis.statistics.effects.adjusted_means import level_values
from analysis.statistics.effects.contrasts import Contrast, paired_contrasts
from analysis.statistics.effects.small_effects import largest_possible, margin_for
from studies.run_record import PRUNED, Level, RunRecord

Verdict = Literal["baseline", "higher", "lower", "small", "equal", "undecided", "no data", "not in the design"]


@dataclass(frozen=True)
class LevelEffect:
    """One level of one factor: its mean over seeds, and how that differs from the baseline level's, in the outcome's unit.

    ``estimate`` is the mean of the level's cell, or of the mean over the level's cells, with Student's t interval over seeds.
    ``contrast`` is the difference from the reference level, paired by seed. Either is None where no seed has all that it needs.
    ``verdict`` is higher or lower where the corrected p-value is below 0.05, small where the contrast's interval is within
    ± ``margin`` (equivalence by two one-sided tests, Schuirmann 1987), equal where no seed has a difference.
    ``in_cell``: see ``LevelCells``.
    """

    factor: str
    level: Level
    is_baseline: bool
    in_cell: Mapping[str, Level]
    is_adjusted: bool
    """Whether mean and difference are of a linear model, since the design is not balanced or complete (``level_values``)."""
    num_cells: int
    num_planned: int
    """Seeds."""
    num_pruned: int
    """Replicates."""
    num_unfinished: int
    """Replicates that have failed, are missing or still run."""
    num_values: int
    """Replicates that have finished with a finite value of the outcome."""
    num_without_value: int
    """Replicates that have finished without one."""
    num_collapsed: int
    """Replicates whose accuracy is far below the others, or that of guessing (``collapsed_seeds``)."""
    estimate: Estimate | None
    test_estimate: Estimate | None
    by_seed: Mapping[int, float]
    """What the mean is of."""
    contrast: Contrast | None
    without_collapsed: Estimate | None
    """The difference over the seeds that collapse neither here nor at the reference; None where none collapses, or all do."""
    margin: float | None
    """The largest difference that is called small, in the unit of the contrast; None where none may be (``margin_for``)."""
    images: JudgedImages
    """Behind an accuracy."""
    verdict: Verdict
    accuracy_at_t: tuple[Estimate, ...]

    @property
    def num_finished(self) -> int:
        """Seeds of which the outcome is known."""
        return self.estimate.num_values if self.estimate else 0

    @property
    def is_contrast(self) -> bool:
        """Whether the design compares it with another level."""
        return self.num_cells > 0 and not self.is_baseline


@dataclass(frozen=True)
class LevelValues:
    """What is known of one level before it is compared: its values by seed, adjusted ones where need be."""

    level: LevelCells
    by_seed: Mapping[int, float]
    on_test: Mapping[int, float]
    collapsed: Mapping[int, int]
    """How many of its replicates collapse, by seed."""
    is_adjusted: bool

    @property
    def runs(self) -> list[RunRecord]:
        """The replicates of all its cells."""
        return [run for cell in self.level.cells for run in cell]

    def without(self, seeds: set[int]) -> dict[int, float]:
        """The values of the other seeds."""
        return {seed: value for seed, value in self.by_seed.items() if seed not in seeds}


def level_effects(levels: Sequence[LevelCells], outcome: Outcome) -> list[LevelEffect]:
    """The effect of every level on one outcome: means, contrasts paired by seed, and verdicts.

    Args:
        levels: All levels of the design with their cells. Around a baseline their differences are simple effects, in a factorial
            design main effects.
        outcome: What is compared.

    Returns:
        One for each level; p-values are corrected by Holm over all contrasts of the outcome.
    """
    images = judged_images((run for level in levels for cell in level.cells for run in cell), outcome)
    known = _known(levels, outcome, images)
    references = {of_level.level.factor: of_level for of_level in known if of_level.level.is_baseline}
    pairs = [
        (references[one.level.factor].by_seed if one.level.factor in references else {}, one.by_seed)
        for one in known
        if not one.level.is_baseline
    ]
    contrasts = iter(paired_contrasts(pairs, scale=outcome.scale, num_images=images.num_images))
    shared = _shared_factors(levels)
    has_intervals = not any(one.collapsed for one in known)
    found = []
    for one in known:
        reference = references.get(one.level.factor)
        margin = None
        if not one.level.is_baseline and one.level.cells:
            is_shared = one.level.factor in shared
            compared_with = reference.level if reference else None
            margin = margin_for(outcome, one.level, compared_with, images, is_shared=is_shared)
        contrast = None if one.level.is_baseline else next(contrasts)
        found.append(_level_effect(one, reference, contrast, margin, outcome, images, has_intervals=has_intervals))
    return found


def _shared_factors(levels: Sequence[LevelCells]) -> set[str]:
    """The factors whose effect the design does not separate from all other terms of its model."""
    design = levels[0].design if levels else None
    return {factor for factor, terms in shared_terms(design.study, design.cells).items() if terms} if design else set()


def _known(levels: Sequence[LevelCells], outcome: Outcome, images: JudgedImages) -> list[LevelValues]:
    values, is_adjusted = level_values(levels, outcome.metric)
    on_test, _ = level_values(levels, TEST_OUTCOME.metric)
    return [
        LevelValues(level, of_level, of_test, _collapsed(level, outcome, images), is_adjusted)
        for level, of_level, of_test in zip(levels, values, on_test, strict=True)
    ]


def _collapsed(level: LevelCells, outcome: Outcome, images: JudgedImages) -> dict[int, int]:
    if not outcome.is_accuracy:
        return {}
    seeds = [seed for cell in level.cells for seed in collapsed_seeds(finite_values(cell, outcome.metric), images)]
    return {seed: seeds.count(seed) for seed in sorted(set(seeds))}


def _level_effect(
    known: LevelValues,
    reference: LevelValues | None,
    contrast: Contrast | None,
    margin: float | None,
    outcome: Outcome,
    images: JudgedImages,
    *,
    has_intervals: bool,
) -> LevelEffect:
    level, runs = known.level, known.runs
    has_pairs = contrast is not None and contrast.difference.num_values > 0
    finished = [run for run in runs if run.status == "FINISHED"]
    num_values = sum(len(finite_values(cell, outcome.metric)) for cell in level.cells)
    num_pruned = sum(run.status == PRUNED for run in runs)
    return LevelEffect(
        factor=level.factor,
        level=level.level,
        is_baseline=level.is_baseline,
        in_cell=level.in_cell,
        is_adjusted=known.is_adjusted,
        num_cells=len(level.cells),
        num_planned=len({run.seed for run in runs}),
        num_pruned=num_pruned,
        num_unfinished=len(runs) - num_pruned - len(finished),
        num_values=num_values,
        num_without_value=len(finished) - num_values,
        num_collapsed=sum(known.collapsed.values()),
        estimate=_mean(known.by_seed, outcome, has_interval=has_intervals),
        test_estimate=_mean(known.on_test, TEST_OUTCOME, has_interval=has_intervals),
        by_seed=known.by_seed,
        contrast=contrast if has_pairs else None,
        without_collapsed=_without_collapsed(known, reference, outcome, images) if has_pairs and reference else None,
        margin=margin,
        images=images,
        verdict=_verdict(contrast, margin) if level.cells else "not in the design",
        accuracy_at_t=_mean_curve(block_curves(level.cells)),
    )


def _mean(values: Mapping[int, float], outcome: Outcome, *, has_interval: bool) -> Estimate | None:
    """The mean with Student's t interval; without one where replicates collapse, as more of them may in any cell."""
    found = estimate(values, outcome.limits)
    return found if found is None or has_interval else found.without_interval()


def _without_collapsed(known: LevelValues, reference: LevelValues, outcome: Outcome, images: JudgedImages) -> Estimate | None:
    seeds = set(known.collapsed) | set(reference.collapsed)
    if not seeds & known.by_seed.keys() & reference.by_seed.keys():
        return None
    pair = reference.without(seeds), known.without(seeds)
    (contrast,) = paired_contrasts([pair], scale=outcome.scale, num_images=images.num_images)
    return contrast.difference if contrast.difference.num_values else None


def _verdict(contrast: Contrast | None, margin: float | None) -> Verdict:
    if contrast is None:
        return "baseline"
    if not contrast.difference.num_values:
        return "no data"
    if contrast.is_decided:
        return "higher" if contrast.difference.mean > 0 else "lower"
    if contrast.is_equal:
        return "equal"
    return "small" if margin is not None and largest_possible(contrast) <= margin else "undecided"


def _mean_curve(curves: Sequence[Sequence[float]]) -> tuple[Estimate, ...]:
    """Mean and interval at every t that all curves have."""
    return tuple(mean_interval(at_t, limits=SHARES) for at_t in zip(*curves, strict=False))
