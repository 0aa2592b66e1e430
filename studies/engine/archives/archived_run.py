"""A run and its models as an archive has them, and how they are read from MLflow."""

import dataclasses
import json
import math
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModel, Run
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter

from studies import run_record
from studies.engine.recording.mlflow_ui_internals import LOGGED_TABLES, MODEL_HISTORY
from studies.engine.recording.replicate_runs import PARENT
from studies.stores.mlflow_access import all_pages

STUDY_KEY = "study"
"""The key of the study run; a replicate's is its identity."""
STUDY_RUN_TAG = PARENT
ENDED = ("FINISHED", "FAILED", "KILLED")
MODEL_FILE = "MLmodel"
"""The file of a model that has its id and that of its run."""
REPORT_PAGE = f"{run_record.REPORT_ARTIFACTS}/summary.html"

# What may stand in an archive, which anybody can have written: what MLflow's stores accept.
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Milliseconds = Annotated[int, Field(ge=0, lt=2**53)]
Number = Annotated[float, BeforeValidator(lambda value: float(value) if value in ("nan", "inf", "-inf") else value)]


def _unique_name(name: str) -> str:
    if posixpath.normpath(name) != name or name in {".", ".."} or name.startswith("../"):
        raise ValueError("a name must be no path to another place")
    return name


Name = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[\w. :\-]+(/[\w. :\-]+)*$"), AfterValidator(_unique_name)]
Key = Annotated[str, Field(pattern=r"^[\w-]{1,100}$")]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
ModelId = Annotated[str, Field(pattern=r"^m-[0-9a-f]{32}$")]
Location = Annotated[str, Field(min_length=8, max_length=1000)]
Title = Annotated[str, Field(max_length=1000)]
Value = Annotated[str, Field(max_length=8000)]
Param = Annotated[str, Field(max_length=6000)]
LongText = Annotated[str, Field(max_length=2**24)]
Point = tuple[Integer, Integer, Number]
"""Step, milliseconds since 1970, value."""


@dataclass(frozen=True, kw_only=True)
class ArchivedMetric:
    """A metric of a logged model."""

    key: Name
    value: Number
    timestamp: Integer
    step: Integer
    dataset_name: Title | None
    dataset_digest: Title | None


@dataclass(frozen=True, kw_only=True)
class ArchivedModel:
    """A logged model. Its id, location and time are those of the store that it was exported from."""

    model_id: ModelId
    artifact_location: Location
    name: Name
    model_type: Title
    status: Literal["UNSPECIFIED", "PENDING", "READY", "FAILED"]
    created_at_ms: Milliseconds
    step: Integer
    """The step with which its run names the model."""
    tags: Mapping[Name, Value]
    params: Mapping[Name, Value]
    metrics: Sequence[ArchivedMetric]


@dataclass(frozen=True, kw_only=True)
class ArchivedDataset:
    """A data set that a run was trained on, as MLflow describes it."""

    name: Title
    digest: Title
    source_type: Title
    source: LongText
    schema: LongText | None
    profile: LongText | None
    tags: Mapping[Name, Value]


@dataclass(frozen=True, kw_only=True)
class ArchivedRun:
    """A run. Its ``run_id`` is that of the store that it was exported from."""

    key: Key
    run_id: Id
    name: Title
    status: Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
    begun_at_ms: Milliseconds
    ended_at_ms: Milliseconds
    """0 while it has not ended."""
    tags: Mapping[Name, Value]
    params: Mapping[Name, Param]
    metrics: Mapping[Name, Sequence[Point]] = field(default_factory=dict)
    datasets: Sequence[ArchivedDataset] = ()
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
    def from_json(cls, line: bytes) -> "ArchivedRun":
        """Read the JSON of what ``as_dict`` has given; fields of a newer version are left out.

        Raises:
            ValueError: The line is no archived run. It is one of pydantic, which names the field.
        """
        return _LINE.validate_json(line, strict=True)

    def own_files(self) -> list[str]:
        """The artifacts that the run must have, because its tags name them; a run that was recorded whole has all of them."""
        if self.key == STUDY_KEY:
            report = [REPORT_PAGE] if self.tags.get(run_record.FINDINGS) else []
            return [run_record.STUDY_ARTIFACT, run_record.STUDY_FILE_ARTIFACT, *report]
        models = [] if self.models else _paths_in(self.tags.get(MODEL_HISTORY, ""), "artifact_path")
        return [*(f"{path}/{MODEL_FILE}" for path in models), *_paths_in(self.tags.get(LOGGED_TABLES, ""), "path")]


_LINE = TypeAdapter(ArchivedRun)


def _paths_in(tag: str, name: str) -> list[str]:
    """The paths of artifacts in one of MLflow's own tags; none if a person has changed it."""
    try:
        return [entry[name] for entry in json.loads(tag or "[]") if isinstance(entry[name], str)]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def key_of(run: Run) -> str:
    """The key of a run within its study, the same in every store: ``study``, or the replicate's identity."""
    return key_in(run.data.tags)


def key_in(tags: Mapping[str, str]) -> str:
    """The key of a run with these tags; empty if they are not those of a study's run."""
    return STUDY_KEY if tags.get(run_record.KIND) == run_record.KIND_STUDY else tags.get(run_record.IDENTITY, "")


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


def _dataset(found: DatasetInput) -> ArchivedDataset:
    dataset = found.dataset
    return ArchivedDataset(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=dataset.source,
        schema=dataset.schema,
        profile=dataset.profile,
        tags={tag.key: tag.value for tag in found.tags},
    )


def dataset_input(archived: ArchivedDataset) -> DatasetInput:
    """An archived data set in the form in which MLflow logs it."""
    content = dataclasses.asdict(archived)
    tags = [InputTag(name, value) for name, value in content.pop("tags").items()]
    return DatasetInput(Dataset(**content), tags)


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
        ArchivedMetric(
            key=metric.key,
            value=metric.value,
            timestamp=metric.timestamp,
            step=metric.step,
            dataset_name=metric.dataset_name,
            dataset_digest=metric.dataset_digest,
        )
        for metric in model.metrics or []
    ]
    return ArchivedModel(
        model_id=model.model_id,
        artifact_location=model.artifact_location,
        name=model.name,
        model_type=model.model_type or "",
        status=model.status.value,
        created_at_ms=model.creation_timestamp,
        step=step,
        tags=dict(model.tags),
        params=dict(model.params),
        metrics=metrics,
    )


def artifact_sizes(repository: ArtifactRepository, folder: str | None = None) -> Iterator[tuple[str, int | None]]:
    """The path and the size of every file in a repository's folder and below."""
    for entry in repository.list_artifacts(folder):
        if entry.is_dir:
            yield from artifact_sizes(repository, entry.path)
        else:
            yield entry.path, entry.file_size
