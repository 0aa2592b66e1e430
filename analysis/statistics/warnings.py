"""Warnings: what a reader must mind before believing a summary, from the design of the study and from its data."""

import math
from collections import Counter
from collections.abc import Sequence

from analysis.statistics.data.cells import block_means, group_by_levels
from analysis.statistics.data.level_cells import FACTORIAL, LevelCells, unbalanced_levels
from analysis.statistics.data.outcomes import Outcome, objectives_of, outcomes_of
from analysis.statistics.effects.contrasts import SIGNIFICANCE, fewest_seeds
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.search.rankings import Ranking
from analysis.statistics.search.tuning import TunedCell
from analysis.words import counted, first_of
from studies.run_record import SYNTHETIC, RunRecord, StudyRecord, level_in_words, levels_in_words

NUM_NAMED = 3
"""Of replicates whose values are left out."""


def design_warnings(
    study: StudyRecord,
    runs: Sequence[RunRecord],
    levels: Sequence[LevelCells],
    effects: Sequence[LevelEffect],
    rankings: Sequence[Ranking],
    tuned: Sequence[TunedCell],
) -> list[str]:
    """What the design and its missing replicates mean for the answer; ``effects`` are those on the primary objective."""
    found = _of_truth(study) + _of_power(study, effects)
    found += _of_blocks(study, runs) if study.design in FACTORIAL else _of_levels(objectives_of(study)[0], effects)
    if study.design in FACTORIAL:
        found += _of_balance(study, levels, is_adjusted=any(effect.is_adjusted for effect in effects))
    found += _of_rankings(study, rankings)
    found += _of_tuning(tuned)
    return found + _of_sameness(study, runs)


def _of_truth(study: StudyRecord) -> list[str]:
    if SYNTHETIC not in study.trainable:
        return []
    return ["These results are synthetic: they are drawn from a response surface with known effects, and nothing was trained."]


def _of_power(study: StudyRecord, effects: Sequence[LevelEffect]) -> list[str]:
    num_contrasts = sum(effect.is_contrast for effect in effects)
    needed = fewest_seeds(num_contrasts)
    if not num_contrasts or len(study.seeds) >= needed:
        return []
    seeds, contrasts = counted(len(study.seeds), "seed"), counted(num_contrasts, "contrast")
    return [
        f"With {seeds} and {contrasts} no corrected p-value can fall below {SIGNIFICANCE}, so that no difference is decided or "
        f"has an interval; that takes {needed} seeds."
    ]


def _of_levels(outcome: Outcome, effects: Sequence[LevelEffect]) -> list[str]:
    found = []
    for effect in effects:
        title = f"{effect.factor} = {level_in_words(effect.level)}"
        if effect.num_pruned:
            found.append(
                f"{title}: {effect.num_pruned} of {effect.num_planned} replicates were pruned; its numbers are of the others, "
                "which makes it look better than it is."
            )
        for num, what in ((effect.num_unfinished, "not finished"), (effect.num_without_value, f"no value of {outcome.name}")):
            if num:
                found.append(
                    f"{title}: {num} of {effect.num_planned} replicates have {what}; its numbers are of the others, which may "
                    "make it look better than it is."
                )
    return found


def _of_blocks(study: StudyRecord, runs: Sequence[RunRecord]) -> list[str]:
    cells = list(group_by_levels(run for run in runs if run.role == "cell").values())
    num_whole = len(block_means(cells, objectives_of(study)[0].metric))
    if num_whole == len(study.seeds):
        return []
    return [
        f"{num_whole} of {len(study.seeds)} seeds have a result in every cell. Each of the others counts with the cells that it "
        "has, adjusted for those that are missing."
    ]


def _of_balance(study: StudyRecord, levels: Sequence[LevelCells], *, is_adjusted: bool) -> list[str]:
    unbalanced = [f"{level.factor} = {level_in_words(level.level)}" for level in unbalanced_levels(study, levels)]
    if not unbalanced:
        return []
    consequence = (
        "Means and differences are adjusted for that by a linear model of main effects, which is right if the factors do not "
        "interact."
        if is_adjusted
        else "No model can separate these factors, so that the differences are partly due to the others."
    )
    return [
        f"The design is not balanced: the cells with {', '.join(unbalanced)} have the other factors' levels in other proportions "
        f"than those with the baseline level. {consequence}"
    ]


