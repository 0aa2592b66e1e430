"""One replicate as MLflow has it, with the whole history of its metrics; it is found by its identity or by the id of its run.

The store is only read, and not made if it is not there.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from studies import run_record
from studies.credentials import mask_uri
from studies.engine.errors import Problem, StudyError, cut
from studies.engine.recording.mlflow_store import connect_to_existing, store_problem
from studies.stores.mlflow_access import all_experiments

OF_THE_MACHINE = ("time/", "memory/", "system/", "cost/")
"""How the names of metrics begin that depend on the machine: no other training has the same values."""


@dataclass(frozen=True, kw_only=True)
class RecordedReplicate:
    """A replicate's config, data and versions, and its metrics."""

    run_id: str
    identity: str
    study: str
    title: str
    status: str
    """MLflow's; PRUNED for what a pruner stopped."""
    reason: str
    """Why it failed, or was stopped."""
    trainable: str
    config: Mapping[str, Any]
    seed: int
    data_digest: str
    commit: str
    versions: Mapping[str, str]
    facts: Mapping[str, str]
    had_gpu: bool
    num_epochs: int
    """The number of epochs that the run has."""
    metrics: Mapping[str, Mapping[int, float]]
    """Values by epoch (by time step for curves), by metric, without those that depend on the machine."""
    num_others: int
    """How many other runs of the store have the same identity."""


def read_recorded(run: str, tracking_uri: str) -> RecordedReplicate:
    """Read the replicate with this identity, or whose run has this id.

    Raises:
        StudyError: The store is not there or does not answer, it has no such run, or the run is not a replicate's or lacks tags.
    """
    client = connect_to_existing(tracking_uri)
    with _answering(tracking_uri):
        found = _find(client, run, tracking_uri)
        best = max(found, key=lambda each: (each.info.status == "FINISHED", _num_epochs(each), each.info.start_time or 0))
        names = [name for name in best.data.metrics if not name.startswith(OF_THE_MACHINE) and name != "epoch"]
        histories = {name: client.get_metric_history(best.info.run_id, name) for name in names}
    metrics = {name: {point.step: point.value for point in history} for name, history in histories.items()}
    return _record(best, metrics, len(found) - 1)


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    """A context in which errors of MLflow become a problem of ``tracking_uri``."""
    try:
        yield
    except (MlflowException, OSError) as error:
        rule, repair = "the tracking server must answer", "see that it runs, and that it has what it needs"
        raise StudyError([store_problem(uri, rule, error, repair)]) from None


def _find(client: MlflowClient, run: str, uri: str) -> list[Run]:
    """The runs of a replicate; there are several where several studies of the store ask for it."""
    found: list[Run] = []
    if re.fullmatch(r"[\w-]+", run):
        experiments = [experiment.experiment_id for experiment in all_experiments(client)]
        found = list(client.search_runs(experiments, f"tags.`{run_record.IDENTITY}` = '{run}'")) if experiments else []
        found = found or _run_of_id(client, run)
    if not found:
        rule = "RUN must be a replicate's identity (the tag spikesweep.identity) or the id of its run in MLflow"
        repair = "copy it from the run's page; --tracking-uri or --storage names another store"
        raise StudyError([Problem("RUN", rule, f"{cut(run)}, which {mask_uri(uri)} does not have", repair)])
    return found


def _run_of_id(client: MlflowClient, run_id: str) -> list[Run]:
    try:
        return [client.get_run(run_id)]
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return []
        raise


def _num_epochs(run: Run) -> int:
    return int(run.data.metrics.get("epoch", 0))


def _record(run: Run, metrics: Mapping[str, Mapping[int, float]], num_others: int) -> RecordedReplicate:
    tags, name = run.data.tags, run.info.run_name or run.info.run_id
    if tags.get(run_record.KIND) != run_record.KIND_REPLICATE:
        kind = f"is the run of the study {tags[run_record.STUDY]}" if run_record.STUDY in tags else "is none of spikesweep's"
        rule, repair = "RUN must be the run of one replicate", "choose one of the runs below a study's own"
        raise StudyError([Problem("RUN", rule, f"{run.info.run_id} ({name}), which {kind}", repair)])
    problems: list[Problem] = []

    def tag(key: str, read: Callable[[str], Any], what: str) -> Any:
        try:
            return read(tags[key])
        except (KeyError, ValueError):
            rule = f"a replicate's run must have the tag {key}: {what}"
            repair = "it was deleted or changed, or an earlier version wrote the run: put it back"
            problems.append(Problem(f"run {run.info.run_id}", rule, cut(tags.get(key, "nothing")), repair))

    status = "PRUNED" if tags.get(run_record.STATE) == run_record.STATE_PRUNED else run.info.status
    record = {
        "identity": tag(run_record.IDENTITY, str, "text"),
        "trainable": tag(run_record.TRAINABLE, str, "the name of a trainable"),
        "config": tag(run_record.CONFIG, _mapping, "a mapping, as JSON"),
        "seed": tag(run_record.SEED, int, "a whole number"),
        "data_digest": tag(run_record.DATA_DIGEST, str, "the digest of the data"),
    }
    if problems:
        raise StudyError(problems)
    return RecordedReplicate(
        run_id=run.info.run_id,
        study=tags.get(run_record.STUDY, ""),
        title=name,
        status=status,
        reason=tags.get(run_record.REASON, ""),
        commit=tags.get(run_record.COMMIT, ""),
        versions=_versions(tags.get(run_record.VERSIONS, "{}")),
        facts=run_record.facts_of(tags),
        had_gpu=run.data.metrics.get("cost/gpu_seconds", 0) > 0,
        num_epochs=_num_epochs(run),
        metrics=metrics,
        num_others=num_others,
        **record,
    )


def _mapping(text: str) -> dict[str, Any]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("no mapping")  # noqa: TRY004  # as what is no JSON
    return content


def _versions(text: str) -> dict[str, str]:
    """The versions in a tag; none if the tag was changed by hand."""
    try:
        return {package: str(version) for package, version in _mapping(text).items()}
    except ValueError:
        return {}
