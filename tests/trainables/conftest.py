"""What tests of checkpoints share: a folder, and a prefix of a real S3 server over HTTP."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from trainables.training.storage import Location

BUCKET = "bucket"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 server on this machine, with an empty bucket called ``bucket``."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"http://{endpoint}/{BUCKET}", method="PUT")).close()
    yield endpoint
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """Where folders of replicates may lie: once a path, once a URI with keys."""
    if request.param == "folder":
        return tmp_path / "store"
    return s3_uri(request.getfixturevalue("s3_endpoint"))


def s3_uri(endpoint: str) -> str:
    """A prefix that nobody else has."""
    return f"s3://somebody:pass%2Fword@{BUCKET}/{uuid4().hex}?region=us-east-1&endpoint_override=http%3A%2F%2F{endpoint}"
