"""Are the statistics true? Thousands of studies whose effects are planted, judged by the code that reports use.

    python -m tests.benchmarks.calibration [--short] [--json]

A study has 5 cells (two factors of three levels, one at a time) or 6 (a factorial of 2 × 3), 3, 6 or 10 seeds that shift all
cells alike, and noise that is normal, differs by level, or has heavy tails (t with 3 degrees of freedom); 10 % of the
replicates are missing in half of them. Acceptance: 95 % intervals cover 93 to 97 %, those of differences, which are at the
level of their corrected test, at least 93 %; in at most 5 % of the studies without any effect one is claimed (a family-wise
error), within simulation error. What leaves this is named below the table. Beside them, on the same numbers, what is done
without such a tool: a percentile bootstrap over seeds, Welch's unpaired t-test without correction, and the best of 3 seeds.
Then: power of the smallest effect that ``check`` prints (80 %), the analysis of variance, and the best of several cells: how
often one is wrongly called the best (at most 5 %), how often the truly best one is among those that may be (at least 95 %), and
how often the interval of the one with the best mean has its truth although that mean was chosen for being the best (at least
95 %; Student's own covers 88 to 90 % for 8 equal cells and 70 to 75 % for 60). Every number stands with its simulation error,
one standard error. The last line is JSON.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

from tests.benchmarks import calibration_cases as cases
from tests.benchmarks.calibration_cases import Rate
from tests.benchmarks.simulated_studies import NOISES

NUM_SEEDS = (3, 6, 10)
POWERS: Mapping[str, tuple[int, str, tuple[int, ...]]] = {
    "6 seeds, 1 contrast": (6, "one_factor_at_a_time", (2,)),
    "8 seeds, 4 contrasts": (8, "one_factor_at_a_time", (5,)),
    "10 seeds, 4 contrasts": (10, "one_factor_at_a_time", (3, 3)),
    "12 seeds, 8 contrasts": (12, "one_factor_at_a_time", (9,)),
    "10 seeds, 2 × 3 cells": (10, "full_factorial", (2, 3)),
}
LONG = {"contrasts": 3000, "variances": 1000, "power": 3000, "ranks": 2000}
SHORT = {"contrasts": 40, "variances": 15, "power": 100, "ranks": 25}
"""How many studies of each case, of a planted effect and without one."""
ACCEPTED = (0.93, 0.97)
MOST_ERRORS = 0.05
NUM_PROCESSES = 2


Lines = Sequence[tuple[str, Mapping[str, Rate]]]
"""Of a table: what each is of, and its rates by column."""


@dataclass(frozen=True)
class Results:
    """What was found, by case."""

    contrasts: Lines
    variances: Lines
    power: Lines
    ranks: Lines


def simulate(counts: Mapping[str, int], num_processes: int) -> Results:
    """All cases, each with a generator of its own, so that the numbers do not depend on how many processes there are."""
    conditions = list(product(NUM_SEEDS, NOISES, (False, True)))
    with ProcessPoolExecutor(num_processes) as pool:
        contrasts = [pool.submit(cases.contrasts, *each, counts["contrasts"]) for each in conditions]
        variances = [pool.submit(cases.variances, *each, counts["variances"]) for each in conditions]
        power = [pool.submit(cases.power, *each, counts["power"]) for each in POWERS.values()]
        ranked = list(product(NUM_SEEDS, cases.RANKED))
        ranks = [pool.submit(cases.ranks, *each, counts["ranks"]) for each in ranked]
        names = [f"{num} seeds, {noise}{', 10 % missing' if missing else ''}" for num, noise, missing in conditions]
        return Results(
            list(zip(names, (each.result() for each in contrasts), strict=True)),
            list(zip(names, (each.result() for each in variances), strict=True)),
            list(zip(POWERS, (each.result() for each in power), strict=True)),
            [(f"{num} seeds, {case}", each.result()) for (num, case), each in zip(ranked, ranks, strict=True)],
        )


def tables(results: Results) -> Iterator[str]:
    """The tables' lines, in Markdown, then what left the accepted range."""
    for title, lines in (
        ("Contrasts with the baseline (one factor at a time)", results.contrasts),
        ("Factorial: main effects, and the analysis of variance", results.variances),
        ("Power at the smallest effect that check prints, 80 % in theory", results.power),
        ("The best of several cells", results.ranks),
    ):
        columns = list(lines[0][1])
        yield f"\n{title}\n"
        yield f"| | {' | '.join(columns)} |"
        yield f"|---|{'---:|' * len(columns)}"
        for name, rates in lines:
            yield f"| {name} | {' | '.join(rates[column].in_words() for column in columns)} |"
    yield ""
    yield from departures(results)


def departures(results: Results) -> Iterator[str]:
    """A sentence on every interval or error of the reports' own that is out of range by more than two simulation errors."""
    for name, rates in [*results.contrasts, *results.variances]:
        for column in cases.INTERVALS:
            rate = rates.get(column)
            most = 1.0 if column in cases.AT_LEAST_95 else ACCEPTED[1]
            if rate and (rate.value + 2 * rate.error < ACCEPTED[0] or rate.value - 2 * rate.error > most):
                yield f"Out of 93 to 97 %: {name}: {column} {rate.in_words()}. {cases.why(name, column)}"
        for column in cases.ERRORS:
            rate = rates.get(column)
            if rate and rate.value - 2 * rate.error > MOST_ERRORS:
                yield f"Above 5 %: {name}: {column} {rate.in_words()}. {cases.why(name, column)}"
    for name, rates in results.ranks:
        wrong = rates[cases.CALLED_WRONGLY]
        if wrong.value - 2 * wrong.error > MOST_ERRORS:
            yield f"Above 5 %: {name}: {cases.CALLED_WRONGLY} {wrong.in_words()}."
        for column in (cases.AMONG, cases.FIRST):
            rate = rates[column]
            if rate.value + 2 * rate.error < 1 - MOST_ERRORS:
                yield f"Below 95 %: {name}: {column} {rate.in_words()}."


def overall(results: Results) -> dict[str, Any]:
    """The JSON: over everything simulated, then case by case."""
    of_reports = [*results.contrasts, *results.variances]
    intervals = [rates[column] for _, rates in of_reports for column in cases.T_INTERVALS if column in rates]
    errors = [rates[column] for _, rates in of_reports for column in cases.SIGN_FLIP_ERRORS if column in rates]
    return {
        "coverage_95": Rate.pooled(intervals).as_pair(),
        "family_wise_error": Rate.pooled(errors).as_pair(),
        "contrasts": _by_case(results.contrasts),
        "variances": _by_case(results.variances),
        "power": _by_case(results.power),
        "ranks": _by_case(results.ranks),
        "departures": list(departures(results)),
    }


def _by_case(lines: Lines) -> dict[str, dict[str, list[float | None]]]:
    return {name: {column: rate.as_pair() for column, rate in rates.items()} for name, rates in lines}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="few studies of each case, in one process: what tests run")
    parser.add_argument("--json", action="store_true", help="the tables on standard error, one line of JSON on standard output")
    arguments = parser.parse_args()
    results = simulate(SHORT, 1) if arguments.short else simulate(LONG, NUM_PROCESSES)
    for line in tables(results):
        print(line, file=sys.stderr if arguments.json else sys.stdout)
    print(json.dumps(overall(results)), flush=True)


if __name__ == "__main__":
    main()
