"""``spikesweep import``: writes the runs of an archive into an MLflow store, except those that are there already."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException

from studies import run_record
from studies.credentials import mask_uri
from studies.engine.archives import archived_run, zip_format
from studies.engine.archives.archived_run import STUDY_KEY, STUDY_RUN_TAG, ArchivedRun
from studies.engine.archives.checked_runs import archived_runs, open_checked
from studies.engine.archives.differences import compare_runs
from studies.engine.archives.exporting import Moved, RunCounter, find_runs, read_runs
from studies.engine.archives.id_rewriting import IdRewriter
from studies.engine.archives.metric_histories import read_histories
from studies.engine.archives.writing import write_run
from studies.engine.archives.zip_format import Archive
from studies.engine.definition.locations import Stores
from studies.engine.definition.lookup import stores_named
from studies.engine.errors import Problem, StudyError, cut
from studies.engine.recording.mlflow_store import active_experiment, connect, make_experiment, settle_locations, store_problem
from studies.stores.artifact_locations import artifacts_at
from studies.stores.mlflow_access import StoreError, find_experiment, reason_of

FOUND_BY = (run_record.KIND, run_record.STUDY, run_record.IDENTITY, STUDY_RUN_TAG)
NUM_TOLD = 5
"""How many runs that contradict the archive are named; the others are counted."""


class InterruptedImportError(Exception):
    """The store stopped answering while runs were written; the message has its reason."""


def import_study(file: Path, overrides: Sequence[str], count: RunCounter) -> tuple[Moved, Stores]:
    """Write what a store lacks of an archive.

    The whole archive and every run that the store has are checked before anything is written. A run's status is written last: a
    run whose import was interrupted has not ended, and the next import completes it.

    Args:
        file: The archive.
        overrides: Changes of where the study is stored, as on the command line.
        count: Is called after each run.

    Returns:
        What was written, and where the study is stored.

    Raises:
        StudyError: The archive or the store is wrong, or a run there contradicts the archive; nothing was written.
        InterruptedImportError: The store failed while runs were written.
    """
    with open_checked(file) as archive:
        stores = stores_named(archive.study, overrides)
        client = connect(stores.tracking_uri)
        try:
            experiment = _experiment(client, archive, stores)
            there = _runs_there(client, experiment, archive.study)
            missing = _missing(client, archive, file, experiment, there)
        except (MlflowException, StoreError) as error:
            rule, repair = "the store's runs of this study must be readable", "mend it, or name another store"
            raise StudyError([store_problem(stores.tracking_uri, rule, error, repair)]) from None
        try:
            rewriter = _find_or_make_experiment(client, archive, stores, experiment)
            return _write_runs(client, archive, file, rewriter, there, missing, count), stores
        except (MlflowException, StoreError, OSError) as error:
            if isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE":
                rule, repair = (
                    "an archive's runs must be such as MLflow takes",
                    "export it again; what was written until then is there",
                )
                raise StudyError([store_problem(stores.tracking_uri, rule, error, repair)]) from None
            raise InterruptedImportError(reason_of(error, stores.tracking_uri)) from None


def _experiment(client: MlflowClient, archive: Archive, stores: Stores) -> Experiment | None:
    """The experiment that has the study, or else the one with the name of the archive's experiment; it takes artifacts."""
    found = find_experiment(client, archive.study, deleted=True)
    if found is None:
        settle_locations(stores, None)
    repair = "restore it there, or name another store"
    experiment = client.get_experiment(found) if found else active_experiment(client, archive.experiment.name, repair)
    if experiment:
        settle_locations(stores, experiment, is_known=bool(found))
        experiment = client.get_experiment(experiment.experiment_id)
    return experiment


def _find_or_make_experiment(client: MlflowClient, archive: Archive, stores: Stores, experiment: Experiment | None) -> IdRewriter:
    """The experiment gets the archive's tags, except those that it has already."""
    described = archive.experiment
    if experiment is None:
        experiment = client.get_experiment(make_experiment(client, described.name, stores))
    rewriter = IdRewriter(described.id, experiment.experiment_id, stores.tracking_uri)
    for name, value in rewriter.tags(described.tags, {}).items():
        if name not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, name, value)
    return rewriter


def _runs_there(client: MlflowClient, experiment: Experiment | None, study: str) -> dict[str, str]:
    """The ids of the store's runs by key: of replicate runs the oldest, as the driver chooses, of study runs the newest."""
    found: dict[str, str] = {}
    for run in find_runs(client, experiment.experiment_id, study) if experiment else ():
        key = archived_run.key_of(run)
        if key != STUDY_KEY or key not in found:
            found[key] = run.info.run_id
    return found


