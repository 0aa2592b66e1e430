"""The MLflow store that a study is recorded in: opened, and its experiment found or made; what is wrong is a StudyError."""

import logging
import os
import shutil
import sqlite3
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment, ViewType

from studies.credentials import mask_uri
from studies.engine.definition.locations import Stores
from studies.engine.errors import Problem, StudyError
from studies.engine.recording.mlflow_ui_internals import EXPERIMENT_KIND
from studies.stores.artifact_locations import ARTIFACTS, check_location, local_folder
from studies.stores.mlflow_access import (
    SERVERS,
    StoreError,
    check_answers,
    check_file,
    find_experiment,
    open_store,
    reason_of,
)
from studies.stores.mlflow_internals import move_locations
from studies.stores.sqlite_files import is_new
from studies.stores.store_uris import sqlite_file, sqlite_uri
from trainables.data.temporary_folders import temporary_folder_beside

logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # what it refuses we say ourselves
logging.getLogger("alembic").setLevel(logging.ERROR)
logging.getLogger("urllib3").setLevel(logging.ERROR)  # our write queue tries again, and says so where it gives up


def connect(uri: str) -> MlflowClient:
    """A client of a tracking store that has answered; a SQLite file, and its folder, are made if they are not there.

    Raises:
        StudyError: It does not answer, or the file is no store of MLflow's.
    """
    check_store_file(uri)
    repair = "start it, or change tracking_uri (--tracking-uri, $MLFLOW_TRACKING_URI)"
    try:
        if file := sqlite_file(uri):
            repair = "name another file (--tracking-uri, $MLFLOW_TRACKING_URI), or make room for this one"
            if is_new(file):
                _make_file(file)
        check_answers(uri)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001  # every store has its own kinds of error
        if "mlflow db upgrade" in str(error):
            repair = f"copy the database, then: mlflow db upgrade '{mask_uri(uri)}'"
        raise StudyError([store_problem(uri, "the tracking server must answer", error, repair)]) from None
    return client


def check_store_file(uri: str) -> None:
    """See that a SQLite file may be written to: that it is new, or a store of MLflow's. Nothing is written.

    Raises:
        StudyError: It is another program's, or was not made to its end.
    """
    file = sqlite_file(uri)
    try:
        if file and not is_new(file):
            check_file(file)
    except (StoreError, OSError) as error:
        rule = "tracking_uri must be a server, or a file that does not exist yet, is empty, or is a store of MLflow's"
        repair = "name another file (--tracking-uri, $MLFLOW_TRACKING_URI); nothing was written to this one"
        raise StudyError([store_problem(uri, rule, error, repair)]) from None


def _make_file(file: Path) -> None:
    """Make a SQLite store beside its place, because MLflow takes seconds, and one that is killed must leave no half of it."""
    with temporary_folder_beside(file) as folder:
        beside, whole = folder / "being-made.db", folder / "whole.db"
        MlflowClient(sqlite_uri(beside)).search_experiments(max_results=1)
        shutil.copyfile(beside, whole)  # MLflow keeps the first one open
        with whole.open("rb") as content:
            os.fsync(content.fileno())
        if file.exists() and not file.stat().st_size:
            whole.replace(file)
            return
        try:
            os.link(whole, file)
        except FileExistsError:  # another command has made one in the meantime
            return
        except OSError:  # a file system without links
            whole.replace(file)


def connect_to_existing(uri: str) -> MlflowClient:
    """A client of a tracking store that is only read: nothing is made.

    Raises:
        StudyError: The store is not there, or does not answer.
    """
    try:
        return open_store(uri)
    except StoreError as error:
        rule = "the tracking store must be there, and must answer"
        repair = "name it with --tracking-uri, or its folder with --storage"
        raise StudyError([store_problem(uri, rule, error, repair)]) from None


def store_problem(uri: str, rule: str, error: Exception, repair: str) -> Problem:
    """What a store's error says, as a problem of ``tracking_uri``, without passwords."""
    return Problem("tracking_uri", rule, f"{mask_uri(uri)} ({reason_of(error, uri)})", repair)


def active_experiment(client: MlflowClient, name: str, repair: str) -> Experiment | None:
    """The experiment of a name; None if there is none.

    Raises:
        StudyError: It has been deleted in MLflow.
    """
    experiment: Experiment | None = client.get_experiment_by_name(name)
    if experiment and experiment.lifecycle_stage != "active":
        rule = "the study's experiment must not be deleted in MLflow"
        raise StudyError([Problem("experiment", rule, name, repair)])
    return experiment


