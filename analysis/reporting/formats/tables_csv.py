"""Tables as CSV: numbers unrounded, levels in words, nothing where there is no value.

A spreadsheet takes a text that begins with = + - or @ for a formula, and runs it. Such a text gets an apostrophe in front, by
which spreadsheets mark texts; numbers stay as they are.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.outcomes import TEST_OUTCOME, outcomes_of
from analysis.statistics.summary import Summary
from studies.run_record import SELECTION, TEST_ACCURACY, Level, RunRecord, level_in_words

Rows = list[list[Any]]
"""The cells of a table, line by line; the first line has the names of the columns."""

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a text begins that a spreadsheet takes for a formula, or that has got its apostrophe."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file of these lines, in which no text is a formula; without its first apostrophe such a text is as it was."""
    return "".join(map(_line, rows))


def _line(row: Sequence[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(map(_no_formula, row))  # it quotes line ends that it knows of, and no others
    return out.getvalue().removesuffix("\r\n") + "\n"


def _no_formula(cell: Any) -> Any:
    is_formula = isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell


def effects_csv(summary: Summary) -> str:
    """``effects_rows`` as a CSV file."""
    return csv_text(effects_rows(summary))


def configurations_csv(summary: Summary) -> str:
    """``configurations_rows`` as a CSV file."""
    return csv_text(configurations_rows(summary))


def effects_rows(summary: Summary) -> Rows:
    """A line for every outcome, factor and level, and for test accuracy; only the header for designs that compare no levels."""
    header = "outcome factor level is_baseline num_planned num_finished mean low high".split()
    header += "difference difference_low difference_high p corrected_p verdict num_cells".split()
    header += "sd_of_differences effect_size is_adjusted scale interval_level num_collapsed".split()
    header += "low_over_images high_over_images".split()
    rows: Rows = [header]
    on_test = {TEST_OUTCOME: summary.on_test} if summary.on_test else {}
    for outcome, effects in {**summary.effects, **on_test}.items():
        over_images = summary.over_images.get(outcome.metric, [None] * len(effects))
        for e, over in zip(effects, over_images, strict=True):
            c = e.contrast
            compared = [c.difference.mean, c.difference.low, c.difference.high, c.p, c.corrected_p] if c else [""] * 5
            sizes, tested = ([c.sd, c.effect_size], [c.scale, 1 - c.level]) if c else ([""] * 2, [""] * 2)
            level: list[Any] = [outcome.metric, e.factor, level_in_words(e.level), e.is_baseline, e.num_planned, e.num_finished]
            of_images = [over.low, over.high] if over else [""] * 2
            others = [e.verdict, e.num_cells, *sizes, e.is_adjusted, *tested, e.num_collapsed, *of_images]
            rows.append([*level, *_bounds(e.estimate), *compared, *others])
    return rows


def configurations_rows(summary: Summary) -> Rows:
    """A line for every configuration of a random design or a search, the best first; for other designs only the header."""
    study, outcomes = summary.study, outcomes_of(summary.study)
    counts = ["num_planned", "num_finished", "keeps_limits", "on_pareto_front", "front_probability"]
    header = ["kind", "rank", *study.factors, *counts]
    for metric in (*(outcome.metric for outcome in outcomes), TEST_ACCURACY):
        header += [metric, f"{metric} low", f"{metric} high"]
    header += [f"selected on {outcome.metric}" for outcome in outcomes]
    rows: Rows = [header]
    for ranking in summary.rankings:
        for found in ranking.configurations:
            estimates = [*(found.estimates.get(outcome) for outcome in outcomes), found.test_estimate]
            row: list[Any] = [ranking.kind, found.rank or "", *_levels(found.levels, list(study.factors)), found.num_planned]
            probability = "" if math.isnan(found.front_probability) else found.front_probability
            row += [found.num_finished(summary.primary), found.keeps_limits, found.on_front, probability]
            row += [number for estimate in estimates for number in _bounds(estimate)]
            rows.append([*row, *(found.selected_on.get(outcome, "") for outcome in outcomes)])
    return rows


def replicates_csv(runs: Sequence[RunRecord]) -> str:
    """A line for every replicate: identity, role, levels, tuned values, seed, status, reason, selected epoch, every metric."""
    factors = sorted({name for run in runs for name in run.levels})
    tuned = sorted({name for run in runs for name in run.tuned})
    metrics = sorted({name for run in runs for name in run.metrics})
    names = [*factors, *(f"tuned.{name}" for name in tuned), "seed", "status", "reason", "selection", *metrics]
    rows: Rows = [["identity", "run_id", "role", *names]]
    for run in runs:
        levels = [*_levels(run.levels, factors), *_levels(run.tuned, tuned)]
        of_run = [run.seed, run.status, run.reason, run.facts.get(SELECTION, "last")]
        values = [run.metrics.get(name, "") for name in metrics]
        rows.append([run.identity, run.run_id, run.role, *levels, *of_run, *values])
    return csv_text(rows)


def comparison_csv(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for everything that two studies were compared in, then for every cell that one of them has alone.

    Args:
        names: The columns behind kind, outcome and levels.
        rows: Plain data by column; the levels are a mapping, None stands where there is no value.
    """
    factors = sorted({factor for row in rows for factor in row["levels"]})
    lines = [
        [
            row["kind"],
            row["outcome"],
            *_levels(row["levels"], factors),
            *("" if row[name] is None else row[name] for name in names),
        ]
        for row in rows
    ]
    return csv_text([["kind", "outcome", *factors, *names], *lines])


def _levels(levels: Mapping[str, Level], names: Sequence[str]) -> list[str]:
    """In words, so that null is not taken for inactive, which is empty."""
    return [level_in_words(levels[name]) if name in levels else "" for name in names]


def _bounds(estimate: Estimate | None) -> list[float | str]:
    return [estimate.mean, estimate.low, estimate.high] if estimate else ["", "", ""]
