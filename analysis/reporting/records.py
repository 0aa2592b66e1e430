"""A study as its MLflow store has it: what was asked, and a record of every replicate, missing ones among them."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies import run_record
from studies.run_record import PlannedReplicate, RunRecord, StudyRecord

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow.exceptions  # after its settings
from mlflow import MlflowClient
from mlflow.entities import Run

PAGE_SIZE = 1000
MISSING = "MISSING"


class NoStudyError(Exception):
    """The store holds no such study, or none that can be read; the message says what it holds."""


@dataclass(frozen=True)
class RecordedStudy:
    """What was asked and what came of it, in the order of the plan."""

    study: StudyRecord
    runs: list[RunRecord]


def load_recorded_study(name: str, tracking_uri: str) -> RecordedStudy:
    """Read one study, from any store that MLflow reads.

    Raises:
        NoStudyError: The store does not answer, or holds no study of that name.
    """
    if tracking_uri.startswith("sqlite:///") and not Path(tracking_uri.removeprefix("sqlite:///")).exists():
        raise NoStudyError("there is no such file")  # MLflow would make it
    try:
        client = MlflowClient(tracking_uri)
        experiment = client.get_experiment_by_name(name)
        parents = _search(client, experiment.experiment_id, run_record.KIND_STUDY) if experiment else []
        if experiment is None or not parents:
            others = ", ".join(other.name for other in client.search_experiments()) or "none"
            raise NoStudyError(f"no study {name!r} in this MLflow store; it has the experiments: {others}")
        parent = parents[0].info
        with tempfile.TemporaryDirectory() as folder:
            artifact = client.download_artifacts(parent.run_id, run_record.STUDY_ARTIFACT, folder)
            study = StudyRecord.from_json(Path(artifact).read_text(encoding="utf-8"))
        runs = {
            run.data.tags[run_record.IDENTITY]: run
            for run in _search(client, experiment.experiment_id, run_record.KIND_REPLICATE)
        }
        records = [_record(client, planned, runs.get(planned.identity)) for planned in study.replicates]
    except (mlflow.exceptions.MlflowException, OSError) as error:
        reason = str(error).splitlines()[0].replace(tracking_uri, "its store")  # which may hold a password
        raise NoStudyError(f"the study {name!r} cannot be read from MLflow: {reason}") from None
    return RecordedStudy(study, records)


def _search(client: MlflowClient, experiment_id: str, kind: str) -> list[Run]:
    query = f"tags.`{run_record.KIND}` = '{kind}'"
    page = client.search_runs([experiment_id], query, max_results=PAGE_SIZE)
    runs: list[Run] = list(page)
    while page.token:
        page = client.search_runs([experiment_id], query, max_results=PAGE_SIZE, page_token=page.token)
        runs += page
    return runs


def _record(client: MlflowClient, planned: PlannedReplicate, run: Run | None) -> RunRecord:
    if run is None:
        return RunRecord(planned.identity, planned.seed, planned.levels, MISSING, "never begun")
    tags: dict[str, Any] = run.data.tags
    finished = run.info.status == "FINISHED"
    return RunRecord(
        identity=planned.identity,
        seed=planned.seed,
        levels=planned.levels,
        status=run.info.status,
        reason=tags.get(run_record.REASON, "") if not finished else "",
        run_id=run.info.run_id,
        metrics=dict(run.data.metrics),
        accuracy_at_t=_curve(client, run.info.run_id, run_record.ACCURACY_AT_T) if finished else (),
        data_digest=tags.get(run_record.DATA_DIGEST, ""),
        config=json.loads(tags.get(run_record.CONFIG, "{}")),
        versions=tags.get(run_record.VERSIONS, ""),
        git_commit=tags.get("mlflow.source.git.commit", ""),
    )


def _curve(client: MlflowClient, run_id: str, metric: str) -> tuple[float, ...]:
    """Values of a metric in the order of its steps."""
    by_step = {point.step: point.value for point in client.get_metric_history(run_id, metric)}
    return tuple(by_step[step] for step in sorted(by_step))
