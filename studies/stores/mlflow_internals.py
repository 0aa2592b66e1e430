"""What spikesweep uses of MLflow beside its public interface. No other module touches MLflow's private parts.

Runs and the histories of metrics are read by the requests that MLflow's own pages make, because the client's methods take
several times as long. ``CHECKED_FOR`` names the versions for which this module was written and tested; pyproject.toml asks for
the same ones. The private parts of clients and servers are looked at when this module is imported; that of a database's store,
whose import takes half a second, when such a store is first read. Where MLflow has changed one, a warning names it, and the
functions here return None: their callers then use the slower public methods.
"""

import functools
import inspect
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import studies.library_settings

import mlflow
from mlflow import MlflowClient

CHECKED_FOR = "mlflow>=3.17,<3.18"
"""The versions for which this module was checked, as pyproject.toml has them."""

SEARCH_RUNS = "/api/2.0/mlflow/runs/search"
HISTORIES = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
MOST_RUNS = 100
"""The runs that one request for histories may name."""
MOST_POINTS = 25_000
"""The points that one request for histories returns; those that are more are left out."""
NOT_FOUND = 404

_SERVER_STORE = "mlflow.store.tracking.rest_store:RestStore"
_DATABASE_STORE = "mlflow.store.tracking.sqlalchemy_store:SqlAlchemyStore"
_REQUEST = "mlflow.utils.rest_utils:http_request"
_VERIFY = "mlflow.utils.rest_utils:verify_rest_response"

Row = Mapping[str, Any]


def search_runs_as_json(client: MlflowClient, experiment_id: str, query: str, page_size: int) -> Iterator[Row] | None:
    """The runs of an experiment that a query finds, as a server's REST API gives them; the client would make three objects of
    every value. None where the store is no server.

    Raises:
        MlflowException: The server does not answer, or refuses; when the iterator is used.
    """
    store = _store_of(client)
    if not _is_a(store, _SERVER_STORE):
        return None
    return _pages_of_runs(store, {"experiment_ids": [experiment_id], "filter": query, "max_results": page_size})


def _pages_of_runs(store: Any, asked: dict[str, Any]) -> Iterator[Row]:
    while True:
        response = resolve_name(_REQUEST)(store.get_host_creds(), SEARCH_RUNS, "POST", json=asked)
        page = resolve_name(_VERIFY)(response, SEARCH_RUNS).json()
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
    if _is_a(store, _SERVER_STORE):
        asked = {"run_id": list(run_ids), "metric_key": metric, "max_results": MOST_POINTS}
        response = resolve_name(_REQUEST)(store.get_host_creds(), HISTORIES, "GET", params=asked)
        if response.status_code == NOT_FOUND:
            return None
        rows: list[Row] = resolve_name(_VERIFY)(response, HISTORIES).json()["metrics"]
        return rows
    if _is_a(store, _DATABASE_STORE) and _can_read_databases_in_bulk():
        return [point.to_dict() for point in store.get_metric_history_bulk(list(run_ids), metric, MOST_POINTS)]
    return None


def move_locations(
    file: Path, root: str, *, own: str | None, is_here: Callable[[str], bool], store_beside: Callable[[str], str]
) -> int:
    """Record in a SQLite store that artifacts lie below another folder now, in one transaction; returns of how many runs.

    Args:
        file: The database.
        root: The URI of the folder.
        own: The id of the experiment whose artifacts all belong there; of the others, only what is there already.
        is_here: Whether a path below an experiment's folder (``RUN/artifacts``) is there.
        store_beside: The URI of the store beside a folder of artifacts, as the descriptions of runs have it.

    Raises:
        sqlite3.Error: The database cannot be written, or has not the tables of the versions in ``CHECKED_FOR``.
    """
    with closing(sqlite3.connect(file, timeout=SECONDS_FOR_A_LOCK, isolation_level=None)) as database:
        if not _recorded_elsewhere(database, root, own, is_here):
            return 0
        database.execute("BEGIN IMMEDIATE")
        places = _recorded_elsewhere(database, root, own, is_here)  # again, now that nobody else can write
        for place in places:
            database.execute(_MOVE[place.table], (f"{root}/{place.rest}".rstrip("/"), place.key))
        for old in {place.old for place in places}:
            for column in ("source", "storage_location"):
                database.execute(_MOVE_REGISTERED.format(column), (root, len(old) + 1, len(old) + 1, f"{old}/"))
            database.execute(_MOVE_COMMANDS, (f"'{store_beside(old)}'", f"'{store_beside(root)}'"))
        database.execute("COMMIT")
        return sum(place.table == "runs" for place in places)


SECONDS_FOR_A_LOCK = 60.0
_MOVE = {
    "runs": "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?",
    "logged_models": "UPDATE logged_models SET artifact_location = ? WHERE model_id = ?",
    "experiments": "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
}
_MOVE_REGISTERED = "UPDATE model_versions SET {0} = ? || substr({0}, ?) WHERE substr({0}, 1, ?) = ?"
_MOVE_COMMANDS = "UPDATE tags SET value = replace(value, ?1, ?2) WHERE key = 'mlflow.note.content' AND instr(value, ?1)"


@dataclass(frozen=True)
class _Place:
    """What has a location in the database: a run, a logged model or an experiment."""

    table: str
    key: str
    experiment: str
    old: str
    """The location of its experiment until now."""
    rest: str
    """Its own path below that."""


