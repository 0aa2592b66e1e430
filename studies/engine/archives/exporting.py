"""``spikesweep export``: writes the runs of a study from an MLflow store into an archive."""

import importlib.metadata
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from studies import run_record
from studies.credentials import mask_credentials, mask_uri
from studies.engine.archives import archived_run, zip_format
from studies.engine.archives.archived_run import ArchivedModel, ArchivedRun
from studies.engine.archives.checked_runs import lacking, lost_files
from studies.engine.archives.metric_histories import read_histories
from studies.engine.archives.zip_format import ArchiveWriter
from studies.engine.errors import Problem, StudyError, not_recorded
from studies.engine.recording.mlflow_store import store_problem
from studies.engine.recording.replicate_runs import DESCRIPTION
from studies.process_folders import temporary_folder
from studies.stores.artifact_locations import artifacts_at, local_folder, present_location
from studies.stores.mlflow_access import StoreError, experiment_names, find_experiment, of_study, search_runs

RunCounter = Callable[[int, int], object]
"""A function that is called with the number of runs that are done, and of how many."""


@dataclass(frozen=True)
class Moved:
    """What was exported into an archive, or imported from one."""

    study: str
    num_runs: int
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class _Found:
    run_id: str
    status: str
    begun_at_ms: int


def export_study(client: MlflowClient, study: str, file: Path, *, replace: bool, count: RunCounter) -> Moved:
    """Write the study run and the replicate runs of a study into an archive.

    Raises:
        StudyError: There is no such study, it cannot be read, artifacts of its runs are missing, or the file cannot be written.
            No file is left then.
    """
    try:
        experiment_id = find_experiment(client, study)
        found, warnings = _index(client, experiment_id, study)
        if experiment_id is None or archived_run.STUDY_KEY not in found:
            raise _no_study(client, study)
        experiment = client.get_experiment(experiment_id)
        with zip_format.new_archive(file, replace=replace) as archive:
            num_runs = _write_runs(client, experiment_id, [entry.run_id for entry in found.values()], archive, count)
            manifest = {
                "content": zip_format.CONTENT,
                "format": zip_format.FORMAT,
                "study": study,
                "spikesweep": importlib.metadata.version("spikesweep"),
                "mlflow": importlib.metadata.version("mlflow"),
                "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "exported_from": mask_uri(client.tracking_uri),
                "experiment": {"id": experiment_id, "name": experiment.name, "tags": dict(experiment.tags)},
                "num_runs": num_runs,
                "num_files": archive.num_files,
            }
            archive.add_text(zip_format.MANIFEST, json.dumps(manifest, indent=2) + "\n")
            archive.add_sums()
    except (MlflowException, StoreError, sqlalchemy.exc.SQLAlchemyError) as error:
        rule, repair = "MLflow's store must give the study's runs and artifacts", "mend or start it, then export again"
        raise StudyError([store_problem(client.tracking_uri, rule, error, repair)]) from None
    return Moved(study, num_runs, warnings)


def _no_study(client: MlflowClient, study: str) -> StudyError:
    return not_recorded(
        "export", f"{study} in {mask_uri(client.tracking_uri)}, which has the experiments: {experiment_names(client)}"
    )


def _index(client: MlflowClient, experiment_id: str | None, study: str) -> tuple[dict[str, _Found], list[str]]:
    """The run that counts for every key, the study run first, then oldest first; and warnings of what else there is."""
    found: dict[str, _Found] = {}
    copies = set()
    for run in find_runs(client, experiment_id, study) if experiment_id else ():
        key = archived_run.key_of(run)
        if key in found:
            copies.add(key)
        entry = _Found(run.info.run_id, run.info.status, run.info.start_time or 0)
        found[key] = min(found.get(key, entry), entry, key=_newest if key == archived_run.STUDY_KEY else _counts_first)
    num_running = sum(entry.status not in archived_run.ENDED for entry in found.values())
    warnings = []
    if copies:
        warnings.append(
            f"of replicates with several runs in MLflow ({len(copies)}), the finished one that began first is exported"
        )
    if num_running:
        warnings.append(f"{num_running} of {len(found)} runs have not ended: export and import again when they have")
    order = sorted(found, key=lambda key: (key != archived_run.STUDY_KEY, found[key].begun_at_ms, key))
    return {key: found[key] for key in order}, warnings


