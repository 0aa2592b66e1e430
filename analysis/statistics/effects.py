"""The ablation summary as data: every level with its mean, its contrast with the baseline, and a verdict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.statistics.contrasts import Contrast, fewest_seeds, paired_contrasts
from analysis.statistics.intervals import Estimate, mean_interval
from studies.run_record import ACCURACY, SPARSITY, TEST_ACCURACY, Level, RunRecord, StudyRecord

SIGNIFICANCE = 0.05

Verdict = Literal["baseline", "higher", "lower", "undecided", "no data"]


@dataclass(frozen=True)
class Outcome:
    """What a study is judged on; values are fractions, shown in percent and points."""

    metric: str
    name: str


ACCURACY_OUTCOME = Outcome(ACCURACY, "validation accuracy")
OUTCOMES = (ACCURACY_OUTCOME, Outcome(SPARSITY, "activation sparsity"))


@dataclass(frozen=True)
class LevelEffect:
    """One level of one factor, all other factors at their baseline.

    ``estimate`` and ``contrast`` are None where no replicate of the cell (or no pair) has finished.
    """

    factor: str
    level: Level
    is_baseline: bool
    num_planned: int
    estimate: Estimate | None
    test_estimate: Estimate | None
    contrast: Contrast | None
    verdict: Verdict
    accuracy_at_t: tuple[Estimate, ...]


@dataclass(frozen=True)
class Summary:
    """All that is said of a study: effects per outcome in the order of the factors, and what to keep in mind."""

    study: StudyRecord
    runs: Sequence[RunRecord]
    effects: Mapping[Outcome, Sequence[LevelEffect]]
    warnings: Sequence[str]

    @property
    def not_finished(self) -> list[RunRecord]:
        """Replicates that are failed, missing, interrupted or still running."""
        return [run for run in self.runs if run.status != "FINISHED"]


def summarise(study: StudyRecord, runs: Sequence[RunRecord]) -> Summary:
    """Simple effects of every factor, at the baseline of the others, paired by seed, corrected over an outcome's contrasts."""
    effects = {outcome: _effects(study, runs, outcome) for outcome in OUTCOMES}
    return Summary(study, runs, effects, _warnings(study, runs, effects[ACCURACY_OUTCOME]))


def _effects(study: StudyRecord, runs: Sequence[RunRecord], outcome: Outcome) -> list[LevelEffect]:
    factor_levels = [(factor, level) for factor, levels in study.factors.items() for level in levels]
    cells = [_runs_of_cell(runs, {**study.baseline, factor: level}) for factor, level in factor_levels]
    is_baseline = [level == study.baseline[factor] for factor, level in factor_levels]
    baseline_values = _values(_runs_of_cell(runs, study.baseline), outcome.metric)
    compared = [_values(cell, outcome.metric) for cell, skip in zip(cells, is_baseline, strict=True) if not skip]
    contrasts = iter(paired_contrasts(baseline_values, compared))
    return [
        _level_effect(factor, level, cell, outcome, None if at_baseline else next(contrasts))
        for (factor, level), cell, at_baseline in zip(factor_levels, cells, is_baseline, strict=True)
    ]


def _level_effect(
    factor: str, level: Level, cell: Sequence[RunRecord], outcome: Outcome, contrast: Contrast | None
) -> LevelEffect:
    has_pairs = contrast is not None and contrast.difference.num_values > 0
    return LevelEffect(
        factor=factor,
        level=level,
        is_baseline=contrast is None,
        num_planned=len(cell),
        estimate=_estimate(_values(cell, outcome.metric)),
        test_estimate=_estimate(_values(cell, TEST_ACCURACY)),
        contrast=contrast if has_pairs else None,
        verdict=_verdict(contrast),
        accuracy_at_t=_mean_curve([run.accuracy_at_t for run in cell if run.accuracy_at_t]),
    )


def _verdict(contrast: Contrast | None) -> Verdict:
    if contrast is None:
        return "baseline"
    if not contrast.difference.num_values:
        return "no data"
    if contrast.corrected_p < SIGNIFICANCE:
        return "higher" if contrast.difference.mean > 0 else "lower"
    return "undecided"


def _runs_of_cell(runs: Sequence[RunRecord], levels: Mapping[str, Level]) -> list[RunRecord]:
    return [run for run in runs if run.levels == levels]


def _values(cell: Sequence[RunRecord], metric: str) -> dict[int, float]:
    """The metric of the finished replicates of a cell, by seed; values that are not finite are left out."""
    finished = {run.seed: run.metrics.get(metric, math.nan) for run in cell if run.status == "FINISHED"}
    return {seed: value for seed, value in finished.items() if math.isfinite(value)}


def _estimate(values: Mapping[int, float]) -> Estimate | None:
    return mean_interval(list(values.values())) if values else None


def _mean_curve(curves: Sequence[Sequence[float]]) -> tuple[Estimate, ...]:
    """Mean and interval at every t that all curves of the cell have."""
    return tuple(mean_interval(at_t) for at_t in zip(*curves, strict=False))


def _warnings(study: StudyRecord, runs: Sequence[RunRecord], effects: Sequence[LevelEffect]) -> list[str]:
    warnings = []
    num_contrasts = sum(len(levels) - 1 for levels in study.factors.values())
    needed = fewest_seeds(num_contrasts, SIGNIFICANCE)
    if len(study.seeds) < needed:
        warnings.append(
            f"With {len(study.seeds)} seeds and {num_contrasts} contrasts no corrected p-value can fall below {SIGNIFICANCE}; "
            f"{needed} seeds can."
        )
    for effect in effects:
        num_finished = effect.estimate.num_values if effect.estimate else 0
        if num_finished < effect.num_planned:
            warnings.append(
                f"{effect.factor} = {effect.level}: {effect.num_planned - num_finished} of {effect.num_planned} replicates have "
                "not finished; what is said of it is of those that have, which may flatter it."
            )
    for what, found in (
        ("versions of the packages", {run.versions for run in runs if run.versions}),
        ("commits of the code", {run.git_commit for run in runs if run.git_commit}),
    ):
        if len(found) > 1:
            warnings.append(f"The replicates were trained with {len(found)} {what}; see Method.")
    digests = {run.data_digest for run in runs if run.data_digest}
    if len(digests) > 1:
        warnings.append(f"The replicates were trained on {len(digests)} different data sets.")
    return warnings
