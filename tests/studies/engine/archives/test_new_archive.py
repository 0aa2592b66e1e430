"""An archive that is being written: nothing of anybody else is touched, and nothing is left of a writer that dies."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from studies.engine.archives.zip_format import new_archive
from studies.engine.errors import StudyError

MINE = "an archive of mine, or a part of one"
WRITER = """
import os, sys, signal
from pathlib import Path
from studies.engine.archives.zip_format import new_archive
with new_archive(Path(sys.argv[1]), replace=False) as archive:
    archive.add_text("a", "a")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_files_beside_it_are_kept(tmp_path: Path) -> None:
    """Whatever their names; so is one that appears under the archive's name meanwhile, if it may not be replaced."""
    file, partial = tmp_path / "study.zip", tmp_path / "study.zip.partial"
    partial.write_text(MINE)
    with new_archive(file, replace=False) as archive:
        archive.add_text("a", "a")
    assert partial.read_text() == MINE
    assert sorted(tmp_path.iterdir()) == [file, partial]
    file.unlink()
    with pytest.raises(StudyError, match="FILE must not exist yet"), new_archive(file, replace=False):
        file.write_text(MINE)
    assert file.read_text() == MINE
    with pytest.raises(StudyError, match="--force replaces a zip file"), new_archive(file, replace=True):
        pass
    assert file.read_text() == MINE
    file.unlink()
    for _ in range(2):
        with new_archive(file, replace=True) as archive:
            archive.add_text("a", "a")
    assert file.read_bytes().startswith(b"PK")
    assert sorted(tmp_path.iterdir()) == [file, partial]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    """Neither a pipe, nor a folder, nor a link that leads nowhere, whatever --force says."""
    pipe, folder, link = tmp_path / "pipe.zip", tmp_path / "folder.zip", tmp_path / "link.zip"
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to(tmp_path / "nowhere")
    for there in (pipe, folder, link):
        for replace in (True, False):
            with pytest.raises(StudyError, match="FILE"), new_archive(there, replace=replace):
                pass
    assert sorted(tmp_path.iterdir()) == [folder, link, pipe]
    assert pipe.is_fifo()


def test_a_writer_that_was_killed(tmp_path: Path) -> None:
    """The next one removes what it left, and leaves alone what another is writing."""
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "study.zip")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".spikesweep-partial")
    others = tmp_path / f".other{left.suffix}"
    others.touch()
    with others.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with new_archive(tmp_path / "study.zip", replace=False):
            pass
    assert sorted(tmp_path.iterdir()) == [others, tmp_path / "study.zip"]
