"""``spikesweep ui``: MLflow's UI on a study's store."""

import os
import shlex
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.options import (
    SetOption,
    StorageOption,
    TrackingOption,
    all_overrides,
    complete_study,
    err,
    out,
    problems_exit_2,
)
from studies.credentials import mask_uri
from studies.own_packages import safe_children

if TYPE_CHECKING:
    from studies.engine.definition.locations import Stores


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

    Exit codes: 0 the server was stopped; 2 there is no such store, or the port is taken.

    Example: spikesweep ui quickstart --port 5001
    """
    from studies.engine.definition.lookup import find_stores
    from studies.engine.recording.mlflow_store import settle_locations
    from studies.stores.mlflow_access import SERVERS

    with problems_exit_2():
        stores = find_stores(study, all_overrides(overrides, storage, tracking_uri))
        place = _place_of(stores)
    uri = stores.tracking_uri
    if place is None:
        err.print(f"{stores.name} has no runs in this store yet; the UI shows what it has", style="yellow", soft_wrap=True)
    if uri.startswith(SERVERS):
        server = mask_uri(uri)
        out.print(f"this study's tracking server has its own UI: {server}{place or ''}", highlight=False, soft_wrap=True)
        return
    with problems_exit_2():
        _check_port(host, port)
        settle_locations(stores, None)  # MLflow's pages look where the store says, which may be where the storage was
    out.print(f"MLflow UI: http://{host}:{port}{place or ''}", highlight=False, soft_wrap=True)
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # seven processes that nothing here needs
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri  # not an argument: it may hold a password, and ps shows arguments
    command = ["mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    # uvicorn puts a folder in front of its search path, which is the current one unless it is given; Python's own is harmless
    command += ["--uvicorn-opts", shlex.join(["--app-dir", str(Path(os.__file__).parent)])]
    with safe_children():
        os.execv(sys.executable, [sys.executable, "-m", *command])


def _check_port(host: str, port: int) -> None:
    """MLflow would say so after half a minute, in forty lines.

    Raises:
        StudyError: The port cannot be listened on.
    """
    from studies.engine.errors import Problem, StudyError

    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        rule, value = "--port must be free on --host", f"{host}:{port} ({error.strerror or error})"
        raise StudyError([Problem("--port", rule, value, "choose another, e.g. --port 5001, or stop what uses it")]) from None


def _place_of(stores: "Stores") -> str | None:
    """The address of a study's page within the UI, whose own first page is for language models; None where it has no runs yet.

    Raises:
        StudyError: There is no store: MLflow would make one, and show that it is empty.
    """
    from studies import run_record
    from studies.engine.errors import not_recorded
    from studies.stores.mlflow_access import StoreError, find_experiment, of_kind, open_store

    try:
        client = open_store(stores.tracking_uri)
    except StoreError as error:
        raise not_recorded("ui", f"{stores.name} in {mask_uri(stores.tracking_uri)} ({error})") from None
    experiment = find_experiment(client, stores.name)
    runs = client.search_runs([experiment], of_kind(run_record.KIND_STUDY, stores.name), max_results=1) if experiment else []
    return f"/#/experiments/{experiment}/runs/{runs[0].info.run_id}?workflowType=machine_learning" if runs else None
