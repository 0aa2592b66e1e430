"""An MLflow store that is only read: it answers within seconds or not at all, and nothing is made where there is none."""

import gc
import http.client
import itertools
import sqlite3
import ssl
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import studies.library_settings

import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils import rest_utils

from studies import run_record
from studies.credentials import mask_credentials

SECONDS_TO_ANSWER = 10
PAGE_SIZE = 250
"""Runs; of a server under load it must come within its time-out."""
SEARCH = "/api/2.0/mlflow/runs/search"
NUM_THREADS = 4
NUM_PERIODS = 16
DATABASES = ("postgresql", "mysql", "mssql")


class NoStudyError(Exception):
    """The store holds no such study, or none that can be read; the message says what it holds."""


@dataclass(frozen=True)
class StoredRun:
    """What a run of MLflow says of itself; its last metrics."""

    run_id: str
    name: str
    status: str
    begun_at_ms: int
    ended_at_ms: int
    """0 while it has not ended."""
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def open_store(uri: str) -> MlflowClient:
    """A client of a store that is there.

    Raises:
        NoStudyError: It is not, or it is no store of MLflow's.
    """
    if uri.startswith("sqlite:///"):
        _check_file(Path(uri.removeprefix("sqlite:///")))
    elif uri.startswith(("http://", "https://")):
        _check_server(uri)
    elif uri.startswith(DATABASES):
        _check_database(uri)
    elif "://" not in uri and not Path(uri).is_dir():
        raise NoStudyError("there is no such folder")  # MLflow would make it
    return MlflowClient(uri)


def reason_of(error: Exception, uri: str) -> str:
    """What a store's error says in its first line, without the store's URI, which may hold a password."""
    (first, *_) = str(error).splitlines() or [type(error).__name__]
    return mask_credentials(first.replace(uri, "its store"))


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise NoStudyError("there is no such file")  # MLflow would make it
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'experiments'").fetchall()
    except sqlite3.DatabaseError as error:
        raise NoStudyError(f"the file is no SQLite database ({error})") from None
    if not tables:
        raise NoStudyError("the file is a database, but no store of MLflow's")  # MLflow would make it one


