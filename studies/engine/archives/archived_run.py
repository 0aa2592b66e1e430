"""A run and its models as an archive has them, and how they are read from MLflow."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModel, Run
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from studies import run_record
from studies.engine.archives.metric_histories import Point
from studies.mlflow_access import all_pages

STUDY_KEY = "study"
"""The key of the study run; a replicate's is its identity."""
STUDY_RUN_TAG = "mlflow.parentRunId"
ENDED = ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True, kw_only=True)
class ArchivedModel:
    """A logged model. Its id, location and time are those of the store that it was exported from."""

    model_id: str
    artifact_location: str
    name: str
    model_type: str
    status: str
    created_at_ms: int
    step: int
    """The step with which its run names the model."""
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class ArchivedRun:
    """A run. Its ``run_id`` is that of the store that it was exported from."""

    key: str
    run_id: str
    name: str
    status: str
    begun_at_ms: int
    ended_at_ms: int
    """0 while it has not ended."""
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    datasets: Sequence[Mapping[str, Any]] = ()
    models: Sequence[ArchivedModel] = ()

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended, in whatever way."""
        return self.status in ENDED

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; numbers that are not finite become texts."""
        content = dataclasses.asdict(self)
        content["metrics"] = {
            name: [[step, timestamp, _plain(value)] for step, timestamp, value in points] for name, points in self.metrics.items()
        }
        for model in content["models"]:
            model["metrics"] = [{**metric, "value": _plain(metric["value"])} for metric in model["metrics"]]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ArchivedRun":
        """Read what ``as_dict`` has given; fields of a newer version are left out.

        Raises:
            KeyError, TypeError, ValueError: The content is no archived run.
        """
        metrics = {
            name: [(int(step), int(timestamp), float(value)) for step, timestamp, value in points]
            for name, points in content["metrics"].items()
        }
        models = [ArchivedModel(**_known(ArchivedModel, model)) for model in content["models"]]
        return cls(**{**_known(cls, content), "metrics": metrics, "models": models})


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _known(kind: type, content: Mapping[str, Any]) -> dict[str, Any]:
    return {known.name: content[known.name] for known in dataclasses.fields(kind)}


def key_of(run: Run) -> str:
    """The key of a run within its study, the same in every store: ``study``, or the replicate's identity."""
    is_study = run.data.tags.get(run_record.KIND) == run_record.KIND_STUDY
    return STUDY_KEY if is_study else str(run.data.tags[run_record.IDENTITY])


def describe(run: Run, metrics: Mapping[str, Sequence[Point]], models: Sequence[ArchivedModel]) -> ArchivedRun:
    """A run of MLflow's, with these metrics and models, as an archive has it."""
    info = run.info
    return ArchivedRun(
        key=key_of(run),
        run_id=info.run_id,
        name=info.run_name or "",
        status=info.status,
        begun_at_ms=info.start_time or 0,
        ended_at_ms=info.end_time or 0,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics=metrics,
        datasets=[_dataset(found) for found in (run.inputs.dataset_inputs if run.inputs else [])],
        models=models,
    )


def _dataset(found: DatasetInput) -> dict[str, Any]:
    dataset = found.dataset
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        "source": dataset.source,
        "schema": dataset.schema,
        "profile": dataset.profile,
        "tags": {tag.key: tag.value for tag in found.tags},
    }


def dataset_input(content: Mapping[str, Any]) -> DatasetInput:
    """An archived data set in the form in which MLflow logs it."""
    tags = [InputTag(name, value) for name, value in content["tags"].items()]
    return DatasetInput(Dataset(**{name: value for name, value in content.items() if name != "tags"}), tags)


def models_of(client: MlflowClient, run: Run) -> list[tuple[ArchivedModel, LoggedModel]]:
    """The models that a run has logged, without deleted ones."""
    outputs = run.outputs.model_outputs if run.outputs else []
    steps = {output.model_id: output.step for output in outputs}
    if not steps:
        return []
    found = search_models(client, run)
    return [(_model(model, steps[model.model_id]), model) for model in found if model.model_id in steps]


def search_models(client: MlflowClient, run: Run) -> list[LoggedModel]:
    """All models whose source is this run, oldest first."""
    query = f"source_run_id = '{run.info.run_id}'"
    models = all_pages(client.search_logged_models, [run.info.experiment_id], query)
    return sorted(models, key=lambda model: (model.creation_timestamp, model.model_id))


def _model(model: LoggedModel, step: int) -> ArchivedModel:
    metrics = [
        {
            "key": metric.key,
            "value": metric.value,
            "timestamp": metric.timestamp,
            "step": metric.step,
            "dataset_name": metric.dataset_name,
            "dataset_digest": metric.dataset_digest,
        }
        for metric in model.metrics or []
    ]
    return ArchivedModel(
        model_id=model.model_id,
        artifact_location=model.artifact_location,
        name=model.name,
        model_type=model.model_type or "",
        status=str(model.status),
        created_at_ms=model.creation_timestamp,
        step=step,
        tags=dict(model.tags),
        params=dict(model.params),
        metrics=metrics,
    )


def artifacts_at(client: MlflowClient, location: str) -> ArtifactRepository:
    """The artifacts of one run or one model; MLflow's client would list those of a run's models with the run's own."""
    return get_artifact_repository(location, tracking_uri=client.tracking_uri)


def artifact_sizes(repository: ArtifactRepository, folder: str | None = None) -> Iterator[tuple[str, int | None]]:
    """The path and the size of every file in a repository's folder and below."""
    for entry in repository.list_artifacts(folder):
        if entry.is_dir:
            yield from artifact_sizes(repository, entry.path)
        else:
            yield entry.path, entry.file_size
