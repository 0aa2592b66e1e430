"""Two studies side by side, in words: what differs between them first, then every cell or level that both have."""

import csv
import dataclasses
import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.records.loading import RecordedStudy
from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Line, Section, title
from analysis.reporting.formats.document import Document
from analysis.reporting.topics.provenance import Difference, differences
from analysis.statistics.comparison import (
    Compared,
    Repetition,
    Sides,
    compare_cells,
    compare_effects,
    compare_levels,
    only_in,
    repetition,
    shared_outcomes,
)
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.effects.contrasts import fewest_seeds
from analysis.statistics.effects.level_effects import SIGNIFICANCE
from analysis.statistics.oddities import oddities
from studies.run_record import Level, level_in_words, levels_in_words

METHOD = [
    "A seed's results in the two studies are a pair where at least two seeds, and half of those of the study that has fewer, are "
    "shared: Student's t interval and exact sign-flip test over the differences. Else Welch's interval and test.",
    f"Corrected by Holm over all comparisons of one table; a verdict needs corrected p < {SIGNIFICANCE}.",
    "An effect is a level minus its factor's baseline level, in either study as its own summary has it; the difference of the "
    "two says whether the level does the same in both.",
]
HEADINGS = {"cell": "cells", "level": "levels", "effect": "effects of a level"}


@dataclass(frozen=True)
class Comparison:
    """Two studies, and everything that is said of both; ``first`` and ``second`` are their names where these differ."""

    studies: tuple[RecordedStudy, RecordedStudy]
    names: tuple[str, str]
    differences: Sequence[Difference]
    compared: Mapping[Outcome, Sequence[Compared]]
    """Cells where both studies have the same factors or no levels to compare, else levels; then effects."""
    only: tuple[Sequence[Mapping[str, Level]], Sequence[Mapping[str, Level]]]
    """Combinations of levels that one of them has alone."""
    repetitions: Mapping[Outcome, Repetition]


def compare(first: RecordedStudy, second: RecordedStudy) -> Comparison:
    """All that two studies allow."""
    names = (first.study.name, second.study.name)
    outcomes = shared_outcomes(first.study, second.study)
    sides = (Sides(first.study, first.runs), Sides(second.study, second.runs))
    of_cells = first.study.factors.keys() == second.study.factors.keys() or not all(side.levels for side in sides)
    compared = {}
    for outcome in outcomes:
        things = compare_cells(first.runs, second.runs, outcome) if of_cells else compare_levels(*sides, outcome)
        compared[outcome] = [*things, *compare_effects(*sides, outcome)]
    return Comparison(
        studies=(first, second),
        names=names if names[0] != names[1] else (f"{names[0]} (first)", f"{names[1]} (second)"),
        differences=differences(first, second),
        compared=compared,
        only=(only_in(first.runs, second.runs), only_in(second.runs, first.runs)),
        repetitions={outcome: repetition(first.runs, second.runs, outcome) for outcome in outcomes},
    )


def comparison_document(comparison: Comparison, *, is_narrow: bool = False) -> Document:
    """The comparison as it is read; for a terminal of 80 columns without the means' intervals."""
    sections = [section for section in _sections(comparison, is_narrow=is_narrow) if section.lines]
    lists = {
        f"Only in {name}": [levels_in_words(levels) or "the only cell" for levels in only]
        for name, only in zip(comparison.names, comparison.only, strict=True)
    }
    return Document(
        title=f"{comparison.names[1]} against {comparison.names[0]}",
        lead=" / ".join(dict.fromkeys(recorded.study.question for recorded in comparison.studies)),
        sentences=list(_sentences(comparison)),
        warnings=_warnings(comparison),
        sections=[_difference_section(comparison), *sections],
        lists={**lists, "Method": METHOD},
    )


def _sections(comparison: Comparison, *, is_narrow: bool) -> Iterator[Section]:
    for outcome, found in comparison.compared.items():
        for kind, heading in HEADINGS.items():
            things = [compared for compared in found if compared.kind == kind]
            lines = [Line(_cells(outcome, compared, is_narrow=is_narrow), _class(outcome, compared)) for compared in things]
            caption = (
                f"First is {comparison.names[0]}, second is {comparison.names[1]}; means of pairs are over the shared seeds."
            )
            yield Section(f"{title(outcome)}: {heading}", caption, _columns(outcome, is_narrow=is_narrow), lines)


