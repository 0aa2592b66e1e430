"""The whole histories of metrics, read for many runs at once."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from mlflow import MlflowClient

from studies.engine.archives.archived_run import Point
from studies.stores.mlflow_access import SERVERS
from studies.stores.mlflow_internals import MOST_POINTS, MOST_RUNS, read_histories_in_bulk

NUM_THREADS = 4


def read_histories(client: MlflowClient, metrics: Mapping[str, Iterable[str]]) -> dict[str, dict[str, list[Point]]]:
    """All points of the named metrics of every run, by run id and metric, in the order of their steps.

    Raises:
        MlflowException: The store does not answer, or refuses.
    """
    runs_of: dict[str, list[str]] = {}
    for run_id, names in metrics.items():
        for name in names:
            runs_of.setdefault(name, []).append(run_id)
    is_server = client.tracking_uri.startswith(SERVERS)
    histories: dict[str, dict[str, list[Point]]] = {run_id: {} for run_id in metrics}
    with ThreadPoolExecutor(NUM_THREADS if is_server else 1) as pool:
        found = pool.map(lambda name: _read(client, runs_of[name], name), runs_of)
        for name, points_of in zip(runs_of, found, strict=True):
            for run_id, points in points_of.items():
                histories[run_id][name] = sorted(points, key=repr_of)
    return histories


def repr_of(point: Point) -> tuple[int, int, str]:
    """The point with its value as text, so that points whose value is NaN are equal."""
    step, timestamp, value = point
    return step, timestamp, repr(value)


def _read(client: MlflowClient, run_ids: Sequence[str], name: str) -> dict[str, list[Point]]:
    """The points of one metric by run; if they are too many for one request, each half of the runs is asked for by itself."""
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
    """None of a store that knows no such request."""
    rows = read_histories_in_bulk(client, run_ids, name)
    if rows is None:
        return None
    return [(row["run_id"], (int(row["step"]), int(row["timestamp"]), float(row["value"]))) for row in rows]


def _one_by_one(client: MlflowClient, run_id: str, name: str) -> list[Point]:
    return [(point.step, point.timestamp, point.value) for point in client.get_metric_history(run_id, name)]
