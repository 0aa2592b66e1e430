"""Two studies compared: what differs between them, then every cell or level that both have."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.records.loading import RecordedStudy
from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Document, ItemList, Row, Table, filled, heading
from analysis.reporting.topics.effects import verdict_class
from analysis.reporting.topics.provenance import Difference, differences
from analysis.statistics.comparison import (
    ComparedValue,
    Repetition,
    StudyLevels,
    compare_cells,
    compare_effects,
    compare_levels,
    only_in,
    repetition,
    shared_outcomes,
)
from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.effects.contrasts import SIGNIFICANCE, fewest_seeds
from analysis.statistics.selection import is_timed, selection_warnings
from analysis.statistics.warnings import data_warnings
from studies.run_record import Level, levels_in_words

METHOD = [
    "Results are paired by seed where the studies share at least two seeds, and at least half of those of the study that has "
    "fewer: exact sign-flip test, and the interval that it does not reject. Otherwise Welch's test and interval.",
    f"Corrected by Holm over all comparisons of one table; a verdict needs corrected p < {SIGNIFICANCE}.",
    "An effect is a level minus its factor's baseline level, in each study as its own summary has it; the difference of the "
    "two effects says whether the level has the same effect in both.",
]
HEADINGS = {"cell": "cells", "level": "levels", "effect": "effects of a level"}


@dataclass(frozen=True)
class StudyComparison:
    """Two studies, and everything that their comparison says.

    Values and differences are the second study's against the first's.
    """

    studies: tuple[RecordedStudy, RecordedStudy]
    names: tuple[str, str]
    differences: Sequence[Difference]
    compared: Mapping[Outcome, Sequence[ComparedValue]]
    """Cells where both studies have the same factors or no levels to compare, else levels; then effects."""
    only: tuple[Sequence[Mapping[str, Level]], Sequence[Mapping[str, Level]]]
    """Combinations of levels that the first, and that the second study has alone."""
    repetitions: Mapping[Outcome, Repetition]


def compare(first: RecordedStudy, second: RecordedStudy) -> StudyComparison:
    """Compare two studies in every cell, or every level, that both have."""
    names = (first.study.name, second.study.name)
    outcomes = shared_outcomes(first.study, second.study)
    both = (StudyLevels(first.study, first.runs), StudyLevels(second.study, second.runs))
    of_cells = first.study.factors.keys() == second.study.factors.keys() or not all(study.levels for study in both)
    compared = {}
    for outcome in outcomes:
        values = compare_cells(first.runs, second.runs, outcome) if of_cells else compare_levels(*both, outcome)
        compared[outcome] = [*values, *compare_effects(*both, outcome)]
    return StudyComparison(
        studies=(first, second),
        names=names if names[0] != names[1] else (f"{names[0]} (first)", f"{names[1]} (second)"),
        differences=differences(first, second),
        compared=compared,
        only=(only_in(first.runs, second.runs), only_in(second.runs, first.runs)),
        repetitions={outcome: repetition(first.runs, second.runs, outcome) for outcome in outcomes},
    )


def comparison_document(comparison: StudyComparison) -> Document:
    """What differs between the two studies, every cell or level that both have, and what one of them has alone."""
    lists = [
        ItemList(f"Only in {name}", [levels_in_words(levels) or "the only cell" for levels in only])
        for name, only in zip(comparison.names, comparison.only, strict=True)
    ]
    return Document(
        title=f"{comparison.names[1]} against {comparison.names[0]}",
        lead=" / ".join(dict.fromkeys(recorded.study.question for recorded in comparison.studies)),
        verdicts=list(_verdicts(comparison)),
        warnings=_warnings(comparison),
        sections=[
            _difference_table(comparison),
            *filled(*_tables(comparison), *lists, ItemList("Method", METHOD, is_detail=True)),
        ],
    )


def _tables(comparison: StudyComparison) -> Iterator[Table]:
    caption = f"First is {comparison.names[0]}, second is {comparison.names[1]}; means of pairs are over the shared seeds."
    for outcome, found in comparison.compared.items():
        for kind, of_kind in HEADINGS.items():
            rows = [Row(_cells(outcome, value), verdict_class(value.verdict, outcome)) for value in found if value.kind == kind]
            yield Table(f"{heading(outcome)}: {of_kind}", caption, _columns(outcome), rows)


def _columns(outcome: Outcome) -> list[Column]:
    unit, points = formatting.unit(outcome), ", points" if outcome.is_fraction else ""
    return [
        Column("levels", is_text=True),
        *(Column(f"{place}{unit} (95 %)", only="wide") for place in ("first", "second")),
        *(Column(f"{place}{unit}", only="narrow") for place in ("first", "second")),
        Column("seeds", is_text=True),
        Column(f"difference{points} (95 %)"),
        Column("p", only="wide"),
        Column("corrected p", short_title="Holm p"),
        Column("verdict", is_text=True, short_title=""),
    ]


def _cells(outcome: Outcome, compared: ComparedValue) -> list[str]:
    sign = "+" if compared.kind == "effect" else ""
    in_full = formatting.difference if sign else formatting.value
    estimates = (compared.first, compared.second)
    return [
        levels_in_words(compared.levels) or "the only cell",
        *(in_full(outcome, estimate) if estimate else formatting.NONE for estimate in estimates),
        *(formatting.mean(outcome, estimate, sign) for estimate in estimates),
        _seeds(compared),
        formatting.difference(outcome, compared.difference) if compared.difference else formatting.NONE,
        _p(compared.p),
        _p(compared.corrected_p),
        compared.verdict,
    ]


def _seeds(compared: ComparedValue) -> str:
    if compared.is_paired and compared.difference:
        return f"{compared.difference.num_values} pairs"
    first, second = (found.num_values if found else 0 for found in (compared.first, compared.second))
    return f"{first} and {second}, unpaired"


def _p(p: float) -> str:
    return formatting.NONE if math.isnan(p) else formatting.p_value(p)


def _difference_table(comparison: StudyComparison) -> Table:
    columns = [Column("what", is_text=True), *(Column(name, is_text=True) for name in comparison.names)]
    rows = [Row([difference.what, difference.first, difference.second]) for difference in comparison.differences]
    same = "" if rows else " Nothing that is recorded differs."
    return Table("What differs", f"Data, code, settings, config and versions that are not the same in both.{same}", columns, rows)


def _verdicts(comparison: StudyComparison) -> Iterator[str]:
    for name, recorded in zip(comparison.names, comparison.studies, strict=True):
        counts = Counter(run.status.lower() for run in recorded.runs if run.role != "tuning")
        states = ", ".join(f"{num} {state}" for state, num in counts.items()) or "none"
        yield f"{name}: {sum(counts.values())} replicates: {states}."
    for outcome, found in comparison.compared.items():
        for kind, of_kind in HEADINGS.items():
            if values := [value for value in found if value.kind == kind]:
                yield f"{outcome.name}, {of_kind}: {_verdicts_in_words(outcome, values)}."
    for outcome, repeated in comparison.repetitions.items():
        if repeated.num_shared:
            yield (
                f"{repeated.num_shared} replicates have the same identity in both; {repeated.num_equal} of them have the same "
                f"{outcome.name} to the last digit."
            )


def _verdicts_in_words(outcome: Outcome, values: Sequence[ComparedValue]) -> str:
    parts = [
        f"{compared.verdict} at {levels_in_words(compared.levels) or 'the only cell'}: "
        f"{formatting.difference(outcome, compared.difference)}{formatting.difference_unit(outcome)}"
        for compared in values
        if compared.difference and compared.verdict in ("higher", "lower")
    ]
    counts = Counter(compared.verdict for compared in values)
    parts += [f"{counts[verdict]} {verdict}" for verdict in ("undecided", "no data") if counts[verdict]]
    return "; ".join(parts)


def _warnings(comparison: StudyComparison) -> list[str]:
    found = []
    for name, recorded in zip(comparison.names, comparison.studies, strict=True):
        found += [
            f"{name}: {text}"
            for text in (*recorded.warnings, *selection_warnings(recorded.runs), *data_warnings(recorded.study, recorded.runs))
        ]
    values = [value for of_outcome in comparison.compared.values() for value in of_outcome]
    if not values:
        found.append("The two studies have no cell and no level of a factor in common: nothing is compared.")
    if unpaired := sum(not compared.is_paired and compared.difference is not None for compared in values):
        found.append(
            f"{unpaired} of {len(values)} differences are not paired, because the studies share too few seeds there. They have "
            "Welch's interval and test, which assume that the seeds of the two studies are independent."
        )
    found += _of_power(comparison)
    found += _of_lengths(comparison)
    if any(difference.what == "data digest" for difference in comparison.differences):
        found.append("The two studies have different data, so a difference of results may be due to the data.")
    return found


def _of_lengths(comparison: StudyComparison) -> list[str]:
    """Where a study was trained for seconds: it has no epochs to be equal in, and no number to be repeated."""
    timed = [any(map(is_timed, recorded.runs)) for recorded in comparison.studies]
    if all(timed):
        return ["Both studies were trained for seconds: replicates of one identity are not the same training."]
    if any(timed):
        name = comparison.names[timed.index(True)]
        return [
            f"{name} was trained for seconds and the other study for epochs: they are compared at neither equal time nor epochs."
        ]
    return []


def _of_power(comparison: StudyComparison) -> list[str]:
    """Of the table that has most comparisons."""
    tables = [
        [compared for compared in found if compared.kind == kind and compared.is_paired and compared.difference]
        for found in comparison.compared.values()
        for kind in HEADINGS
    ]
    largest = max(tables, key=len, default=[])
    most = max((compared.difference.num_values for compared in largest if compared.difference), default=0)
    needed = fewest_seeds(len(largest)) if largest else 0
    if most >= needed:
        return []
    return [
        f"With {most} pairs and {len(largest)} comparisons in a table no corrected p-value can fall below {SIGNIFICANCE}; "
        f"that takes {needed} pairs."
    ]


_BOUNDS = ("mean", "low", "high", "num_values")
COLUMNS = [
    *(f"{what}_{bound}" for what in ("first", "second", "difference") for bound in _BOUNDS),
    *("is_paired", "p", "corrected_p", "verdict"),
]
"""What ``comparison_rows`` says of everything that was compared, beside its kind, outcome and levels."""


def comparison_rows(comparison: StudyComparison) -> list[dict[str, Any]]:
    """Every value that was compared, then every cell that one study has alone; plain data, None where there is no value."""
    rows = [_row(outcome.metric, compared) for outcome, found in comparison.compared.items() for compared in found]
    for place, only in zip(("first", "second"), comparison.only, strict=True):
        nothing = dict.fromkeys(COLUMNS)
        rows += [{**nothing, "kind": f"only in {place}", "outcome": "", "levels": dict(levels)} for levels in only]
    return rows


def _row(metric: str, compared: ComparedValue) -> dict[str, Any]:
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


def comparison_data(comparison: StudyComparison) -> dict[str, Any]:
    """The whole comparison for a script: plain data, for JSON."""
    return {
        "studies": list(comparison.names),
        "differences": [dataclasses.asdict(difference) for difference in comparison.differences],
        "verdicts": list(_verdicts(comparison)),
        "warnings": _warnings(comparison),
        "compared": comparison_rows(comparison),
    }
