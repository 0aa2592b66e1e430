"""Temporary folders go with their process, or with the next one; what is not shown to be ours stays."""

import subprocess
import sys
from pathlib import Path

import pytest

from studies.process_folders import remove_abandoned, temporary_folder

HOLD = """
import sys, time
from studies.process_folders import temporary_folder

with temporary_folder("test", sys.argv[1]) as folder:
    (folder / "a").mkdir()
    (folder / "a" / "file").write_text("something")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_a_folder_goes_at_the_end(tmp_path: Path) -> None:
    """With all that is in it; only its user can read it."""
    with temporary_folder("test", str(tmp_path)) as folder:
        assert not list(folder.iterdir())
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("something")
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_killed_process_goes_with_the_next(tmp_path: Path) -> None:
    """Not before it is dead, and nothing else goes."""
    user_own = tmp_path / "spikesweep-results"
    user_own.mkdir()
    (user_own / "file").write_text("mine")
    (tmp_path / "spikesweep-link").symlink_to(user_own)
    other = tmp_path / "spikesweep-other"
    other.mkdir()
    (other / "owner").write_text("somebody else")
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    folder = Path(process.stdout.readline().strip())
    remove_abandoned(tmp_path)
    assert (folder / "a" / "file").exists()
    process.kill()
    process.communicate()
    assert folder.exists()
    with temporary_folder("test", str(tmp_path)):
        assert not folder.parent.exists()
    assert {file.name for file in tmp_path.iterdir()} == {"spikesweep-results", "spikesweep-link", "spikesweep-other"}
    assert (user_own / "file").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """As the system tells it."""
    with pytest.raises(OSError, match="no such folder"), temporary_folder("test", str(tmp_path / "no such folder")):
        pass
