"""Where the artifacts of runs lie. MLflow records the place when a run is made; a storage may have been moved or copied since.

A store in a file keeps its artifacts in folders, and one on a server where that server says. Nothing else that a store says is
followed: it may come from somebody else, and MLflow would send the user's login to any server that it names.
"""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from studies.credentials import mask_uri
from studies.stores.mlflow_access import SERVERS, StoreError
from studies.stores.store_uris import sqlite_file

ARTIFACTS = "artifacts"
"""The folder of a storage that has the artifacts of its runs."""
_OF_ONE = re.compile(r"(?P<root>.*)/(?P<rest>[0-9a-f]{32}/artifacts|models/m-[0-9a-f]{32}/artifacts)/?", re.DOTALL)
"""The folder of one run, or of one logged model."""
_WITH_LOGIN = ("http", "https", "mlflow-artifacts", "ftp", "sftp")
"""Schemes of servers to which a login is sent."""


def artifacts_at(client: MlflowClient, recorded: str) -> ArtifactRepository:
    """The artifacts of one run or of one logged model, by the location that the store has recorded.

    MLflow's client would list those of a run's models with the run's own, and would look for them where they once were.

    Raises:
        StoreError: The location is not one that this store may name.
    """
    return get_artifact_repository(present_location(client.tracking_uri, recorded), tracking_uri=client.tracking_uri)


def present_location(tracking_uri: str, recorded: str) -> str:
    """Where the artifacts of a run, or of a logged model, lie now; nothing is written.

    Those of a store in a file are looked for beside the file first. If they are not there, they are where they were recorded,
    unless that is another storage, of which this store is a copy.

    Raises:
        StoreError: The location is not one that this store may name.
    """
    file = sqlite_file(tracking_uri)
    if file is None:
        check_location(tracking_uri, recorded)
        return recorded
    folder = local_folder(recorded)
    parts = _OF_ONE.fullmatch(str(folder)) if folder else None
    if not parts:
        raise StoreError(f"a store in a file must keep artifacts in folders of its runs, and not in {mask_uri(recorded)}")
    ours = file.absolute().parent / ARTIFACTS
    is_copy = ours.is_dir() and (Path(parts["root"]).parent / file.name).is_file()
    here = ours / parts["rest"]
    return here.as_uri() if here.is_dir() or is_copy else recorded


def check_location(tracking_uri: str, location: str) -> None:
    """See whether a server may name this location of artifacts: on itself, in an object store, or in a folder.

    Raises:
        StoreError: It is on another server.
    """
    place = urlsplit(location)
    if place.scheme in _WITH_LOGIN and place.netloc:
        server = urlsplit(tracking_uri)
        if not tracking_uri.startswith(SERVERS) or place.netloc.rpartition("@")[2] != server.netloc.rpartition("@")[2]:
            raise StoreError(f"its artifacts are on another server ({mask_uri(location)}), to which no login is sent")


def local_folder(location: str) -> Path | None:
    """The folder that a location names; None if it is a location of another kind."""
    if location.startswith("file:"):
        place = urlsplit(location)
        return Path(unquote(place.path)) if place.netloc in ("", "localhost") else None
    return None if re.match(r"[A-Za-z][\w+.-]*:", location) else Path(unquote(location))