def _newest(entry: _Found) -> int:
    return -entry.begun_at_ms


def _counts_first(entry: _Found) -> tuple[bool, int, str]:
    """The order in which the analysis chooses, too."""
    return entry.status != "FINISHED", entry.begun_at_ms, entry.run_id


def find_runs(client: MlflowClient, experiment_id: str, study: str) -> Iterator[Run]:
    """The study runs and the replicate runs of a study, newest first."""
    for run in search_runs(client, experiment_id, of_study(study)):
        kind = run.data.tags.get(run_record.KIND)
        if kind == run_record.KIND_STUDY or (kind == run_record.KIND_REPLICATE and run_record.IDENTITY in run.data.tags):
            yield run


def _write_runs(
    client: MlflowClient, experiment_id: str, run_ids: Sequence[str], archive: ArchiveWriter, count: RunCounter
) -> int:
    """Write the runs group by group, so that memory holds one group; returns how many runs were still there."""
    num_runs, lost = 0, list[str]()
    for number, first in enumerate(range(0, len(run_ids), zip_format.RUNS_A_FILE), 1):
        runs = read_runs(client, experiment_id, run_ids[first : first + zip_format.RUNS_A_FILE])
        histories = read_histories(client, {run.info.run_id: run.data.metrics for run in runs})
        lines = []
        for done, run in enumerate(runs, first + 1):
            files = _write_artifacts(client, run.info.artifact_uri, zip_format.artifacts_of(archived_run.key_of(run)), archive)
            models = _write_models(client, run, archive, lost)
            described = archived_run.describe(run, histories[run.info.run_id], models)
            lost += lost_files(described, files)
            lines.append(_without_passwords(described).as_dict())
            count(done, len(run_ids))
        archive.add_lines(f"runs/{number:05}.jsonl", lines)
        num_runs += len(lines)
    if lost:
        rule = "an export needs all artifacts of the study's runs"
        repair = "put them back where the storage has its folder artifacts, or delete the tag that names them in MLflow"
        raise lacking(rule, f"{mask_uri(client.tracking_uri)} lacks", lost, repair)
    return num_runs


def _without_passwords(described: ArchivedRun) -> ArchivedRun:
    """Descriptions that earlier versions wrote may hold what MLflow was reached with."""
    note = described.tags.get(DESCRIPTION)
    return replace(described, tags={**described.tags, DESCRIPTION: mask_credentials(note)}) if note else described


def read_runs(client: MlflowClient, experiment_id: str, run_ids: Sequence[str]) -> list[Run]:
    """The runs of an experiment with these ids, at most 1,000, in this order; runs that are gone are left out."""
    named = ", ".join(f"'{run_id}'" for run_id in run_ids)
    runs = client.search_runs([experiment_id], f"attributes.run_id IN ({named})", max_results=len(run_ids))
    by_id = {run.info.run_id: run for run in runs}
    return [by_id[run_id] for run_id in run_ids if run_id in by_id]


def _write_models(client: MlflowClient, run: Run, archive: ArchiveWriter, lost: list[str]) -> list[ArchivedModel]:
    models = []
    for number, (described, model) in enumerate(archived_run.models_of(client, run)):
        name = zip_format.model_of(archived_run.key_of(run), number)
        if not _write_artifacts(client, model.artifact_location, name, archive):
            lost.append(f"{run.info.run_name}: model {described.name}")
        models.append(described)
    return models


def _write_artifacts(client: MlflowClient, location: str, name: str, archive: ArchiveWriter) -> set[str]:
    """Write all artifacts at a location into a folder of the archive; their paths.

    Raises:
        StudyError: There is a link among them, which may lead to what is none of the study's.
    """
    folder = local_folder(present_location(client.tracking_uri, location))
    if link := next((path for path in folder.rglob("*") if path.is_symlink()), None) if folder else None:
        rule, repair = "artifacts must be files and folders", "put the file itself there, or delete the link"
        raise StudyError([Problem("artifacts", rule, f"{link}, which is a link", repair)])
    repository = artifacts_at(client, location)
    if not repository.list_artifacts():
        return set()
    with temporary_folder("export") as folder:
        return archive.add_folder(name, Path(repository.download_artifacts("", str(folder))))
