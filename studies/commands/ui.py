"""``spikesweep ui``: MLflow's UI on a study's store."""

import os
import sys
from typing import Annotated

import typer

from studies.commands.options import (
    SetOption,
    StorageOption,
    TrackingOption,
    all_overrides,
    complete_study,
    out,
    problems_exit_2,
)
from studies.credentials import mask_credentials


def ui(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help="The study to show: a file, or a shipped study.", autocompletion=complete_study),
    ] = "quickstart",
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    host: Annotated[str, typer.Option(metavar="HOST", help="Network interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="Port to listen on.")] = 5000,
) -> None:
    """Start MLflow's web UI on a study's store.

    Prints the address of the study's page, and serves it until Ctrl-C. Where a study is recorded on a tracking server, which
    has its own UI, only the address is printed.

    Example: spikesweep ui quickstart --port 5001
    """
    from studies.engine.definition.lookup import find_stores

    with problems_exit_2():
        stores = find_stores(study, all_overrides(overrides, storage, tracking_uri))
    uri = stores.tracking_uri
    if uri.startswith(("http://", "https://")):
        server = mask_credentials(uri)
        out.print(
            f"this study's tracking server has its own UI: {server}{_place_of(stores.name, uri)}", highlight=False, soft_wrap=True
        )
        return
    out.print(f"MLflow UI: http://{host}:{port}{_place_of(stores.name, uri)}", highlight=False, soft_wrap=True)
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # seven processes that nothing here needs
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri  # not an argument: it may hold a password, and ps shows arguments
    command = ["mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", *command])


def _place_of(study: str, uri: str) -> str:
    """The address of a study's page within the UI; nothing where the store has no such study yet.

    MLflow's own first page is for language models.
    """
    from studies import run_record
    from studies.mlflow_access import StoreError, find_experiment, of_kind, open_store

    try:
        client = open_store(uri)
    except StoreError:
        return ""
    experiment = find_experiment(client, study)
    runs = client.search_runs([experiment], of_kind(run_record.KIND_STUDY, study), max_results=1) if experiment else []
    return f"/#/experiments/{experiment}/runs/{runs[0].info.run_id}?workflowType=machine_learning" if runs else ""
