"""What was chosen on the way: by the tuning of nuisance hyperparameters, and among the epochs of a training."""

import dataclasses
from typing import TypeVar

from analysis.reporting import formatting
from analysis.reporting.document_model import CaptionedFigure, Column, Row, Table
from analysis.statistics.data.outcomes import TEST_OUTCOME
from analysis.statistics.search.tuning import TunedCell
from analysis.statistics.selection import is_selected_on_test, selected_cells
from analysis.statistics.summary import Summary
from studies.run_record import SELECTED_ON_TEST


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


def selection_tables(summary: Summary) -> list[Table]:
    """What the selection of an epoch is worth on the test images, cell by cell; no table where the last epoch is the result."""
    columns = [
        Column("cell", is_text=True),
        Column("selection", is_text=True),
        Column("epochs", only="wide"),
        Column("seeds"),
        Column("test accuracy % (95 %)"),
        Column("less that of the last epoch, points (95 %)", short_title="over last epoch, points"),
        Column("less that of the best on validation images, points (95 %)", short_title="over best on validation, points"),
    ]
    rows = [
        Row(
            [
                formatting.cell_in_words(summary.study, cell.levels),
                cell.how,
                "–".join(map(str, dict.fromkeys(cell.epochs))),
                str(cell.accuracy.num_values) if cell.accuracy else formatting.NONE,
                formatting.value(TEST_OUTCOME, cell.accuracy),
                *(
                    formatting.difference(TEST_OUTCOME, over) if over else formatting.NONE
                    for over in (cell.over_last, cell.over_validation)
                ),
            ]
        )
        for cell in selected_cells(summary.runs)
    ]
    caption = (
        "The accuracy on the test images of the epoch that was selected, and by how much it is above what the last epoch of the "
        "same trainings has, and the one that is best on the validation images, paired by seed."
    )
    return [Table("Selection of an epoch", caption, columns, rows)] if rows else []


Captioned = TypeVar("Captioned", Table, CaptionedFigure)


def labelled(summary: Summary, part: Captioned) -> Captioned:
    """A table or a figure whose caption says, where the test images have selected an epoch, that its numbers are optimistic."""
    if not any(is_selected_on_test(run) for run in summary.runs):
        return part
    return dataclasses.replace(part, caption=f"{part.caption} {SELECTED_ON_TEST.capitalize()}.".strip())
