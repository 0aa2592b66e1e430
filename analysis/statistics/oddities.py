"""What is odd about a study's results, in sentences: too few seeds or levels, nothing finished, values that are no numbers."""

import math
from collections import Counter
from collections.abc import Sequence

from analysis.statistics.data.outcomes import Outcome, objectives_of, outcomes_of
from studies.run_record import RunRecord, StudyRecord, level_in_words, levels_in_words

NUM_NAMED = 3


def oddities(study: StudyRecord, runs: Sequence[RunRecord]) -> list[str]:
    """All of them; the trials of a tuning answer no question, and are left out."""
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
        found.append("There is one seed: nothing says how much another would change, and nothing can be decided.")
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
    if odd := [run for run in having if not math.isfinite(run.metrics[outcome.metric])]:
        named = "; ".join(f"{levels_in_words(run.levels)} · seed {run.seed}" for run in odd[:NUM_NAMED])
        more = f" and {len(odd) - NUM_NAMED} more" if len(odd) > NUM_NAMED else ""
        found.append(f"{outcome.name}: {len(odd)} of {len(having)} values are not finite, and are left out ({named}{more}).")
    return found


def _of_constancy(outcome: Outcome, finished: Sequence[RunRecord]) -> list[str]:
    """Of what the study is judged on first; of others the tables say enough."""
    values = [run.metrics[outcome.metric] for run in finished if math.isfinite(run.metrics.get(outcome.metric, math.nan))]
    cells = {frozenset(run.levels.items()) for run in finished}
    if len(values) < 2 or len(set(values)) > 1 or len(cells) < 2:
        return []
    shown = level_in_words(values[0])
    return [f"{outcome.name} is {shown} in all {len(values)} replicates that have it: it tells no cell from another."]