def find_or_make_experiment(client: MlflowClient, stores: Stores) -> str:
    """The id of the experiment for a study's runs, which keeps their artifacts in the study's storage or on its server.

    It is the one that has the study's runs, whatever its name is now; else the one of the name that the study file gives.

    Raises:
        StudyError: It has been deleted in MLflow, or keeps its artifacts where this study may not write.
    """
    found = find_experiment(client, stores.name, deleted=True)
    repair = "restore it there, or give the study another name (name: or experiment:)"
    experiment = client.get_experiment(found) if found else active_experiment(client, stores.experiment, repair)
    if experiment is None:
        return make_experiment(client, stores.experiment, stores)
    if not found:
        settle_locations(stores, None)
        experiment = client.get_experiment(experiment.experiment_id)
    # an experiment without a run is ours as well: a driver may have died after it had made it
    is_known = bool(found) or not client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=1)
    settle_locations(stores, experiment, is_known=is_known)
    experiment_id: str = experiment.experiment_id
    return experiment_id


def make_experiment(client: MlflowClient, name: str, stores: Stores) -> str:
    """Make an experiment whose artifacts lie in the study's storage, unless a server chooses their place; its id."""
    artifacts = None if stores.tracking_uri.startswith(SERVERS) else (stores.storage / ARTIFACTS).as_uri()
    experiment_id: str = client.create_experiment(name, artifact_location=artifacts, tags=EXPERIMENT_KIND)
    return experiment_id


def settle_locations(stores: Stores, experiment: Experiment | None, *, is_known: bool = True) -> None:
    """See to it that the artifacts of a study's experiment are written into its storage, also where that was moved or copied.

    A store in a file records where artifacts lie. What it records of another place is changed before anything is written, so
    that the storage that this one is a copy of stays as it is. Other experiments of the same storage are settled too.

    Args:
        stores: Of the study.
        experiment: Its experiment; None to settle those alone whose artifacts are in the storage already.
        is_known: Whether the experiment has runs of the study.

    Raises:
        StudyError: The artifacts lie in another storage, on another server, or in an object store.
    """
    file = sqlite_file(stores.tracking_uri)
    if file is None:
        if experiment:
            _check_on_server(stores, experiment)
        return
    root = stores.storage / ARTIFACTS
    if experiment:
        _check_may_move(stores, experiment, file, root, is_known=is_known)
    is_beside = stores.has_own_tracking_file
    try:
        move_locations(
            file,
            root.as_uri(),
            own=experiment.experiment_id if experiment else None,
            is_here=lambda rest: is_beside and (root / rest).is_dir(),
            store_beside=lambda artifacts: sqlite_uri((local_folder(artifacts) or root).parent / file.name),
        )
    except sqlite3.Error as error:
        rule, repair = "MLflow must record that the artifacts lie in the storage", "see that its file can be written"
        raise StudyError([store_problem(stores.tracking_uri, rule, error, repair)]) from None


def _check_on_server(stores: Stores, experiment: Experiment) -> None:
    try:
        check_location(stores.tracking_uri, experiment.artifact_location)
    except StoreError as error:
        rule, repair = "an experiment must keep its artifacts where its own server says", "name another experiment: …"
        raise StudyError([Problem("experiment", rule, f"{experiment.name}: {error}", repair)]) from None


def _check_may_move(stores: Stores, experiment: Experiment, file: Path, root: Path, *, is_known: bool) -> None:
    """The artifacts may be recorded in another place if the storage was moved from there, or is a copy of what is there."""
    old = local_folder(experiment.artifact_location)
    if old is None:
        rule, repair = "a store in a file must keep artifacts in the study's storage", "name another experiment: …"
        raise StudyError([Problem("experiment", rule, f"{experiment.name}, {mask_uri(experiment.artifact_location)}", repair)])
    if old == root or (root.is_dir() and old.is_dir() and old.samefile(root)):
        return
    is_copy = stores.has_own_tracking_file and (old.parent / file.name).is_file()
    if not is_known or (old.is_dir() and not is_copy):
        rule = "the experiment must keep its artifacts in the study's storage"
        value = f"{experiment.name} in {file} keeps them in {old}, and the storage is {stores.storage}"
        repair = f"go on in that storage (--storage '{old.parent}'), or give the study another experiment: …"
        raise StudyError([Problem("storage", rule, value, repair)])
