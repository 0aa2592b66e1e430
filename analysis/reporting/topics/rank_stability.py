"""Rank stability: the best cells with how far each is behind the first, and a verdict on the first."""

import math
from collections.abc import Iterator

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Row, Table
from analysis.statistics.effects.rank_stability import RankedCell, RankStability
from analysis.statistics.summary import Summary
from analysis.words import counted
from studies.run_record import Level

NUM_SHOWN = 10


def stability_tables(summary: Summary) -> list[Table]:
    """A table of the ten best cells; none where nothing can be compared."""
    found = summary.stability
    if found is None or not found.cells:
        return []
    points = ", points" if found.outcome.is_fraction else ""
    columns = [Column("rank", short_title=""), Column(found.kind, is_text=True), Column("seeds")]
    columns += [Column(f"{found.outcome.name}{formatting.unit(found.outcome)}"), Column(f"behind the first{points}"), Column("p")]
    columns.append(Column("may be the best", is_text=True))
    rows = [Row(_cells(summary, found, place)) for place in range(min(NUM_SHOWN, len(found.cells)))]
    return [Table("Rank stability", _caption(found), columns, rows, is_detail=True)]


def _caption(found: RankStability) -> str:
    num = min(NUM_SHOWN, len(found.cells))
    lacking = any(cell.estimate.num_values < found.num_seeds for cell in found.cells)
    adjusted = " Means are adjusted for the seeds that a cell lacks." if lacking else ""
    sure = f"The truly best one is, with 95 % confidence, among the {found.num_candidates:,} that may be the best."
    if found.is_decided:
        sure = "The first is better than every other one."
    return (
        f"The best {num} of {found.num_cells:,} by the mean of {found.outcome.name} over "
        f"{counted(found.num_seeds, 'seed')}.{adjusted} Each is compared with the first on the seeds of both (sign-flip test). "
        f"{sure}"
    )


def _cells(summary: Summary, found: RankStability, place: int) -> list[str]:
    cell = found.cells[place]
    compared = [formatting.NONE] * 2
    if not math.isnan(cell.p):
        compared = [formatting.number(found.outcome, cell.behind), formatting.p_value(cell.p)]
    return [
        str(place + 1),
        formatting.configuration_in_words(summary.study, cell.levels),
        formatting.seeds(cell.estimate.num_values, cell.num_planned),
        formatting.number(found.outcome, cell.estimate.mean),
        *compared,
        "yes" if cell.may_be_best else "no",
    ]


def stability_verdicts(summary: Summary) -> Iterator[str]:
    """Which cell is the best, with an interval that allows for its having been chosen, or which may be."""
    found = summary.stability
    if found is None:
        return
    if not found.cells:
        yield (
            f"best {found.kind} by {found.outcome.name}: not known, because some {found.kind}s share no seed with the others; "
            "spikesweep run trains what is missing."
        )
        return
    extreme = "highest" if found.outcome.direction == "maximize" else "lowest"
    what = f"best {found.kind} by" if found.is_decided else f"{found.kind} with the {extreme} mean"
    yield f"{what} {found.outcome.name}: {_first_in_words(summary, found)}; {_how_sure(summary, found)}."


def _first_in_words(summary: Summary, found: RankStability) -> str:
    first = found.cells[0]
    value = f"{formatting.value(found.outcome, first.estimate)}{formatting.unit(found.outcome)}"
    fresh = "fresh " if found.kind == "finalist" else ""
    of = f"{first.estimate.num_values} of " if first.estimate.num_values < first.num_planned else ""
    seeds = counted(first.num_planned, f"{fresh}seed")
    remark = _searched(summary, first.levels)
    if found.num_collapsed:
        num_replicates = sum(cell.estimate.num_values for cell in found.cells)
        remark += f" (no interval, as {found.num_collapsed:,} of {counted(num_replicates, 'replicate')} collapsed)"
    return f"{_name(summary, first)}: {value} over {of}{seeds}, selected on this value{remark}"


def _searched(summary: Summary, levels: dict[str, Level]) -> str:
    """What a finalist measured in the search, which chose it."""
    for ranking in summary.rankings:
        for configuration in ranking.configurations if ranking.kind == "finalist" else ():
            if configuration.levels == levels and summary.primary in configuration.selected_on:
                value = formatting.number(summary.primary, configuration.selected_on[summary.primary])
                return f" (by the search on {value})"
    return ""


def _how_sure(summary: Summary, found: RankStability) -> str:
    second, p_values = found.cells[1], [cell.p for cell in found.cells[1:]]
    if found.is_decided:
        largest = f"p {_at_most(max(p_values))}"
        than, how = "the other one", largest
        if len(p_values) > 1:
            than, how = f"each of the {len(p_values):,} others", f"{largest} in each test, not corrected, as all have to agree"
        return f"better than {than}, paired by seed ({how}); next {_behind(summary, found, second)}"
    undecided = "whether it is the best is undecided"
    if found.num_failed:
        return f"{undecided}: {counted(found.num_failed, 'replicate')} of it failed"
    if found.num_without:
        have = "has" if found.num_without == 1 else "have"
        return f"{undecided}: {counted(found.num_without, f'other {found.kind}')} {have} no value"
    candidates = f"{found.num_candidates:,} of {found.num_cells:,} {found.kind}s may be the best"
    return f"{undecided}: next {_behind(summary, found, second)}{_p_in_words(second.p)}; {candidates}"


def _at_most(p: float) -> str:
    text = formatting.p_value(p)
    return text if text.startswith("<") else f"≤ {text}"


def _p_in_words(p: float) -> str:
    return "" if math.isnan(p) else f" (p = {formatting.p_value(p)})"


def _behind(summary: Summary, found: RankStability, cell: RankedCell) -> str:
    name = _name(summary, cell)
    if math.isnan(cell.behind):
        return f"{name}, which shares no seed with it"
    size = f"{formatting.number(found.outcome, abs(cell.behind))}{formatting.difference_unit(found.outcome)}"
    return f"{name}, {size} {'behind' if cell.behind >= 0 else 'ahead on the seeds of both'}"


def _name(summary: Summary, cell: RankedCell) -> str:
    return formatting.configuration_in_words(summary.study, cell.levels)