def _of_rankings(study: StudyRecord, rankings: Sequence[Ranking]) -> list[str]:
    kinds = [ranking.kind for ranking in rankings]
    if kinds != ["search"] or not rankings[0].configurations:
        return []
    (primary, *_) = objectives_of(study)
    return [
        f"No finalist was trained with fresh seeds: the configurations shown were selected on the {primary.name} that is shown, "
        "which makes them look better than they are."
    ]


def _of_tuning(tuned: Sequence[TunedCell]) -> list[str]:
    return [
        f"{levels_in_words(cell.levels)}: its replicates were trained with {cell.num_choices} different tuned values."
        for cell in tuned
        if cell.num_choices > 1
    ]


def _of_sameness(study: StudyRecord, runs: Sequence[RunRecord]) -> list[str]:
    found = []
    for what, values in (
        ("versions of the packages", {run.versions for run in runs if run.versions}),
        ("commits of the code", {run.git_commit for run in runs if run.git_commit}),
    ):
        if len(values) > 1:
            found.append(f"The replicates were trained with {len(values)} {what}; see Method.")
    digests = {run.data_digest for run in runs if run.data_digest}
    if len(digests) > 1 and "data" not in study.factors:
        found.append(f"The replicates were trained on {len(digests)} different data sets.")
    return found


def data_warnings(study: StudyRecord, runs: Sequence[RunRecord]) -> list[str]:
    """Too few seeds or levels, nothing that has finished, values that are missing, not finite or all the same.

    The trials of a tuning answer no question, and are left out.
    """
    asked = [run for run in runs if run.role != "tuning"]
    finished = [run for run in asked if run.status == "FINISHED"]
    found = [*_of_size(study), *_of_nothing(asked, finished)]
    for outcome in outcomes_of(study) if finished else ():
        found += _of_values(outcome, finished, is_objective=outcome in objectives_of(study))
    if finished:
        found += _of_constancy(objectives_of(study)[0], finished)
    return found


def _of_size(study: StudyRecord) -> list[str]:
    found = []
    if study.design != "adaptive_search" and len(study.seeds) == 1:
        found.append("There is one seed: how much another seed would change is unknown, and nothing can be decided.")
    if not study.factors:
        found.append("The study has no factor: there is nothing to compare.")
    for factor, levels in study.factors.items():
        if len(levels) == 1 and factor not in study.ranges:
            found.append(f"{factor} has one level ({level_in_words(levels[0])}): there is nothing to compare it with.")
    return found


def _of_nothing(asked: Sequence[RunRecord], finished: Sequence[RunRecord]) -> list[str]:
    if finished:
        return []
    if not asked:
        return ["The study has no replicate yet."]
    counts = Counter(run.status.lower() for run in asked)
    states = ", ".join(f"{num} {state}" for state, num in sorted(counts.items()))
    reasons = Counter(run.reason for run in asked if run.status == "FAILED" and run.reason)
    because = f" The most frequent reason: {reasons.most_common(1)[0][0]}." if reasons else ""
    return [f"No replicate has finished ({states}): there is nothing to estimate.{because}"]


def _of_values(outcome: Outcome, finished: Sequence[RunRecord], *, is_objective: bool) -> list[str]:
    having = [run for run in finished if outcome.metric in run.metrics]
    if not having:
        return [f"No finished replicate has the metric {outcome.metric}, which the study is judged on."] if is_objective else []
    found = []
    if num_lacking := len(finished) - len(having):
        found.append(f"{outcome.name}: {num_lacking} of {len(finished)} finished replicates have no value, and are left out.")
    if bad := [run for run in having if not math.isfinite(run.metrics[outcome.metric])]:
        named = first_of([f"{levels_in_words(run.levels)} · seed {run.seed}" for run in bad], NUM_NAMED, "; ")
        found.append(f"{outcome.name}: {len(bad)} of {len(having)} values are not finite, and are left out ({named}).")
    return found


def _of_constancy(outcome: Outcome, finished: Sequence[RunRecord]) -> list[str]:
    """Of what the study is judged on first; of others the tables say enough."""
    values = [run.metrics[outcome.metric] for run in finished if math.isfinite(run.metrics.get(outcome.metric, math.nan))]
    cells = {frozenset(run.levels.items()) for run in finished}
    if len(values) < 2 or len(set(values)) > 1 or len(cells) < 2:
        return []
    shown = level_in_words(values[0])
    return [f"{outcome.name} is {shown} in all {len(values)} replicates that have it, so it distinguishes no cells."]
