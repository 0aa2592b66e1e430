"""Rank stability: the best cells with the share of resamples in which they are the best, and a verdict on the first."""

from collections.abc import Iterator

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Row, Table, estimate_column
from analysis.statistics.effects.rank_stability import MOST_CELLS, NUM_DRAWS, RankedCell, RankStability
from analysis.statistics.summary import Summary

NUM_SHOWN = 10


def stability_tables(summary: Summary) -> list[Table]:
    """A table of the ten best cells; none where nothing can be resampled."""
    found = summary.stability
    if found is None:
        return []
    columns = [Column("expected rank"), Column(found.kind, is_text=True), Column("seeds"), estimate_column(found.outcome)]
    columns.append(Column("best in % of resamples"))
    rows = [Row(_cells(summary, found, cell)) for cell in found.cells[:NUM_SHOWN]]
    return [Table("Rank stability", _caption(found), columns, rows, is_detail=True)]


def _caption(found: RankStability) -> str:
    most = f" The best {MOST_CELLS} of {found.num_cells:,} cells were compared." if found.num_cells > MOST_CELLS else ""
    num = min(NUM_SHOWN, len(found.cells))
    return (
        f"The best {num} of {found.num_cells:,} by the mean of {found.outcome.name}. The {found.num_seeds} seeds are resampled "
        f"{NUM_DRAWS:,} times, each with all its cells: the mean rank of each, and how often it is the best.{most}"
    )


def _cells(summary: Summary, found: RankStability, cell: RankedCell) -> list[str]:
    return [
        f"{cell.expected_rank:.1f}",
        formatting.configuration_in_words(summary.study, cell.levels),
        formatting.seeds(cell.estimate.num_values, cell.num_planned),
        formatting.value(found.outcome, cell.estimate),
        _percent(cell.probability_best),
    ]


def _percent(probability: float) -> str:
    """Whole percents, of which 0 and 100 are never said of what was merely not drawn."""
    if probability in (0, 1):
        return f"{'< 1' if not probability else '> 99'}"
    return f"{min(99, max(1, round(100 * probability)))}"


def stability_verdicts(summary: Summary) -> Iterator[str]:
    """Which cell is best, with its interval, and how certain that is."""
    found = summary.stability
    if found is None:
        return
    best, second = found.cells[:2]
    value = f"{formatting.value(found.outcome, best.estimate)}{formatting.unit(found.outcome)}"
    best_one = formatting.configuration_in_words(summary.study, best.levels)
    yield (
        f"best {found.kind} by {found.outcome.name}: {best_one}: {value}, best "
        f"in {_percent(best.probability_best)} % of resamples; next "
        f"{formatting.configuration_in_words(summary.study, second.levels)}, {_percent(second.probability_best)} %."
    )
