"""The ablation summary as data: everything that is estimated of a study, and the warnings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.image_correctness import PARTS, differences_over_images, image_warnings
from analysis.statistics.data.level_cells import LevelCells, level_cells
from analysis.statistics.data.outcomes import TEST_OUTCOME, Outcome, compared_outcomes, objectives_of
from analysis.statistics.effects.interactions import VarianceTable, variance_table
from analysis.statistics.effects.level_effects import LevelEffect, level_effects
from analysis.statistics.effects.rank_stability import RankStability, rank_stability
from analysis.statistics.search.exploration import Exploration, explore
from analysis.statistics.search.rankings import Ranking, rankings
from analysis.statistics.search.tuning import TunedCell, tuned_cells
from analysis.statistics.selection import selection_warnings
from analysis.statistics.spiking import Spiking, spiking_of, tie_warnings
from analysis.statistics.warnings import data_warnings, design_warnings
from studies.run_record import PRUNED, RunRecord, StudyRecord


@dataclass(frozen=True)
class Summary:
    """Everything that is estimated of a study.

    Designs of factors have effects for every outcome, in the order of the factors; a random design and a search have rankings,
    and an ``exploration`` of their space.
    """

    study: StudyRecord
    runs: Sequence[RunRecord]
    effects: Mapping[Outcome, Sequence[LevelEffect]]
    rankings: Sequence[Ranking]
    tuned: Sequence[TunedCell]
    warnings: Sequence[str]
    spiking: Spiking
    variances: Mapping[Outcome, VarianceTable] = field(default_factory=dict)
    """Of factorial designs, the outcomes that vary."""
    stability: RankStability | None = None
    exploration: Exploration | None = None
    on_test: Sequence[LevelEffect] = ()
    """The effects on test accuracy, in the order of ``effects``; none where no replicate has it."""
    over_images: Mapping[str, Sequence[Estimate | None]] = field(default_factory=dict)
    """By accuracy, in the order of ``effects``: the differences with intervals over seeds and images, where they are known (see
    ``differences_over_images``)."""

    @property
    def primary(self) -> Outcome:
        """The first of the study's objectives: its contrasts are the confirmatory claims, all else is exploratory."""
        return objectives_of(self.study)[0]

    @property
    def asked(self) -> list[RunRecord]:
        """The replicates that answer the question: all but the trials of a tuning."""
        return [run for run in self.runs if run.role != "tuning"]

    @property
    def not_finished(self) -> list[RunRecord]:
        """Those of them that are failed, missing, interrupted or still running; pruned ones are not."""
        return [run for run in self.asked if run.status not in ("FINISHED", PRUNED)]


def _over_images(
    levels: Sequence[LevelCells], effects: Mapping[Outcome, Sequence[LevelEffect]], on_test: Sequence[LevelEffect]
) -> dict[str, list[Estimate | None]]:
    by_metric = {outcome.metric: found for outcome, found in effects.items()} | {TEST_OUTCOME.metric: on_test}
    over_seeds = {
        metric: [(one.contrast.difference, 1 - one.contrast.level) if one.contrast else None for one in by_metric[metric]]
        for metric in PARTS
        if metric in by_metric
    }
    return {metric: differences_over_images(levels, metric, found) for metric, found in over_seeds.items()}


def summarise(study: StudyRecord, runs: Sequence[RunRecord], record_warnings: Sequence[str] = ()) -> Summary:
    """Estimate what the design allows: simple effects, main effects, or a ranking (see ``level_cells`` and ``rankings``).

    Args:
        study: What was asked.
        runs: What became of it, one for every replicate.
        record_warnings: What is wrong with the records in MLflow; these stand before the other warnings.
    """
    levels = level_cells(study, runs)
    effects = {outcome: level_effects(levels, outcome) for outcome in compared_outcomes(study, runs)} if levels else {}
    on_test = level_effects(levels, TEST_OUTCOME) if levels else []
    over_images = _over_images(levels, effects, on_test)
    ranked, tuned = rankings(study, runs), tuned_cells(runs)
    primary = effects[objectives_of(study)[0]] if levels else []
    tables = {outcome: table for outcome in effects if (table := variance_table(study, runs, outcome))}
    warnings = [
        *record_warnings,
        *design_warnings(study, runs, levels, primary, ranked, tuned),
        *selection_warnings(runs),
        *tie_warnings(runs),
        *image_warnings(runs),
        *data_warnings(study, runs),
    ]
    return Summary(
        study,
        runs,
        effects,
        ranked,
        tuned,
        warnings,
        spiking_of(study, runs),
        variances=tables,
        stability=rank_stability(study, runs),
        exploration=explore(study, runs),
        on_test=on_test if any(effect.estimate for effect in on_test) else (),
        over_images={metric: found for metric, found in over_images.items() if any(found)},
    )
