"""Effects: every level with its mean, its paired contrast with its factor's reference level, and a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.statistics.data.cells import block_curves, estimate
from analysis.statistics.data.estimates import Estimate, mean_interval
from analysis.statistics.data.level_cells import LevelCells
from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.effects.adjusted_means import level_values
from analysis.statistics.effects.contrasts import Contrast, paired_contrasts
from studies.run_record import PRUNED, TEST_ACCURACY, Level

SIGNIFICANCE = 0.05

Verdict = Literal["baseline", "higher", "lower", "undecided", "no data", "not in the design"]


@dataclass(frozen=True)
class LevelEffect:
    """One level of one factor: its mean over seeds, and how that differs from the baseline level's, in the outcome's unit.

    ``estimate`` is the mean of the level's cell, or of the mean over the level's cells, with Student's t interval over seeds.
    ``contrast`` is the difference from the reference level, paired by seed. Either is None where no seed has all that it needs.
    ``verdict`` is higher or lower where the corrected p-value is below 0.05. ``in_cell``: see ``LevelCells``.
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
    estimate: Estimate | None
    test_estimate: Estimate | None
    contrast: Contrast | None
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


def level_effects(levels: Sequence[LevelCells], outcome: Outcome) -> list[LevelEffect]:
    """The effect of every level on one outcome: means, contrasts paired by seed, and verdicts.

    Args:
        levels: All levels of the design with their cells. Around a baseline their differences are simple effects, in a factorial
            design main effects.
        outcome: What is compared.

    Returns:
        One for each level; p-values are corrected by Holm over all contrasts of the outcome.
    """
    values, is_adjusted = level_values(levels, outcome.metric)
    test_values, _ = level_values(levels, TEST_ACCURACY)
    references = {level.factor: of_level for level, of_level in zip(levels, values, strict=True) if level.is_baseline}
    compared = [(level, of_level) for level, of_level in zip(levels, values, strict=True) if not level.is_baseline]
    contrasts = iter(paired_contrasts([(references.get(level.factor, {}), of_level) for level, of_level in compared]))
    return [
        _level_effect(level, of_level, of_test, None if level.is_baseline else next(contrasts), is_adjusted=is_adjusted)
        for level, of_level, of_test in zip(levels, values, test_values, strict=True)
    ]


def paired_differences(levels: Sequence[LevelCells], metric: str) -> list[list[float]]:
    """For every level that is not a reference, its value minus its factor's reference level's, one for each seed of both."""
    values, _ = level_values(levels, metric)
    references = {level.factor: of_level for level, of_level in zip(levels, values, strict=True) if level.is_baseline}
    return [
        [of_level[seed] - references[level.factor][seed] for seed in of_level.keys() & references.get(level.factor, {}).keys()]
        for level, of_level in zip(levels, values, strict=True)
        if not level.is_baseline
    ]


def _level_effect(
    level: LevelCells,
    values: Mapping[int, float],
    test_values: Mapping[int, float],
    contrast: Contrast | None,
    *,
    is_adjusted: bool,
) -> LevelEffect:
    has_pairs = contrast is not None and contrast.difference.num_values > 0
    runs = [run for cell in level.cells for run in cell]
    return LevelEffect(
        factor=level.factor,
        level=level.level,
        is_baseline=level.is_baseline,
        in_cell=level.in_cell,
        is_adjusted=is_adjusted,
        num_cells=len(level.cells),
        num_planned=len({run.seed for run in runs}),
        num_pruned=sum(run.status == PRUNED for run in runs),
        estimate=estimate(values),
        test_estimate=estimate(test_values),
        contrast=contrast if has_pairs else None,
        verdict=_verdict(contrast) if level.cells else "not in the design",
        accuracy_at_t=_mean_curve(block_curves(level.cells)),
    )


def _verdict(contrast: Contrast | None) -> Verdict:
    if contrast is None:
        return "baseline"
    if not contrast.difference.num_values:
        return "no data"
    if contrast.corrected_p < SIGNIFICANCE:
        return "higher" if contrast.difference.mean > 0 else "lower"
    return "undecided"


def _mean_curve(curves: Sequence[Sequence[float]]) -> tuple[Estimate, ...]:
    """Mean and interval at every t that all curves have."""
    return tuple(mean_interval(at_t) for at_t in zip(*curves, strict=False))
