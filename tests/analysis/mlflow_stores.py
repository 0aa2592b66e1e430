"""Studies as the engine leaves them in a real MLflow store."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric

from studies import run_record
from studies.run_record import RunRecord, StudyRecord


def write(client: MlflowClient, study: StudyRecord, runs: Sequence[RunRecord], folder: Path) -> str:
    """A study and its runs as the engine writes them, and its experiment; a MISSING replicate has no run."""
    experiment: str = client.create_experiment(study.name, artifact_location=folder.as_uri())
    parent = client.create_run(experiment, tags={run_record.KIND: run_record.KIND_STUDY})
    client.log_text(parent.info.run_id, json.dumps(study.as_dict()), run_record.STUDY_ARTIFACT)
    for run in runs:
        if run.status != "MISSING":
            write_run(client, experiment, run)
    return experiment


def write_run(client: MlflowClient, experiment: str, run: RunRecord, tags: Mapping[str, str] | None = None) -> None:
    """One replicate with its tags, last metrics and curve; the curve as a metric alone, as older versions had it."""
    own = {
        run_record.KIND: run_record.KIND_REPLICATE,
        run_record.IDENTITY: run.identity,
        run_record.SEED: str(run.seed),
        run_record.LEVELS: json.dumps(run.levels),
        run_record.ROLE: run.role,
        run_record.TUNED: json.dumps(run.tuned),
    }
    run_id = client.create_run(experiment, tags={**own, **(tags or {})}).info.run_id
    metrics = [Metric(name, value, 0, 1) for name, value in run.metrics.items()]
    curve = [Metric(run_record.ACCURACY_AT_T, value, 0, t) for t, value in enumerate(run.accuracy_at_t, 1)]
    client.log_batch(run_id, metrics=[*metrics, *curve])
    if run.status == run_record.PRUNED:
        client.set_tag(run_id, run_record.STATE, run_record.STATE_PRUNED)
        client.set_tag(run_id, run_record.REASON, "epoch 3")
    if run.reason:
        client.set_tag(run_id, run_record.REASON, run.reason)
    client.set_terminated(run_id, "KILLED" if run.status == run_record.PRUNED else run.status)
