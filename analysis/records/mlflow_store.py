"""The runs of a study in an MLflow store, which is only read."""

import gc
import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import studies.library_settings

from mlflow import MlflowClient
from mlflow.entities import Run

from studies import run_record
from studies.stores import mlflow_access
from studies.stores.mlflow_access import SERVERS, experiment_names, find_experiment, of_kind, search_runs
from studies.stores.mlflow_internals import search_runs_as_json

NUM_THREADS = 4
NUM_PERIODS = 16


class NoStudyError(Exception):
    """The store holds no such study, or none that can be read; the message says what it holds."""


@dataclass(frozen=True)
class StoredRun:
    """A run of MLflow, with the last value of each metric."""

    run_id: str
    name: str
    status: str
    begun_at_ms: int
    ended_at_ms: int
    """0 while it has not ended."""
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def experiment_of(client: MlflowClient, study: str) -> str:
    """The experiment of a study, its own or one that it shares with others.

    Raises:
        NoStudyError: There is none, or it has been deleted.
    """
    if experiment_id := find_experiment(client, study):
        return experiment_id
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        raise NoStudyError(f"no study {study!r} in this MLflow store; it has the experiments: {experiment_names(client)}")
    found: str = experiment.experiment_id
    if experiment.lifecycle_stage != "active":
        raise NoStudyError(
            f"the experiment of the study {study!r} has been deleted in MLflow; "
            f"mlflow experiments restore --experiment-id {found} brings it back"
        )
    return found


def stored_runs(client: MlflowClient, experiment_id: str) -> list[StoredRun]:
    """All runs of an experiment, newest first. A server is asked for several periods at once: it works on one while another is
    read here.
    """
    if not client.tracking_uri.startswith(SERVERS):
        found = _search(client, experiment_id, "")
    else:
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            periods = pool.map(lambda query: _search(client, experiment_id, query), _periods(client, experiment_id))
            found = [run for runs in periods for run in runs]
    return sorted(found, key=lambda run: (-run.begun_at_ms, run.run_id))


def _periods(client: MlflowClient, experiment_id: str) -> list[str]:
    """Queries for periods of time, such that every run of the experiment is found by exactly one of them."""
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
    rows = search_runs_as_json(client, experiment_id, query, mlflow_access.PAGE_SIZE)
    if rows is not None:
        return [_stored_json(row) for row in rows]
    with _no_garbage_collection():
        return [_stored(run) for run in search_runs(client, experiment_id, query)]


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
    """MLflow makes a hundred objects a run, and a collection that looks through all of them takes longer than making them."""
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


def deleted_runs(client: MlflowClient, experiment_id: str, study: str) -> dict[str, StoredRun]:
    """A study's replicate runs that were deleted in MLflow, by identity."""
    runs = search_runs(client, experiment_id, of_kind(run_record.KIND_REPLICATE, study), deleted=True)
    return {run.data.tags.get(run_record.IDENTITY, ""): _stored(run) for run in runs}


def curves(client: MlflowClient, run_ids: Sequence[str], metric: str) -> list[tuple[float, ...]]:
    """The values of a metric in the order of its steps, for each run; it takes a request for each run."""

    def curve(run_id: str) -> tuple[float, ...]:
        by_step = {point.step: point.value for point in client.get_metric_history(run_id, metric)}
        return tuple(by_step[step] for step in sorted(by_step))

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(curve, run_ids))
