"""What the tuning of nuisance hyperparameters chose."""

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Row, Table
from analysis.statistics.search.tuning import TunedCell
from analysis.statistics.summary import Summary


def tuned_tables(summary: Summary) -> list[Table]:
    """A row for every cell that was tuned; no table where none was."""
    if not summary.tuned:
        return []
    names = _names(summary)
    columns = [
        Column("cell", is_text=True),
        *(Column(name, only="wide") for name in names),
        Column("tuned to", is_text=True, only="narrow"),
        Column("tuning trials"),
        *(Column(count, only="wide") for count in ("complete", "pruned", "failed")),
    ]
    caption = "The nuisance hyperparameters that every cell was trained with, and the trials that chose them."
    return [Table("Tuned", caption, columns, [Row(_cells(summary, cell, names)) for cell in summary.tuned])]


def _names(summary: Summary) -> list[str]:
    named = list(summary.study.tuning.get("parameters", ()))
    return list(dict.fromkeys([*named, *(name for cell in summary.tuned for name in cell.tuned)]))


def _cells(summary: Summary, cell: TunedCell, names: list[str]) -> list[str]:
    values = [formatting.tuned_value(cell.tuned[name]) if name in cell.tuned else formatting.NONE for name in names]
    counts = [cell.num_trials, cell.num_complete, cell.num_pruned, cell.num_failed]
    together = " ".join(f"{name}={formatting.tuned_value(value)}" for name, value in cell.tuned.items()) or formatting.NONE
    return [formatting.cell_in_words(summary.study, cell.levels), *values, together, *map(str, counts)]
