"""Folders in which something is made beside its place: gone at the end, also those of processes that were killed."""

import os
import time
from pathlib import Path

import pytest

from trainables.data.temporary_folders import LEFT_AFTER_S, temporary_folder_beside


def test_nothing_is_left(tmp_path: Path) -> None:
    """Neither after an error nor of a process that was killed long ago; what is in use, or anybody else's, is kept."""
    place, theirs = tmp_path / "new" / "whole.db", tmp_path / "new" / ".notes.tmp"
    with temporary_folder_beside(place) as of_killed:
        (of_killed / "half").touch()
        left = of_killed.rename(of_killed.with_name(f"{of_killed.name}".replace("whole", "other")))
    theirs.mkdir()
    for folder in (left, theirs):
        os.utime(folder, (time.time() - LEFT_AFTER_S - 60,) * 2)
    with temporary_folder_beside(place) as in_use:
        with pytest.raises(KeyboardInterrupt):
            begin_and_fail(place)
        assert sorted(place.parent.iterdir()) == sorted([in_use, theirs])
    assert list(place.parent.iterdir()) == [theirs]


def begin_and_fail(place: Path) -> None:
    with temporary_folder_beside(place) as folder:
        (folder / "half").touch()
        raise KeyboardInterrupt


def test_what_is_whole_is_moved(tmp_path: Path) -> None:
    """A folder may become what it was made for."""
    with temporary_folder_beside(tmp_path / "prepared") as folder:
        (folder / "data").touch()
        folder.rename(tmp_path / "prepared")
    assert [file.name for file in tmp_path.rglob("*")] == ["prepared", "data"]
