"""Writes what a store lacks of an archived run: metrics, files, models, and last the status."""

import dataclasses
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric, Param, Run, RunTag
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from studies.engine.archives import archived_run, zip_format
from studies.engine.archives.archived_run import MODEL_FILE, ArchivedMetric, ArchivedModel, ArchivedRun
from studies.engine.archives.zip_format import Archive
from studies.process_folders import temporary_folder
from studies.stores.artifact_locations import artifacts_at


def write_run(client: MlflowClient, archive: Archive, missing: ArchivedRun, run: Run) -> None:
    """Add all of ``missing`` to a run that has not ended. A second try adds nothing twice.

    Raises:
        MlflowException, OSError: The store or its artifacts refuse, or cannot be reached.
    """
    run_id = run.info.run_id
    metrics = [
        Metric(name, value, timestamp, step) for name, points in missing.metrics.items() for step, timestamp, value in points
    ]
    params = [Param(name, value) for name, value in missing.params.items()]
    tags = [RunTag(name, value) for name, value in missing.tags.items()]
    client.log_batch(run_id, metrics=metrics, params=params, tags=tags)
    if missing.datasets:
        client.log_inputs(run_id, [archived_run.dataset_input(dataset) for dataset in missing.datasets])
    _write_files(archive, zip_format.artifacts_of(missing.key), artifacts_at(client, run.info.artifact_uri), {})
    _write_models(client, archive, missing, run)
    if missing.ended_at_ms:
        client.set_terminated(run_id, missing.status, missing.ended_at_ms)
    elif missing.status != "RUNNING":
        client.update_run(run_id, missing.status)


def _write_files(archive: Archive, folder: str, repository: ArtifactRepository, names: Mapping[str, str]) -> None:
    """Write all files of a folder of the archive. ``names`` are replaced in a model's description: new ones by old ones."""
    files = archive.files(folder)
    if not files:
        return
    with temporary_folder("import") as unpacked:
        archive.unpack(folder, files, unpacked)
        described = unpacked / MODEL_FILE
        if names and described.is_file():
            text = described.read_text(encoding="utf-8")
            for old, new in names.items():
                text = text.replace(old, new)
            described.write_text(text, encoding="utf-8")
        repository.log_artifacts(str(unpacked))


def _write_models(client: MlflowClient, archive: Archive, missing: ArchivedRun, run: Run) -> None:
    """Write the models that the run lacks, and finish those whose import was interrupted."""
    there = archived_run.search_models(client, run) if missing.models else []
    linked = {output.model_id for output in (run.outputs.model_outputs if run.outputs else [])}
    for number, archived in enumerate(missing.models):
        made = next((model for model in there if model.name == archived.name), None)
        if made:
            there.remove(made)
        else:
            made = _make_model(client, archived, run)
        if made.model_id in linked:
            continue
        names = {
            archived.artifact_location: made.artifact_location,
            archived.model_id: made.model_id,
            missing.run_id: run.info.run_id,
        }
        _write_files(archive, zip_format.model_of(missing.key, number), artifacts_at(client, made.artifact_location), names)
        if archived.metrics:
            client.log_batch(run.info.run_id, metrics=[_metric_of(metric, made.model_id) for metric in archived.metrics])
        if archived.status != str(LoggedModelStatus.PENDING):
            client.finalize_logged_model(made.model_id, archived.status)
        client.log_outputs(run.info.run_id, [LoggedModelOutput(made.model_id, archived.step)])


def _make_model(client: MlflowClient, archived: ArchivedModel, run: Run) -> LoggedModel:
    return client.create_logged_model(
        run.info.experiment_id,
        name=archived.name,
        source_run_id=run.info.run_id,
        tags=dict(archived.tags),
        params=dict(archived.params),
        model_type=archived.model_type or None,
    )


def _metric_of(metric: ArchivedMetric, model_id: str) -> Metric:
    return Metric(**dataclasses.asdict(metric), model_id=model_id)
