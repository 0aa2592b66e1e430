"""Settings of Ray, MLflow and other libraries, which they read from the environment when they are imported.

Importing this module sets them, where the user has not; entry points therefore import it before everything else but the
standard library. Standard library only.
"""

import os

_DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry unless the user turns it on
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # we log to MLflow ourselves
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # Tune starts every trial that we give it; our controller limits their number
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours lets an epoch end first
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's old output can be turned off; we show progress ourselves
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # its snapshots grow with the study, and we never restore one
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # workers keep the working directory, so that relative paths stay valid
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",  # after which Ray ends the driver without a word; ours ends in order before
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what Ray 2.60 asks for; without it Ray prints a warning
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the default blocks a call for four minutes; our write queue retries itself
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}


def set_library_defaults() -> None:
    """Set these environment variables, except those that the user has set."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


set_library_defaults()
