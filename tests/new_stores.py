"""New MLflow stores, which are copies of one: to make its tables takes MLflow more than a second."""

import tempfile
from functools import cache
from pathlib import Path

from mlflow import MlflowClient

from studies.engine.definition.study import Study
from studies.engine.recording.mlflow_store import connect
from studies.stores.store_uris import sqlite_file


@cache
def _content() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mlflow.db")
        connect(f"sqlite:///{file}")
        return file.read_bytes()


def new_store(file: Path) -> Path:
    """Put an empty store there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_content())
    return file


def new_client(folder: Path) -> MlflowClient:
    """A client of an empty store, the file ``mlflow.db`` in this folder."""
    return MlflowClient(f"sqlite:///{new_store(folder / 'mlflow.db')}")


def store_of(study: Study) -> MlflowClient:
    """A client of a study's store, as its driver has it; where there is no store yet, there is a new one."""
    file = sqlite_file(study.stores.tracking_uri)
    if file and not file.exists():
        new_store(file)
    return connect(study.stores.tracking_uri)
