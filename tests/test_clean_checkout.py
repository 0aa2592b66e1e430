"""What a study and its commands write lies in the study's storage; the folder that they are called from stays as it was."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from analysis.records.loading import load_recorded_study
from tests.conftest import PATIENCE_S, ROOT, SPIKESWEEP

SOURCES = ("search_spaces", "trainables", "studies", "analysis")


def files_in(folder: Path) -> set[str]:
    """All files in a folder and below, except the caches of Python and Numba."""
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if "__pycache__" not in file.parts and file.is_file()}


@pytest.mark.slow  # the suite by itself sees that it leaves the root clean, in conftest.py
def test_a_whole_study_leaves_the_checkout_as_it_was(tiny_study: Path, tmp_path: Path) -> None:
    """A study is run, reported, exported, imported elsewhere and compared with its copy, and a replicate is reproduced."""
    checkout, storage, elsewhere, archive = (tmp_path / name for name in ("checkout", "results", "elsewhere", "tiny.zip"))
    for package in SOURCES:
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    before = files_in(checkout)

    def spikesweep(*arguments: str | Path) -> None:
        command = [*SPIKESWEEP, *map(str, arguments)]
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        assert files_in(checkout) == before, f"spikesweep {arguments[0]} wrote into the folder that it was called from"

    assert "MLFLOW_TRACKING_URI" not in os.environ
    spikesweep("run", tiny_study, "--set", "seeds=1")
    spikesweep("report", tiny_study)
    spikesweep("export", tiny_study, archive)
    spikesweep("import", archive, "--storage", elsewhere)
    spikesweep("compare", tiny_study, "tiny", "--other-storage", elsewhere)
    (identity, *_) = [run.identity for run in load_recorded_study("tiny", f"sqlite:///{storage / 'mlflow.db'}").runs]
    spikesweep("reproduce", identity, "--storage", storage)
