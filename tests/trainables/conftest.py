"""What tests of checkpoints share: a folder, and a prefix of a real S3 server over HTTP."""

from pathlib import Path

import pytest

from tests.conftest import s3_uri
from trainables.training.files import Location


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """Where folders of replicates may lie: once a path, once a URI with keys."""
    if request.param == "folder":
        return tmp_path / "store"
    return s3_uri(request.getfixturevalue("s3_endpoint"))
