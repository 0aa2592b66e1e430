"""The stores of a finished study, made once: MLflow takes seconds to make one."""

import shutil
from pathlib import Path

import pytest

from tests.studies.engine.recording.finished_study import record, study_at


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study in the folder ``results``; its runs are recorded there."""
    storage = tmp_path_factory.mktemp("template") / "results"
    storage.mkdir()
    record(study_at(storage))
    return storage


@pytest.fixture
def original(template: Path, tmp_path: Path) -> Path:
    """The same, once for each test, in its own place."""
    storage = tmp_path / "original"
    shutil.copytree(template, storage)
    record(study_at(storage))
    return storage
