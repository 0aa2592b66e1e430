"""The views of a study's runs that MLflow's pages offer in their list *Views* and open by a link: tags of the experiment.

Without one the table of runs shows the study run alone, its replicates folded away, no accuracy, and dozens of charts in
alphabetical order. Pure functions of the study's record; their form is MLflow's (``mlflow_ui_internals``).
"""

import json

from studies import run_record
from studies.engine.recording.mlflow_ui_internals import (
    VIEW,
    Place,
    State,
    bars,
    column,
    grouped,
    lines,
    packed_view,
    parallel,
    scatter,
    table_of_runs,
)
from studies.run_record import Level, StudyRecord
from studies.stores.mlflow_access import of_kind

OPERATIONS = "ops/effective_acs"
SEED = column("param", "seed")


def replicates_key(study: str) -> str:
    """The key of the view that has every replicate, best first."""
    return f"{study}-replicates"


def cells_key(study: str) -> str:
    """The key of the view that has every cell as the mean over its seeds."""
    return f"{study}-cells"


def named_views(study: str) -> dict[str, str]:
    """The keys of all views that a study may have, by the text of their links."""
    return {"replicates, best first": replicates_key(study), "cells, means over seeds": cells_key(study)}


def saved_views(study: StudyRecord, at_ms: int) -> dict[str, str]:
    """Tags for the experiment, by name: a view of replicates, and one of cells if the design has any.

    Args:
        study: Its record, with its replicates.
        at_ms: The time of writing, in milliseconds since 1970.

    Returns:
        The tags; without a view that is longer than a tag may be.
    """
    views = {replicates_key(study.name): packed_view(f"{study.name}: replicates, best first", _of_replicates(study), at_ms)}
    if study.factors and study.design != "adaptive_search":
        views[cells_key(study.name)] = packed_view(f"{study.name}: cells, means over seeds", _of_cells(study), at_ms)
    return {VIEW + key: text for key, text in views.items() if len(text) <= run_record.LONGEST_TAG}


def _of_replicates(study: StudyRecord) -> State:
    return _table(study, _charts(study))


def _of_cells(study: StudyRecord) -> State:
    """The replicates of a cell are one row."""
    table = _table(study, [bars(next(iter(study.objectives))), *_charts(study)])
    cells = [[_spelt(replicate.levels.get(name)) for name in study.factors] for replicate in study.replicates]
    return grouped(table, [_place(name) for name in study.factors], cells, hidden=SEED)


def _table(study: StudyRecord, charts: list[dict[str, object]]) -> State:
    best, direction = next(iter(study.objectives.items()))
    replicates = of_kind(run_record.KIND_REPLICATE, study.name).replace(" and ", " AND ")
    return table_of_runs(
        query=replicates, order_by=best, ascending=direction == "minimize", columns=_columns(study), charts=charts
    )


def _columns(study: StudyRecord) -> list[str]:
    """Metrics that a reader wants first, of which MLflow leaves out those that no run has, then the factors and the seed."""
    metrics = dict.fromkeys([*study.objectives, run_record.TEST_ACCURACY, OPERATIONS])
    return [*(column("metric", name) for name in metrics), *(column(*_place(name)) for name in study.factors), SEED]


def _place(factor: str) -> Place:
    """Where a run has the factor's level; the trainable is no field of a config."""
    return ("tag", run_record.TRAINABLE) if factor == "trainable" else ("param", factor)


def _spelt(level: Level) -> str:
    """As a run's params have it; MLflow writes null for a param that a run lacks."""
    return level if isinstance(level, str) else json.dumps(level)


def _charts(study: StudyRecord) -> list[dict[str, object]]:
    """The first two objectives against each other, accuracy at t, and all factors beside the objectives."""
    objectives = list(study.objectives)
    first, second = objectives[0], objectives[1] if len(objectives) > 1 else run_record.SPARSITY
    factors = [name for mode, name in map(_place, study.factors) if mode == "param"]
    return [
        scatter(second, first),
        lines(run_record.ACCURACY_AT_T, f"{run_record.ACCURACY_AT_T} (step: t)"),
        parallel("factors and objectives", factors, objectives),
    ]
