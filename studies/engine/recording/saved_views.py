"""Views of a study's runs that MLflow's UI offers in its list *Views*, and opens by a link: they are tags of the experiment.

Without one the run table shows the study's run alone, its replicates folded away, no accuracy, and dozens of charts in the
order of the alphabet. The form of such a tag is that which MLflow 3.17 writes when somebody saves a view; versions that do not
know it show the tag and nothing else. Pure functions of the study's record.
"""

import base64
import json
import zlib
from typing import Any

from studies import run_record
from studies.run_record import Level, StudyRecord

TAG = "mlflow.sharedViewState."
"""What stands before a view's key in the name of its tag."""
QUERY = "workflowType=machine_learning&viewStateShareKey="
"""What opens a view, before its key, in the address of the experiment's runs; the first part is for MLflow, whose pages are
otherwise those for language models."""
OPERATIONS = "ops/effective_acs"
SECTION = "what-came-out"
SEED = "params.`seed`"
RUN_NAME, RUN_NAME_WIDTH = "attributes.`Run Name`", 320


def replicates_key(study: str) -> str:
    """The key of the view that has every replicate, best first."""
    return f"{study}-replicates"


def cells_key(study: str) -> str:
    """The key of the view that has every cell as the mean over its seeds."""
    return f"{study}-cells"


def named_views(study: str) -> dict[str, str]:
    """Keys of the views that there may be, by what a person calls them."""
    return {"replicates, best first": replicates_key(study), "cells, means over seeds": cells_key(study)}


def saved_views(study: StudyRecord, at_ms: int) -> dict[str, str]:
    """Tags for the experiment, by name: a view of replicates, and one of cells where the design has any.

    ``study`` has its replicates, ``at_ms`` is the time of writing. A view longer than a tag may be is left out.
    """
    views = {replicates_key(study.name): _view(f"{study.name}: replicates, best first", _state(study), at_ms)}
    if study.factors and study.design != "adaptive_search":
        views[cells_key(study.name)] = _view(f"{study.name}: cells, means over seeds", _state_of_cells(study), at_ms)
    return {TAG + key: text for key, text in views.items() if len(text) <= run_record.LONGEST_TAG}


def _view(name: str, state: dict[str, Any], at_ms: int) -> str:
    """As MLflow saves it: the state compressed, because a tag is short."""
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
    return json.dumps({"name": name, "createdAt": at_ms, "updatedAt": at_ms, "state": f"deflate;{packed}"})


def _state(study: StudyRecord) -> dict[str, Any]:
    """Search, order and columns of the table, and the charts; MLflow fills in the rest."""
    best, direction = next(iter(study.objectives.items()))
    metrics = [f"metrics.`{name}`" for name in _metrics(study)]
    columns = [*metrics, *(_column(name) for name in study.factors), SEED]
    replicates = f"tags.`{run_record.KIND}` = '{run_record.KIND_REPLICATE}'"
    return {
        "searchFilter": f"{replicates} AND tags.`{run_record.STUDY}` = '{study.name}'",
        "orderByKey": f"metrics.`{best}`",
        "orderByAsc": direction == "minimize",
        "selectedColumns": columns,
        "columnOrder": [RUN_NAME, *columns],
        "columnWidths": {RUN_NAME: RUN_NAME_WIDTH},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": _charts(study),
        "compareRunSections": [
            {"uuid": SECTION, "name": "What came out", "display": True, "isReordered": True, "deleted": False}
        ],
        "isAccordionReordered": True,
    }


def _state_of_cells(study: StudyRecord) -> dict[str, Any]:
    """The replicates of a cell are one row, which a click unfolds."""
    keys = [{"mode": mode, "groupByData": name} for mode, name in map(_place, study.factors)]
    cells = {
        ",".join(".".join((*_place(name), _spelt(replicate.levels.get(name)))) for name in study.factors)
        for replicate in study.replicates
    }
    best, state = next(iter(study.objectives)), _state(study)
    return {
        **state,
        "selectedColumns": [column for column in state["selectedColumns"] if column != SEED],  # a mean of seeds says nothing
        "groupBy": {"aggregateFunction": "average", "groupByKeys": keys},
        "groupsExpanded": dict.fromkeys(sorted(cells), False),
        "compareRunCharts": [_chart("BAR", best, metricKey=best), *_charts(study)],
    }


def _metrics(study: StudyRecord) -> list[str]:
    """Those that a reader wants first; MLflow leaves out what no run has."""
    return list(dict.fromkeys([*study.objectives, run_record.TEST_ACCURACY, OPERATIONS]))


def _place(factor: str) -> tuple[str, str]:
    """Where a run has the factor's level; the trainable is no field of a config."""
    return ("tag", run_record.TRAINABLE) if factor == "trainable" else ("param", factor)


def _spelt(level: Level) -> str:
    """As a run's params have it; MLflow writes null for a param that a run lacks."""
    return level if isinstance(level, str) else json.dumps(level)


def _column(factor: str) -> str:
    mode, name = _place(factor)
    return f"{mode}s.`{name}`"


def _charts(study: StudyRecord) -> list[dict[str, Any]]:
    """The first two objectives against each other, all factors beside them, and accuracy at t."""
    objectives = list(study.objectives)
    first, second = objectives[0], objectives[1] if len(objectives) > 1 else run_record.SPARSITY
    factors = [name for mode, name in map(_place, study.factors) if mode == "param"]
    return [
        _chart("SCATTER", f"{first} against {second}", xaxis=_axis(second), yaxis=_axis(first)),
        _chart(
            "LINE",
            f"{run_record.ACCURACY_AT_T} (step: t)",
            metricKey=run_record.ACCURACY_AT_T,
            selectedMetricKeys=[run_record.ACCURACY_AT_T],
            **LINES,
        ),
        _chart("PARALLEL", "factors and objectives", selectedParams=factors, selectedMetrics=objectives, showAllRuns=True),
    ]


LINES = {
    "lineSmoothness": 0,
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "range": {},
    "xAxisKey": "step",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
}
"""What MLflow wants to know of a chart of lines."""


def _chart(kind: str, title: str, **details: Any) -> dict[str, Any]:
    common = {"runsCountToCompare": 100, "metricSectionId": SECTION, "deleted": False, "isGenerated": False}
    return {"uuid": f"{SECTION}-{kind.lower()}", "type": kind, "displayName": title, **common, **details}


def _axis(metric: str) -> dict[str, str]:
    return {"key": metric, "type": "METRIC"}
