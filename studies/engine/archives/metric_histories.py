"""Whole histories of metrics, of many runs at once."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow import MlflowClient
from mlflow.utils import rest_utils

Point = tuple[int, int, float]
"""Step, milliseconds since 1970, value."""

BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
MOST_RUNS = 100
MOST_POINTS = 25_000
"""Both are what a server of MLflow's takes and gives in one request."""
NOT_FOUND = 404
NUM_THREADS = 4


def read_histories(client: MlflowClient, metrics: Mapping[str, Iterable[str]]) -> dict[str, dict[str, list[Point]]]:
    """All points of the named metrics of every run, by run and metric, in the order of their steps.

    Raises:
        MlflowException: The store does not answer, or refuses.
    """
    runs_of: dict[str, list[str]] = {}
    for run_id, names in metrics.items():
        for name in names:
            runs_of.setdefault(name, []).append(run_id)
    is_server = client.tracking_uri.startswith(("http://", "https://"))
    histories: dict[str, dict[str, list[Point]]] = {run_id: {} for run_id in metrics}
    with ThreadPoolExecutor(NUM_THREADS if is_server else 1) as pool:
        found = pool.map(lambda name: _read(client, runs_of[name], name), runs_of)
        for name, points_of in zip(runs_of, found, strict=True):
            for run_id, points in points_of.items():
                histories[run_id][name] = sorted(points, key=repr_of)
    return histories


def repr_of(point: Point) -> tuple[int, int, str]:
    """A point as one that equals itself though its value be no number."""
    step, timestamp, value = point
    return step, timestamp, repr(value)


def _read(client: MlflowClient, run_ids: Sequence[str], name: str) -> dict[str, list[Point]]:
    """Of one metric; halves that are too much for one request are asked for on their own."""
    if len(run_ids) <= MOST_RUNS:
        rows = _bulk(client, run_ids, name)
        if rows is not None and len(rows) < MOST_POINTS:
            points: dict[str, list[Point]] = {}
            for run_id, point in rows:
                points.setdefault(run_id, []).append(point)
            return points
        if rows is None or len(run_ids) == 1:
            return {run_id: _one_by_one(client, run_id, name) for run_id in run_ids}
    middle = len(run_ids) // 2
    return _read(client, run_ids[:middle], name) | _read(client, run_ids[middle:], name)


def _bulk(client: MlflowClient, run_ids: Sequence[str], name: str) -> list[tuple[str, Point]] | None:
    """None of a store that knows no such request. MLflow's client has none; its own pages ask so."""
    store = client._tracking_client.store  # noqa: SLF001  # what stands behind the client: a database, or a server and its login
    if hasattr(store, "get_metric_history_bulk"):
        rows = [row.to_dict() for row in store.get_metric_history_bulk(list(run_ids), name, MOST_POINTS)]
    elif hasattr(store, "get_host_creds"):
        asked: dict[str, Any] = {"run_id": list(run_ids), "metric_key": name, "max_results": MOST_POINTS}
        response = rest_utils.http_request(store.get_host_creds(), BULK, "GET", params=asked)
        if response.status_code == NOT_FOUND:
            return None
        rows = rest_utils.verify_rest_response(response, BULK).json()["metrics"]
    else:
        return None
    return [(row["run_id"], (int(row["step"]), int(row["timestamp"]), float(row["value"]))) for row in rows]


def _one_by_one(client: MlflowClient, run_id: str, name: str) -> list[Point]:
    return [(point.step, point.timestamp, point.value) for point in client.get_metric_history(run_id, name)]
