"""An MLflow store to copy: to make its tables takes seconds."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

MakeStore = Callable[[Path], MlflowClient]


@pytest.fixture(scope="session")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> MakeStore:
    """Puts an empty store into a folder, as mlflow.db; its client."""
    empty = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{empty}").search_experiments()

    def copy(folder: Path) -> MlflowClient:
        folder.mkdir(parents=True, exist_ok=True)
        return MlflowClient(f"sqlite:///{shutil.copy(empty, folder)}")

    return copy