def _columns(outcome: Outcome, *, is_narrow: bool) -> list[Column]:
    unit, points = formatting.unit(outcome), ", points" if outcome.is_fraction else ""
    interval = "" if is_narrow else " (95 %)"
    return [
        Column("levels", is_text=True),
        Column(f"first{unit}{interval}"),
        Column(f"second{unit}{interval}"),
        Column("seeds", is_text=True),
        Column(f"difference{points} (95 %)"),
        *([] if is_narrow else [Column("p")]),
        Column("Holm p" if is_narrow else "corrected p"),
        Column("" if is_narrow else "verdict", is_text=True),
    ]


def _cells(outcome: Outcome, compared: Compared, *, is_narrow: bool) -> list[str]:
    sign = "+" if compared.kind == "effect" else ""
    return [
        levels_in_words(compared.levels) or "the only cell",
        *(_mean(outcome, found, sign, is_narrow=is_narrow) for found in (compared.first, compared.second)),
        _seeds(compared),
        formatting.difference(outcome, compared.difference) if compared.difference else formatting.NONE,
        *([] if is_narrow else [_p(compared.p)]),
        _p(compared.corrected_p),
        compared.verdict,
    ]


def _mean(outcome: Outcome, estimate: Estimate | None, sign: str, *, is_narrow: bool) -> str:
    if estimate is None:
        return formatting.NONE
    if is_narrow:
        return formatting.number(outcome, estimate.mean, sign)
    return formatting.difference(outcome, estimate) if sign else formatting.value(outcome, estimate)


def _seeds(compared: Compared) -> str:
    if compared.is_paired and compared.difference:
        return f"{compared.difference.num_values} pairs"
    first, second = (found.num_values if found else 0 for found in (compared.first, compared.second))
    return f"{first} and {second}, unpaired"


def _p(p: float) -> str:
    return formatting.NONE if math.isnan(p) else formatting.p_value(p)


def _class(outcome: Outcome, compared: Compared) -> str:
    if compared.verdict in ("higher", "lower"):
        return "better" if (compared.verdict == "higher") == (outcome.direction == "maximize") else "worse"
    return compared.verdict.replace(" ", "-")


def _difference_section(comparison: Comparison) -> Section:
    columns = [Column("what", is_text=True), *(Column(name, is_text=True) for name in comparison.names)]
    lines = [Line([difference.what, difference.first, difference.second]) for difference in comparison.differences]
    same = "" if lines else " Nothing that is recorded differs."
    return Section(
        "What differs", f"Data, code, settings, config and versions that are not the same in both.{same}", columns, lines
    )


def _sentences(comparison: Comparison) -> Iterator[str]:
    for name, recorded in zip(comparison.names, comparison.studies, strict=True):
        counts = Counter(run.status.lower() for run in recorded.runs if run.role != "tuning")
        states = ", ".join(f"{num} {state}" for state, num in counts.items()) or "none"
        yield f"{name}: {sum(counts.values())} replicates: {states}."
    for outcome, found in comparison.compared.items():
        for kind, heading in HEADINGS.items():
            if things := [compared for compared in found if compared.kind == kind]:
                yield f"{outcome.name}, {heading}: {_verdicts(outcome, things)}."
    for outcome, repeated in comparison.repetitions.items():
        if repeated.num_shared:
            yield (
                f"{repeated.num_shared} replicates have the same identity in both; {repeated.num_equal} of them have the same "
                f"{outcome.name} to the last digit."
            )


def _verdicts(outcome: Outcome, things: Sequence[Compared]) -> str:
    parts = [
        f"{compared.verdict} at {levels_in_words(compared.levels) or 'the only cell'}: "
        f"{formatting.difference(outcome, compared.difference)}{formatting.difference_unit(outcome)}"
        for compared in things
        if compared.difference and compared.verdict in ("higher", "lower")
    ]
    counts = Counter(compared.verdict for compared in things)
    parts += [f"{counts[verdict]} {verdict}" for verdict in ("undecided", "no data") if counts[verdict]]
    return "; ".join(parts)


