"""What spikesweep uses of MLflow beside its public interface. No other module touches MLflow's private parts.

Runs and the histories of metrics are read by the requests that MLflow's own pages make, because the client's methods take
several times as long. ``CHECKED_FOR`` names the versions for which this module was written and tested; pyproject.toml asks for
the same ones. The private parts are looked at when this module is imported. Where MLflow has changed one, a warning names it,
and the functions here return None: their callers then use the slower public methods.
"""

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import studies.library_settings

import mlflow
from mlflow import MlflowClient
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils import rest_utils

CHECKED_FOR = "mlflow>=3.17,<3.18"
"""The versions for which this module was checked, as pyproject.toml has them."""

SEARCH_RUNS = "/api/2.0/mlflow/runs/search"
HISTORIES = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
MOST_RUNS = 100
"""The runs that one request for histories may name."""
MOST_POINTS = 25_000
"""The points that one request for histories returns; those that are more are left out."""
NOT_FOUND = 404

Row = Mapping[str, Any]


def search_runs_as_json(client: MlflowClient, experiment_id: str, query: str, page_size: int) -> Iterator[Row] | None:
    """The runs of an experiment that a query finds, as a server's REST API gives them; the client would make three objects of
    every value. None where the store is no server.

    Raises:
        MlflowException: The server does not answer, or refuses; when the iterator is used.
    """
    store = _store_of(client)
    if not isinstance(store, RestStore):
        return None
    return _pages_of_runs(store, {"experiment_ids": [experiment_id], "filter": query, "max_results": page_size})


def _pages_of_runs(store: Any, asked: dict[str, Any]) -> Iterator[Row]:
    while True:
        response = rest_utils.http_request(store.get_host_creds(), SEARCH_RUNS, "POST", json=asked)
        page = rest_utils.verify_rest_response(response, SEARCH_RUNS).json()
        yield from page.get("runs", [])
        if not page.get("next_page_token"):
            return
        asked["page_token"] = page["next_page_token"]


def read_histories_in_bulk(client: MlflowClient, run_ids: Sequence[str], metric: str) -> list[Row] | None:
    """All points of a metric of at most ``MOST_RUNS`` runs, with the keys run_id, step, timestamp and value, up to
    ``MOST_POINTS`` of them. None where the store has no such request.

    Raises:
        MlflowException: The store does not answer, or refuses.
    """
    store = _store_of(client)
    if isinstance(store, RestStore):
        asked = {"run_id": list(run_ids), "metric_key": metric, "max_results": MOST_POINTS}
        response = rest_utils.http_request(store.get_host_creds(), HISTORIES, "GET", params=asked)
        if response.status_code == NOT_FOUND:
            return None
        rows: list[Row] = rest_utils.verify_rest_response(response, HISTORIES).json()["metrics"]
        return rows
    if hasattr(store, "get_metric_history_bulk"):  # a database's store
        return [point.to_dict() for point in store.get_metric_history_bulk(list(run_ids), metric, MOST_POINTS)]
    return None


def _store_of(client: MlflowClient) -> Any:
    """What is behind a client: a database, or a server with its login. None where MLflow has changed its private parts."""
    return None if _MISSING else client._tracking_client.store  # noqa: SLF001


def missing_parts() -> list[str]:
    """The private parts that the installed MLflow lacks or has changed; empty if all is as this module expects."""
    client = MlflowClient("http://127.0.0.1:9")  # makes no request
    parts = {
        "MlflowClient._tracking_client.store": isinstance(_attribute(client, "_tracking_client", "store"), RestStore),
        "RestStore.get_host_creds": _parameters(RestStore) == ["get_host_creds"],
        "rest_utils.http_request(host_creds, endpoint, method, …)": _parameters(rest_utils.http_request)[:3]
        == ["host_creds", "endpoint", "method"],
        "rest_utils.verify_rest_response(response, endpoint, …)": _parameters(rest_utils.verify_rest_response)[:2]
        == ["response", "endpoint"],
    }
    return [part for part, is_as_expected in parts.items() if not is_as_expected]


def check() -> None:
    """Look whether the installed MLflow has all private parts that this module uses, as it expects them.

    Raises:
        RuntimeError: A part is missing or different; the message names the installed version and the part.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415  # half a second, for databases alone

    missing = missing_parts()
    if _parameters(getattr(SqlAlchemyStore, "get_metric_history_bulk", None)) != ["self", "run_ids", "metric_key", "max_results"]:
        missing.append("SqlAlchemyStore.get_metric_history_bulk(run_ids, metric_key, max_results)")
    if missing:
        raise RuntimeError(_in_words(missing))


def _in_words(missing: Sequence[str]) -> str:
    return (
        f"MLflow {mlflow.__version__} lacks or has changed {', '.join(missing)}, by which spikesweep reads many runs at once. "
        f"Install {CHECKED_FOR}, or adapt studies/mlflow_internals.py."
    )


def _attribute(owner: Any, *names: str) -> Any:
    for name in names:
        owner = getattr(owner, name, None)
    return owner


def _parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters) if callable(function) else []


_MISSING = missing_parts()
if _MISSING:
    warnings.warn(f"{_in_words(_MISSING)} Until then reading takes longer.", RuntimeWarning, stacklevel=2)