def _check_server(uri: str) -> None:
    """Any answer will do: what it is, MLflow's client judges."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
        if urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(host):
            return  # which is for the proxy to find out
        with closing(_connection(parts.scheme, host, port)) as connection:
            connection.request("GET", "/health")
            connection.getresponse()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise NoStudyError(f"the server does not answer within {SECONDS_TO_ANSWER} s ({mask_credentials(reason)})") from None


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=SECONDS_TO_ANSWER)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whether to trust it, MLflow's client judges
    return http.client.HTTPSConnection(host, port, timeout=SECONDS_TO_ANSWER, context=context)


def _check_database(uri: str) -> None:
    """MLflow itself would try for minutes."""
    try:
        sqlalchemy.create_engine(uri, connect_args={"connect_timeout": SECONDS_TO_ANSWER}).connect().close()
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, TypeError) as error:
        raise NoStudyError(f"the database does not answer ({reason_of(error, uri)})") from None


def find_experiment(client: MlflowClient, name: str) -> str:
    """The experiment of a study, its own or its family's.

    Raises:
        NoStudyError: There is none, or it has been deleted.
    """
    everywhere = [each.experiment_id for each in client.search_experiments()]
    if runs := client.search_runs(everywhere, f"tags.`{run_record.STUDY}` = '{name}'", max_results=1) if everywhere else []:
        family: str = runs[0].info.experiment_id
        return family
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        others = ", ".join(other.name for other in client.search_experiments()) or "none"
        raise NoStudyError(f"no study {name!r} in this MLflow store; it has the experiments: {others}")
    experiment_id: str = experiment.experiment_id
    if experiment.lifecycle_stage != "active":
        raise NoStudyError(
            f"the experiment of the study {name!r} has been deleted in MLflow; "
            f"mlflow experiments restore --experiment-id {experiment_id} brings it back"
        )
    return experiment_id


def stored_runs(client: MlflowClient, experiment_id: str) -> list[StoredRun]:
    """All runs of an experiment, newest first; a server is asked for several periods at once, so that it and we work at once."""
    if not client.tracking_uri.startswith(("http://", "https://")):
        found = _search(client, experiment_id, "")
    else:
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            periods = pool.map(lambda query: _search_server(client, experiment_id, query), _periods(client, experiment_id))
            found = [run for runs in periods for run in runs]
    return sorted(found, key=lambda run: (-run.begun_at_ms, run.run_id))


def _periods(client: MlflowClient, experiment_id: str) -> list[str]:
    """Queries that every run of the experiment is found by one of."""
    bounds = []
    for order in ("ASC", "DESC"):
        page = client.search_runs([experiment_id], order_by=[f"attributes.start_time {order}"], max_results=1)
        bounds += [run.info.start_time for run in page]
    if len(set(bounds)) < len(bounds) or not bounds:
        return [""]
    first, last = bounds
    edges = sorted({first + (last - first) * i // NUM_PERIODS for i in range(1, NUM_PERIODS)})
    within = [f"attributes.start_time >= {low} and attributes.start_time < {high}" for low, high in itertools.pairwise(edges)]
    return [f"attributes.start_time < {edges[0]}", *within, f"attributes.start_time >= {edges[-1]}"]


def _search(client: MlflowClient, experiment_id: str, query: str) -> list[StoredRun]:
    found: list[StoredRun] = []
    token: str | None = ""
    while token is not None:
        with _no_garbage_collection():
            page = client.search_runs([experiment_id], query, max_results=PAGE_SIZE, page_token=token or None)
            found += map(_stored, page)
            token = page.token or None
    return found


def _search_server(client: MlflowClient, experiment_id: str, query: str) -> list[StoredRun]:
    """The same from a server's REST API: MLflow's client would make three objects of every value on the way, which takes longer
    than all the rest.

    Raises:
        MlflowException: The server does not answer, or refuses.
    """
    credentials = client._tracking_client.store.get_host_creds()  # noqa: SLF001  # whatever MLflow takes from its environment
    asked: dict[str, Any] = {"experiment_ids": [experiment_id], "filter": query, "max_results": PAGE_SIZE}
    found: list[StoredRun] = []
    while True:
        response = rest_utils.http_request(credentials, SEARCH, "POST", json=asked)
        page = rest_utils.verify_rest_response(response, SEARCH).json()
        found += map(_stored_json, page.get("runs", []))
        if not page.get("next_page_token"):
            return found
        asked["page_token"] = page["next_page_token"]


def _stored_json(run: Mapping[str, Any]) -> StoredRun:
    info, data = run["info"], run.get("data", {})
    return StoredRun(
        run_id=info["run_id"],
        name=info.get("run_name") or info["run_id"],
        status=info["status"],
        begun_at_ms=int(info.get("start_time", 0)),
        ended_at_ms=int(info.get("end_time", 0)),
        tags={tag["key"]: tag.get("value", "") for tag in data.get("tags", [])},
        metrics={metric["key"]: float(metric.get("value", 0)) for metric in data.get("metrics", [])},  # "NaN" and "Infinity" too
    )


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """MLflow makes a hundred objects a run; to look through all of them again and again takes longer than to make them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _stored(run: Run) -> StoredRun:
    info = run.info
    return StoredRun(
        run_id=info.run_id,
        name=info.run_name or info.run_id,
        status=info.status,
        begun_at_ms=info.start_time or 0,
        ended_at_ms=info.end_time or 0,
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
    )


def curves(client: MlflowClient, run_ids: Sequence[str], metric: str) -> list[tuple[float, ...]]:
    """The values of a metric of every run in the order of its steps: a request for each run."""

    def curve(run_id: str) -> tuple[float, ...]:
        by_step = {point.step: point.value for point in client.get_metric_history(run_id, metric)}
        return tuple(by_step[step] for step in sorted(by_step))

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(curve, run_ids))
