"""Where a study is stored: places that cannot be are refused in a sentence, before anything is written."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from studies.engine.definition.file_model import StudyFile
from studies.engine.definition.locations import stores_of
from studies.engine.errors import StudyError

LONG = "x" * 300


def _problem(file: Path, **places: Any) -> str:
    content = StudyFile.model_construct(question="q", trainable="response_surface", **places)
    with pytest.raises(StudyError) as caught:
        stores_of(content, file)
    return str(caught.value)


@pytest.mark.parametrize("key", ["storage", "ledger"])
@pytest.mark.parametrize("place", [LONG, "~nobody-of-this-name/a", "loop", "a\0b"])
def test_paths_that_cannot_be(key: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too long a name, a user whom nobody knows, links in a circle, a null byte."""
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    assert f"{key} must be a path" in _problem(tmp_path / "study.yaml", **{key: place})


def test_a_file_uri_with_a_host(tmp_path: Path) -> None:
    """It would be a folder with the host's name in the current one."""
    assert "must name no host" in _problem(tmp_path / "study.yaml", storage="file://host/folder")


@pytest.mark.parametrize("key", ["ledger", "tracking_uri"])
@pytest.mark.parametrize(
    "uri",
    ["sqlite://", "sqlite:///:memory:", "sqlite+pysqlite://", "sqlite:///file:mine.db?uri=true", "sqlite:///file:a?mode=memory"],
)
def test_databases_that_are_no_file(key: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in memory would be lost with the driver; of a file within a URI of its own, nobody would see that it is a user's."""
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("mine.db") as database:
        database.execute("CREATE TABLE mine (a)")
    before = Path("mine.db").read_bytes()
    assert f"{key} must be kept" in _problem(tmp_path / "study.yaml", **{key: uri})
    assert Path("mine.db").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"mine.db"}
