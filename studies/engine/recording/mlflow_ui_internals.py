"""What spikesweep writes for the pages of MLflow beside its public interface: tags by which they show views, tables and models.

The forms are those that MLflow's own pages write, for instance when somebody saves a view; they are not documented.
``CHECKED_FOR`` names the versions for which this module was written and tested; pyproject.toml asks for the same ones. Pages of
another version show such a tag as text, and everything else as always: a warning says so when this module is imported.
"""

import base64
import importlib.metadata
import json
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow

CHECKED_FOR = "mlflow>=3.17,<3.18"
"""The versions for which this module was checked, as pyproject.toml has them."""
_CHECKED_SERIES = "3.17."

EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""The tag of an experiment whose pages are those for training; without it they are those for agents."""
LOGGED_TABLES = "mlflow.loggedArtifacts"
"""The tag of a run that names its tables."""
MODEL_HISTORY = "mlflow.log-model.history"
"""The tag of a run that names which of its artifacts are a model."""
VIEW = "mlflow.sharedViewState."
"""How the name of an experiment's tag begins that holds a view; the view's key follows."""
VIEW_ADDRESS = "workflowType=machine_learning&viewStateShareKey="
"""The query that opens a view in the address of an experiment's runs; the view's key follows. The first part is needed for the
pages for training."""

Place = tuple[str, str]
"""Where runs have a value: ``tag`` or ``param``, and its name."""
State = dict[str, Any]
"""What a view shows, in MLflow's form; MLflow fills in what is left out."""

_SECTION = "what-came-out"
_RUN_NAME, _RUN_NAME_WIDTH = "attributes.`Run Name`", 320
_LINES = {
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


def packed_view(name: str, state: State, at_ms: int) -> str:
    """The text of a view's tag; its state is compressed, because tags are short."""
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
    return json.dumps({"name": name, "createdAt": at_ms, "updatedAt": at_ms, "state": f"deflate;{packed}"})


def table_of_runs(
    *, query: str, order_by: str, ascending: bool, columns: Sequence[str], charts: Sequence[Mapping[str, Any]]
) -> State:
    """The runs that a query finds, in the order of a metric.

    Args:
        query: In MLflow's search language.
        order_by: The metric's name.
        ascending: Whether the smallest value comes first.
        columns: Beside the run's name, from ``column``.
        charts: From ``scatter``, ``lines``, ``bars`` and ``parallel``.
    """
    return {
        "searchFilter": query,
        "orderByKey": column("metric", order_by),
        "orderByAsc": ascending,
        "selectedColumns": list(columns),
        "columnOrder": [_RUN_NAME, *columns],
        "columnWidths": {_RUN_NAME: _RUN_NAME_WIDTH},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": list(charts),
        "compareRunSections": [
            {"uuid": _SECTION, "name": "What came out", "display": True, "isReordered": True, "deleted": False}
        ],
        "isAccordionReordered": True,
    }


def grouped(state: State, by: Sequence[Place], groups: Iterable[Sequence[str]], *, hidden: str) -> State:
    """A table of runs with a row for each group, which has the means of its runs and unfolds with a click.

    Args:
        state: From ``table_of_runs``.
        by: What the runs of a group have in common.
        groups: The values of each group, in the order of ``by``, as the runs have them.
        hidden: A column whose mean says nothing; it can be shown again.
    """
    names = {",".join(".".join((*place, value)) for place, value in zip(by, group, strict=True)) for group in groups}
    keys = [{"mode": mode, "groupByData": name} for mode, name in by]
    return {
        **state,
        "selectedColumns": [name for name in state["selectedColumns"] if name != hidden],
        "groupBy": {"aggregateFunction": "average", "groupByKeys": keys},
        "groupsExpanded": dict.fromkeys(sorted(names), False),
    }


def column(mode: str, name: str) -> str:
    """A column of the table of runs: of a ``metric``, a ``param`` or a ``tag``."""
    return f"{mode}s.`{name}`"


def scatter(x: str, y: str) -> dict[str, Any]:
    """A chart of two metrics against each other."""
    return _chart("SCATTER", f"{y} against {x}", xaxis=_axis(x), yaxis=_axis(y))


def lines(metric: str, title: str) -> dict[str, Any]:
    """A chart of a metric over its steps, a line for each run."""
    return _chart("LINE", title, metricKey=metric, selectedMetricKeys=[metric], **_LINES)


def bars(metric: str) -> dict[str, Any]:
    """A chart of a metric, a bar for each run or group."""
    return _chart("BAR", metric, metricKey=metric)


def parallel(title: str, params: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    """A chart of params and metrics on parallel axes."""
    return _chart("PARALLEL", title, selectedParams=list(params), selectedMetrics=list(metrics), showAllRuns=True)


def _chart(kind: str, title: str, **details: Any) -> dict[str, Any]:
    common = {"runsCountToCompare": 100, "metricSectionId": _SECTION, "deleted": False, "isGenerated": False}
    return {"uuid": f"{_SECTION}-{kind.lower()}", "type": kind, "displayName": title, **common, **details}


def _axis(metric: str) -> dict[str, str]:
    return {"key": metric, "type": "METRIC"}


def table_texts(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """Artifacts by file name, which MLflow's pages show as tables. ``MlflowClient.log_table`` would write the same, but appends
    the rows again when it is tried a second time.
    """
    return {
        f"{name}.json": json.dumps({"columns": list(rows[0]), "data": [list(row.values()) for row in rows]})
        for name, rows in tables.items()
    }


def logged_tables(files: Iterable[str]) -> str:
    """The text of the tag ``LOGGED_TABLES``."""
    return json.dumps([{"path": name, "type": "table"} for name in files])


def check() -> None:
    """Look whether the pages that the installed MLflow ships know all that this module writes.

    Raises:
        RuntimeError: They do not know something; the message names the installed version and what it is.
    """
    chart = {**scatter("x", "y"), **lines("x", "x"), **bars("x"), **parallel("x", [], [])}
    state = table_of_runs(query="", order_by="x", ascending=True, columns=[], charts=[chart])
    view = grouped(state, [("param", "x")], [["1"]], hidden="")
    words = [*EXPERIMENT_KIND, *EXPERIMENT_KIND.values(), LOGGED_TABLES, MODEL_HISTORY, VIEW.removesuffix("."), "deflate;"]
    words += ["workflowType", "viewStateShareKey", *view, *view["groupBy"], *view["groupBy"]["groupByKeys"][0]]
    words += [*view["compareRunSections"][0], *chart]
    folder = Path(mlflow.__path__[0]) / "server" / "js" / "build"
    pages = "\n".join(file.read_text(encoding="utf-8") for file in folder.rglob("*.js"))
    if missing := [word for word in words if word not in pages]:
        raise RuntimeError(
            f"The pages of MLflow {mlflow.__version__} do not know {', '.join(missing)}, which spikesweep writes for them. "
            f"Install {CHECKED_FOR}, or adapt studies/engine/recording/mlflow_ui_internals.py."
        )


if not importlib.metadata.version("mlflow").startswith(_CHECKED_SERIES):
    warnings.warn(
        f"Saved views, tables and models were made for the pages of {CHECKED_FOR}; those of MLflow {mlflow.__version__} may show "
        "them as plain tags. Nothing else depends on it.",
        RuntimeWarning,
        stacklevel=2,
    )
