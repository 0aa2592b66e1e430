"""Every module in the trainables folder keeps the contract, and imports no orchestration."""

import subprocess
import sys

import pytest

from studies.engine.binding.trainable_modules import trainable_names
from tests.trainables.contract import TINY, TrainableContract


@pytest.mark.parametrize("name", trainable_names())
class TestTrainables(TrainableContract):
    """All of them, found in the folder."""


def test_every_entry_is_a_trainable() -> None:
    """The contract has an entry for every module in the folder, and no other."""
    assert sorted(TINY) == trainable_names()


def test_trainables_import_no_orchestration() -> None:
    """A machine that trains needs neither Ray nor Optuna nor MLflow, nor the packages that use them."""
    imports = "; ".join(f"import trainables.{name}" for name in trainable_names())
    code = (
        f"import sys; {imports}; print({{'ray', 'optuna', 'mlflow', 'studies', 'analysis', 'search_spaces'}} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
