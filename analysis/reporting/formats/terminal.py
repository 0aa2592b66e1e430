"""The summary for a terminal, and as CSV for what comes after it."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.reporting.topics.effect_sentences import effect_sentences
from analysis.reporting.topics.effects import effect_terminal_tables
from analysis.reporting.topics.interactions import variance_sentences
from analysis.reporting.topics.method import design_lines, unfinished_lines
from analysis.reporting.topics.rank_stability import stability_sentences
from analysis.reporting.topics.rankings import ranking_sentences, ranking_terminal_tables
from analysis.reporting.topics.search import search_terminal_tables
from analysis.reporting.topics.search_sentences import search_sentences
from analysis.reporting.topics.tuning import tuned_terminal_tables
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.outcomes import outcomes_of
from analysis.statistics.summary import Summary
from studies.run_record import TEST_ACCURACY, Level, RunRecord, level_in_words

NUM_UNFINISHED_SHOWN = 20


def verdicts(summary: Summary) -> list[str]:
    """The answer in sentences: of effects one per factor and outcome, of rankings what was tried and what is best."""
    effects = [*effect_sentences(summary), *variance_sentences(summary), *stability_sentences(summary)]
    return [*effects, *ranking_sentences(summary), *search_sentences(summary)]


def terminal(summary: Summary) -> Group:
    """The summary for a terminal of 80 columns; the files say more."""
    parts: list[Table | Text] = [Text(summary.study.question, "bold"), Text()]
    for table in (
        *effect_terminal_tables(summary),
        *ranking_terminal_tables(summary),
        *search_terminal_tables(summary),
        *tuned_terminal_tables(summary),
    ):
        parts += [table, Text()]
    parts += [Text(line, "dim") for line in design_lines(summary.study)]
    parts += [Text(f"• {verdict}") for verdict in verdicts(summary)]
    parts += [Text(warning, "yellow") for warning in summary.warnings]
    if unfinished := unfinished_lines(summary):
        parts.append(Text(f"{len(unfinished)} of {len(summary.asked)} replicates have not finished:", "red"))
        parts += [Text(f"  {line}", "red") for line in unfinished[:NUM_UNFINISHED_SHOWN]]
    if len(unfinished) > NUM_UNFINISHED_SHOWN:
        parts.append(Text(f"  and {len(unfinished) - NUM_UNFINISHED_SHOWN} more, which replicates.csv has", "red"))
    return Group(*parts)


def effects_csv(summary: Summary) -> str:
    """One line per outcome, factor and level, unrounded; only its header for designs that compare no levels."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = "outcome factor level is_baseline num_planned num_finished mean low high".split()
    columns += "difference difference_low difference_high p corrected_p verdict num_cells".split()
    columns += "sd_of_differences effect_size is_adjusted".split()
    writer.writerow(columns)
    for outcome, effects in summary.effects.items():
        for e in effects:
            c = e.contrast
            compared = [c.difference.mean, c.difference.low, c.difference.high, c.p, c.corrected_p] if c else [""] * 5
            sizes = [c.sd, c.effect_size] if c else [""] * 2
            level: list[Any] = [outcome.metric, e.factor, level_in_words(e.level), e.is_baseline, e.num_planned, e.num_finished]
            writer.writerow([*level, *_bounds(e.estimate), *compared, e.verdict, e.num_cells, *sizes, e.is_adjusted])
    return out.getvalue()


def configurations_csv(summary: Summary) -> str:
    """One line per configuration of a random design or a search, the best first, unrounded; for other designs only its header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    study, outcomes = summary.study, outcomes_of(summary.study)
    columns = [
        "kind",
        "rank",
        *study.factors,
        "num_planned",
        "num_finished",
        "keeps_limits",
        "on_pareto_front",
        "front_probability",
    ]
    for metric in (*(outcome.metric for outcome in outcomes), TEST_ACCURACY):
        columns += [metric, f"{metric} low", f"{metric} high"]
    writer.writerow([*columns, *(f"selected on {outcome.metric}" for outcome in outcomes)])
    for ranking in summary.rankings:
        for found in ranking.configurations:
            estimates = [*(found.estimates.get(outcome) for outcome in outcomes), found.test_estimate]
            row: list[Any] = [ranking.kind, found.rank or "", *_levels(found.levels, list(study.factors)), found.num_planned]
            probability = "" if math.isnan(found.front_probability) else found.front_probability
            row += [found.num_finished(summary.primary), found.keeps_limits, found.on_front, probability]
            row += [number for estimate in estimates for number in _bounds(estimate)]
            writer.writerow([*row, *(found.selected_on.get(outcome, "") for outcome in outcomes)])
    return out.getvalue()


def replicates_csv(runs: Sequence[RunRecord]) -> str:
    """One line per replicate: identity, role, levels, tuned values, seed, status, reason, every metric."""
    out = io.StringIO()
    factors = sorted({name for run in runs for name in run.levels})
    tuned = sorted({name for run in runs for name in run.tuned})
    metrics = sorted({name for run in runs for name in run.metrics})
    writer = csv.writer(out, lineterminator="\n")
    names = [*factors, *(f"tuned.{name}" for name in tuned), "seed", "status", "reason", *metrics]
    writer.writerow(["identity", "run_id", "role", *names])
    for run in runs:
        values = [run.metrics.get(name, "") for name in metrics]
        levels = [*_levels(run.levels, factors), *_levels(run.tuned, tuned)]
        writer.writerow([run.identity, run.run_id, run.role, *levels, run.seed, run.status, run.reason, *values])
    return out.getvalue()


def _levels(levels: Mapping[str, Level], names: Sequence[str]) -> list[str]:
    """In words, so that null is not taken for inactive, which is empty."""
    return [level_in_words(levels[name]) if name in levels else "" for name in names]


def _bounds(estimate: Estimate | None) -> list[float | str]:
    return [estimate.mean, estimate.low, estimate.high] if estimate else ["", "", ""]