def _warnings(comparison: Comparison) -> list[str]:
    found = []
    for name, recorded in zip(comparison.names, comparison.studies, strict=True):
        found += [f"{name}: {text}" for text in (*recorded.remarks, *oddities(recorded.study, recorded.runs))]
    things = [compared for of_outcome in comparison.compared.values() for compared in of_outcome]
    if not things:
        found.append("The two studies have no cell and no level of a factor in common: nothing is compared.")
    if unpaired := sum(not compared.is_paired and compared.difference is not None for compared in things):
        found.append(
            f"{unpaired} of {len(things)} differences are not paired, because the studies share too few seeds there: Welch's "
            "interval and test, which take the seeds of the one for independent of those of the other."
        )
    found += _of_power(comparison)
    if any(difference.what == "data digest" for difference in comparison.differences):
        found.append("The two studies have different data: a difference of results is of the data too.")
    return found


def _of_power(comparison: Comparison) -> list[str]:
    """Of the table that has most comparisons."""
    tables = [
        [compared for compared in found if compared.kind == kind and compared.is_paired and compared.difference]
        for found in comparison.compared.values()
        for kind in HEADINGS
    ]
    largest = max(tables, key=len, default=[])
    most = max((compared.difference.num_values for compared in largest if compared.difference), default=0)
    needed = fewest_seeds(len(largest), SIGNIFICANCE) if largest else 0
    if most >= needed:
        return []
    return [
        f"With {most} pairs and {len(largest)} comparisons in a table no corrected p-value can fall below {SIGNIFICANCE}; "
        f"{needed} pairs can."
    ]


def comparison_csv(comparison: Comparison) -> str:
    """A line for every outcome and thing that was compared, unrounded; then for every cell that one study has alone."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    rows = comparison_rows(comparison)
    factors = sorted({factor for row in rows for factor in row["levels"]})
    columns = [name for name in _COLUMNS if name != "levels"]
    writer.writerow(["kind", "outcome", *factors, *columns])
    for row in rows:
        levels = [level_in_words(row["levels"][factor]) if factor in row["levels"] else "" for factor in factors]
        writer.writerow([row["kind"], row["outcome"], *levels, *("" if row[name] is None else row[name] for name in columns)])
    return out.getvalue()


_BOUNDS = ("mean", "low", "high", "num_values")
_COLUMNS = [
    "levels",
    *(f"{what}_{bound}" for what in ("first", "second", "difference") for bound in _BOUNDS),
    *("is_paired", "p", "corrected_p", "verdict"),
]


def comparison_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """What the CSV has, as plain data for JSON; None for what there is not."""
    rows = [_row(outcome.metric, compared) for outcome, found in comparison.compared.items() for compared in found]
    for place, only in zip(("first", "second"), comparison.only, strict=True):
        nothing = dict.fromkeys(_COLUMNS)
        rows += [{**nothing, "kind": f"only in {place}", "outcome": "", "levels": dict(levels)} for levels in only]
    return rows


def _row(metric: str, compared: Compared) -> dict[str, Any]:
    estimates = {"first": compared.first, "second": compared.second, "difference": compared.difference}
    bounds = {
        f"{what}_{bound}": _finite(getattr(estimate, bound)) if estimate else None
        for what, estimate in estimates.items()
        for bound in _BOUNDS
    }
    tested = {"is_paired": compared.is_paired, "p": _finite(compared.p), "corrected_p": _finite(compared.corrected_p)}
    named = {"kind": compared.kind, "outcome": metric, "levels": dict(compared.levels)}
    return {**named, **bounds, **tested, "verdict": compared.verdict}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """All of it for a script: plain data, for JSON."""
    return {
        "studies": list(comparison.names),
        "differences": [dataclasses.asdict(difference) for difference in comparison.differences],
        "sentences": list(_sentences(comparison)),
        "warnings": _warnings(comparison),
        "compared": comparison_rows(comparison),
    }