def _missing(
    client: MlflowClient, archive: Archive, file: Path, experiment: Experiment | None, there: dict[str, str]
) -> set[str]:
    """The keys of the runs that are to be written, wholly or in part.

    Raises:
        StudyError: Runs of the store contradict the archive.
    """
    missing, problems = set(), []
    for group in archived_runs(archive, file):
        stored = _stored(client, experiment, [there[run.key] for run in group if run.key in there])
        for run in group:
            if run.key not in stored:
                missing.add(run.key)
                continue
            comparison = compare_runs(run, stored[run.key][1])
            said = [*comparison.contradictions, *_lost_files(client, archive, run, stored[run.key][0])]
            if comparison.missing:
                missing.add(run.key)
            elif said:
                problems.append(_contradiction(client, run, stored[run.key][0], said))
    if problems:
        more = len(problems) - NUM_TOLD
        rest = [Problem("…", "a run that is there must be the archive's", f"{more} more runs", "as above")] if more > 0 else []
        raise StudyError([*problems[:NUM_TOLD], *rest])
    return missing


def _lost_files(client: MlflowClient, archive: Archive, run: ArchivedRun, there: Run) -> list[str]:
    """The artifacts and models that a replicate run which has ended lacks, or has in another size than the archive."""
    if run.key == STUDY_KEY or there.info.status not in archived_run.ENDED:
        return []
    files = archive.files(zip_format.artifacts_of(run.key))
    sizes = dict(archived_run.artifact_sizes(artifacts_at(client, there.info.artifact_uri))) if files else {}
    said = [f"artifact {path}" for path, size in files.items() if sizes.get(path) != size]
    num_models = len(there.outputs.model_outputs) if there.outputs else 0
    return [*said, *(["its models"] if num_models < len(run.models) else [])]


def _contradiction(client: MlflowClient, run: ArchivedRun, there: Run, said: Sequence[str]) -> Problem:
    rule = "a run that is there must be the archive's"
    value = f"run {there.info.run_id} in {mask_uri(client.tracking_uri)} differs in: {cut('; '.join(said))}"
    return Problem(run.name, rule, value, "rename or delete it in MLflow, or import into another store")


def _stored(client: MlflowClient, experiment: Experiment | None, run_ids: Sequence[str]) -> dict[str, tuple[Run, ArchivedRun]]:
    """Runs of the store by key, and beside each the form that it would have in an archive, without models."""
    if not experiment or not run_ids:
        return {}
    runs = read_runs(client, experiment.experiment_id, run_ids)
    histories = read_histories(client, {run.info.run_id: run.data.metrics for run in runs})
    return {archived_run.key_of(run): (run, archived_run.describe(run, histories[run.info.run_id], ())) for run in runs}


def _write_runs(
    client: MlflowClient,
    archive: Archive,
    file: Path,
    rewriter: IdRewriter,
    there: dict[str, str],
    missing: set[str],
    count: RunCounter,
) -> Moved:
    done = 0
    for group in archived_runs(archive, file):
        for archived in group:
            done += 1
            if archived.key in missing:
                _write_one(client, archive, rewriter, archived, there)
            if archived.key == STUDY_KEY:
                rewriter.run_ids[archived.run_id] = there[STUDY_KEY]
            count(done, archive.num_runs)
    return Moved(archive.study, len(missing))


def _write_one(
    client: MlflowClient, archive: Archive, rewriter: IdRewriter, archived: ArchivedRun, there: dict[str, str]
) -> None:
    """Write the tags by which a run is found first, and its status last."""
    if archived.key in there:
        run = client.get_run(there[archived.key])
        histories = read_histories(client, {run.info.run_id: run.data.metrics})
        stored = archived_run.describe(run, histories[run.info.run_id], ())
        lacking = compare_runs(archived, stored).missing
    else:
        tags = {name: archived.tags[name] for name in FOUND_BY if name in archived.tags}
        run = client.create_run(
            rewriter.new_experiment,
            start_time=archived.begun_at_ms,
            tags=rewriter.tags(tags, {}),
            run_name=archived.name,
        )
        there[archived.key] = run.info.run_id
        lacking = dataclasses.replace(archived, tags={name: text for name, text in archived.tags.items() if name not in tags})
    if lacking:
        tags = rewriter.tags(lacking.tags, {archived.run_id: run.info.run_id})
        write_run(client, archive, dataclasses.replace(lacking, tags=tags), run)
