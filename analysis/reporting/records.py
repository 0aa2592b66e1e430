"""A study as its MLflow store has it: what was asked, and a record of every replicate, missing ones among them."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from analysis.statistics.level_cells import AROUND_A_BASELINE, FACTORIAL
from studies import run_record
from studies.run_record import PlannedReplicate, Role, RunRecord, StudyRecord

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow.exceptions  # after its settings
from mlflow import MlflowClient
from mlflow.entities import Run

PAGE_SIZE = 1000
MISSING = "MISSING"
MOST_CURVES = 200
"""A factorial design of more runs is read without their curves, each of which is a request."""
FOUND_BY_TAGS = ("search", "finalist", "tuning")
"""Roles of replicates that no plan can name before they are proposed."""


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
        found = _search(client, experiment.experiment_id, run_record.KIND_REPLICATE)
        runs = {run.data.tags[run_record.IDENTITY]: run for run in found}
        planned = [*study.replicates, *_proposed(study, runs)]
        records = [_record(replicate, runs.get(replicate.identity)) for replicate in planned]
        records = _with_curves(client, study, records)
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


def _proposed(study: StudyRecord, runs: Mapping[str, Run]) -> list[PlannedReplicate]:
    """What a search or a tuning has proposed and the plan does not name, oldest first; not what an earlier space of it did."""
    known = {planned.identity for planned in study.replicates}
    oldest_first = sorted(runs.items(), key=lambda pair: (pair[1].info.start_time, pair[0]))
    proposed = [_from_tags(identity, run) for identity, run in oldest_first if identity not in known]
    return [replicate for replicate in proposed if replicate.role in FOUND_BY_TAGS and _is_of_space(study, replicate)]


def _from_tags(identity: str, run: Run) -> PlannedReplicate:
    tags: dict[str, str] = run.data.tags
    return PlannedReplicate(
        identity=identity,
        seed=int(tags.get(run_record.SEED, "0")),
        levels=json.loads(tags.get(run_record.LEVELS, "{}")),
        role=_role(tags.get(run_record.ROLE, "cell")),
        tuned=json.loads(tags.get(run_record.TUNED, "{}")),
    )


def _role(text: str) -> Role:
    return next((role for role in get_args(Role) if role == text), "cell")


def _is_of_space(study: StudyRecord, replicate: PlannedReplicate) -> bool:
    """Whether its levels are of the study's factors as they are now; any value may be of a range."""
    return all(
        name in study.factors and (name in study.ranges or level in study.factors[name])
        for name, level in replicate.levels.items()
    )


def _record(planned: PlannedReplicate, run: Run | None) -> RunRecord:
    asked: dict[str, Any] = {"identity": planned.identity, "seed": planned.seed, "levels": planned.levels, "role": planned.role}
    if run is None:
        return RunRecord(**asked, tuned=planned.tuned, status=MISSING, reason="never begun")
    tags: dict[str, Any] = run.data.tags
    is_pruned = run.info.status == "KILLED" and tags.get(run_record.STATE) == run_record.STATE_PRUNED
    return RunRecord(
        **asked,
        tuned=planned.tuned or json.loads(tags.get(run_record.TUNED, "{}")),
        status=run_record.PRUNED if is_pruned else run.info.status,
        reason=tags.get(run_record.REASON, "") if run.info.status != "FINISHED" else "",
        run_id=run.info.run_id,
        metrics=dict(run.data.metrics),
        data_digest=tags.get(run_record.DATA_DIGEST, ""),
        config=json.loads(tags.get(run_record.CONFIG, "{}")),
        versions=tags.get(run_record.VERSIONS, ""),
        git_commit=tags.get("mlflow.source.git.commit", ""),
    )


def _with_curves(client: MlflowClient, study: StudyRecord, records: list[RunRecord]) -> list[RunRecord]:
    """The records with accuracy at t, where the study's design shows it: MLflow wants a request for each."""
    num_cells = sum(record.role == "cell" for record in records)
    if study.design not in AROUND_A_BASELINE and not (study.design in FACTORIAL and num_cells <= MOST_CURVES):
        return records
    return [
        replace(record, accuracy_at_t=_curve(client, record.run_id, run_record.ACCURACY_AT_T))
        if record.status == "FINISHED" and record.role == "cell"
        else record
        for record in records
    ]


def _curve(client: MlflowClient, run_id: str, metric: str) -> tuple[float, ...]:
    """Values of a metric in the order of its steps."""
    by_step = {point.step: point.value for point in client.get_metric_history(run_id, metric)}
    return tuple(by_step[step] for step in sorted(by_step))
