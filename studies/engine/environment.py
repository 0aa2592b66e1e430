"""Where a study ran: package versions, git commit, hardware. And the settings of the libraries that we drive."""

import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

PACKAGES = ("spikesweep", "torch", "torchvision", "ray", "optuna", "mlflow", "numpy")

COMMIT_VARIABLE = "SPIKESWEEP_COMMIT"
"""Names the commit where code was shipped without its history."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry unless the user turns it on
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # we log to MLflow ourselves
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # all workers start at once; how many, is ours to say
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours lets an epoch end first
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's old output keeps quiet when told to; we show progress ourselves
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # its snapshots, which nobody restores, grow with the study
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean what they mean to the user
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what Ray 2.60 asks for, instead of a warning
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the default blocks a call for four minutes; our writer retries itself
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}


def settle_libraries() -> None:
    """Set what Ray and MLflow read from the environment, where the user has not; before they are imported."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


@cache
def versions() -> dict[str, str]:
    """Version by package, Python and platform among them."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@cache
def git_commit() -> str:
    """The commit of the code that runs, ``-dirty`` if tracked files differ from it; of a job, as it was submitted; empty outside
    a git checkout.
    """
    here = Path(__file__).parent
    try:
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)  # installed beside another repository's code
        commit = _git(here, "rev-parse", "HEAD")
        return f"{commit}-dirty" if _git(here, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return os.environ.get(COMMIT_VARIABLE, "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
