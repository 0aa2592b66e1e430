"""What tuning chose, in words."""

from rich.table import Table
from rich.text import Text

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Line, Section
from analysis.statistics.search.tuning import TunedCell
from analysis.statistics.summary import Summary


def tuned_sections(summary: Summary) -> list[Section]:
    """A line for every cell that was tuned; no section where none was."""
    if not summary.tuned:
        return []
    names = _names(summary)
    counts = ("tuning trials", "complete", "pruned", "failed")
    columns = [Column("cell", is_text=True), *(Column(name) for name in names), *(Column(count) for count in counts)]
    caption = "The nuisance hyperparameters that every cell was trained with, and the trials that chose them."
    return [Section("Tuned", caption, columns, [Line(_cells(summary, cell, names)) for cell in summary.tuned])]


def _names(summary: Summary) -> list[str]:
    named = list(summary.study.tuning.get("parameters", ()))
    return list(dict.fromkeys([*named, *(name for cell in summary.tuned for name in cell.tuned)]))


def _cells(summary: Summary, cell: TunedCell, names: list[str]) -> list[str]:
    values = [formatting.tuned_value(cell.tuned[name]) if name in cell.tuned else formatting.NONE for name in names]
    counts = [cell.num_trials, cell.num_complete, cell.num_pruned, cell.num_failed]
    return [formatting.cell_in_words(summary.study, cell.levels), *values, *map(str, counts)]


def tuned_terminal_tables(summary: Summary) -> list[Table]:
    """The cells, the values and the number of trials, for 80 columns; no table where nothing was tuned."""
    if not summary.tuned:
        return []
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("Tuned", overflow="fold")
    table.add_column("to", overflow="fold")
    table.add_column("trials", justify="right", no_wrap=True)
    for cell in summary.tuned:
        values = " ".join(f"{name}={formatting.tuned_value(value)}" for name, value in cell.tuned.items())
        cells = (formatting.cell_in_words(summary.study, cell.levels), values or formatting.NONE, str(cell.num_trials))
        table.add_row(*map(Text, cells))
    return [table]
