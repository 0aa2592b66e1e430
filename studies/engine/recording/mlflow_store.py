"""The MLflow store that a study is recorded in: opened, and its experiment found or made; what is wrong is a StudyError."""

import logging
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment

from studies.credentials import mask_credentials
from studies.engine.definition.locations import Stores
from studies.engine.errors import Problem, StudyError
from studies.engine.recording.mlflow_ui_internals import EXPERIMENT_KIND
from studies.mlflow_access import SQLITE, StoreError, check_answers, open_store, reason_of

logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # what it refuses we say ourselves
logging.getLogger("alembic").setLevel(logging.ERROR)
logging.getLogger("urllib3").setLevel(logging.ERROR)  # our write queue tries again, and says so where it gives up


def connect(uri: str) -> MlflowClient:
    """A client of a tracking store that has answered; a SQLite file, and its folder, are made if they are not there.

    Raises:
        StudyError: It does not answer.
    """
    try:
        if uri.startswith(SQLITE):
            Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        check_answers(uri)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001  # every store has its own kinds of error
        rule = "the tracking server must answer"
        repair = "start it, or change tracking_uri (--tracking-uri, $MLFLOW_TRACKING_URI)"
        raise StudyError([store_problem(uri, rule, error, repair)]) from None
    return client


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
    return Problem("tracking_uri", rule, f"{mask_credentials(uri)} ({reason_of(error, uri)})", repair)


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


def make_experiment(client: MlflowClient, name: str, stores: Stores) -> str:
    """Make an experiment whose artifacts lie in the study's storage, unless a server chooses their place; its id."""
    artifacts = stores.storage / "artifacts" if stores.tracking_uri.startswith(SQLITE) else None
    experiment_id: str = client.create_experiment(
        name, artifact_location=artifacts.as_uri() if artifacts else None, tags=EXPERIMENT_KIND
    )
    return experiment_id