def _recorded_elsewhere(database: sqlite3.Connection, root: str, own: str | None, is_here: Callable[[str], bool]) -> list[_Place]:
    """What is recorded elsewhere, and belongs below ``root``."""
    places = []
    begin = (len(root) + 1, f"{root}/")
    for table, rest_of, query in (
        (
            "runs",
            "{}/artifacts",
            "SELECT run_uuid, experiment_id, artifact_uri FROM runs WHERE substr(coalesce(artifact_uri, ''), 1, ?) <> ?",
        ),
        (
            "logged_models",
            "models/{}/artifacts",
            "SELECT model_id, experiment_id, artifact_location FROM logged_models WHERE substr(artifact_location, 1, ?) <> ?",
        ),
    ):
        for key, experiment, location in database.execute(query, begin):
            rest = rest_of.format(key)
            old = (location or "").rstrip("/").removesuffix(f"/{rest}")
            if str(experiment) == own or (old != location and is_here(rest)):
                places.append(_Place(table, key, str(experiment), old, rest))
    moved = {(place.experiment, place.old) for place in places}
    for key, location in database.execute(
        "SELECT experiment_id, artifact_location FROM experiments WHERE artifact_location <> ?", (root,)
    ):
        if str(key) == own or (str(key), location) in moved:
            places.append(_Place("experiments", key, str(key), location, ""))
    return places


def _store_of(client: MlflowClient) -> Any:
    """What is behind a client: a database, or a server with its login. None where MLflow has changed its private parts."""
    return None if _MISSING else client._tracking_client.store  # noqa: SLF001


def _is_a(store: Any, class_name: str) -> bool:
    """Whether a store is of a class that MLflow has by this name."""
    kind = _part(class_name)
    return kind is not None and isinstance(store, kind)


def missing_parts() -> list[str]:
    """The private parts that the installed MLflow lacks or has changed; empty if all is as this module expects."""
    client = MlflowClient("http://127.0.0.1:9")  # makes no request
    store = _attribute(client, "_tracking_client", "store")
    parts = {
        "MlflowClient._tracking_client.store": _is_a(store, _SERVER_STORE),
        "RestStore.get_host_creds": _parameters(_attribute(store, "get_host_creds")) == [],
        "rest_utils.http_request(host_creds, endpoint, method, …)": _parameters(_part(_REQUEST))[:3]
        == ["host_creds", "endpoint", "method"],
        "rest_utils.verify_rest_response(response, endpoint, …)": _parameters(_part(_VERIFY))[:2] == ["response", "endpoint"],
    }
    return [part for part, is_as_expected in parts.items() if not is_as_expected]


def missing_parts_of_databases() -> list[str]:
    """The same of the class that reads databases; the import of that class takes half a second."""
    method = _attribute(_part(_DATABASE_STORE), "get_metric_history_bulk")
    is_as_expected = _parameters(method) == ["self", "run_ids", "metric_key", "max_results"]
    return [] if is_as_expected else ["SqlAlchemyStore.get_metric_history_bulk(run_ids, metric_key, max_results)"]


def _missing_columns() -> list[str]:
    """The columns of databases that ``move_locations`` uses and that the installed MLflow lacks."""
    models = "mlflow.store.{}.dbmodels.models:{}"
    columns = {
        models.format("tracking", "SqlExperiment"): ("experiment_id", "artifact_location"),
        models.format("tracking", "SqlRun"): ("run_uuid", "experiment_id", "artifact_uri"),
        models.format("tracking", "SqlLoggedModel"): ("model_id", "experiment_id", "artifact_location"),
        models.format("tracking", "SqlTag"): ("key", "value"),
        models.format("model_registry", "SqlModelVersion"): ("source", "storage_location"),
    }
    return [f"{kind}.{name}" for kind, names in columns.items() for name in names if _attribute(_part(kind), name) is None]


@functools.cache
def _can_read_databases_in_bulk() -> bool:
    missing = missing_parts_of_databases()
    if missing:
        _warn(missing)
    return not missing


def check() -> None:
    """Look whether the installed MLflow has all private parts that this module uses, as it expects them.

    Raises:
        RuntimeError: A part is missing or different; the message names the installed version and the part.
    """
    if missing := [*missing_parts(), *missing_parts_of_databases(), *_missing_columns()]:
        raise RuntimeError(_in_words(missing))


def _in_words(missing: Sequence[str]) -> str:
    return (
        f"MLflow {mlflow.__version__} lacks or has changed {', '.join(missing)}, which spikesweep uses. "
        f"Install {CHECKED_FOR}, or adapt studies/stores/mlflow_internals.py."
    )


def _warn(missing: Sequence[str]) -> None:
    warnings.warn(f"{_in_words(missing)} Until then reading takes longer.", RuntimeWarning, stacklevel=3)


def _part(name: str) -> Any:
    """A part of MLflow by ``module:attribute``; None if the installed MLflow has none of that name."""
    try:
        return resolve_name(name)
    except (ImportError, AttributeError):
        return None


def _attribute(owner: Any, *names: str) -> Any:
    for name in names:
        owner = getattr(owner, name, None)
    return owner


def _parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters) if callable(function) else []


_MISSING = missing_parts()
if _MISSING:
    _warn(_MISSING)
