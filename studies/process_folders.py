"""Temporary folders that are removed when their process ends, and by the next process of ours if it was killed.

Each has a file that its process keeps locked as long as it lives: the system frees the lock, however the process ends. A folder
without such a file is not ours and is never touched. Standard library only.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "spikesweep-"
_OWNER, _CONTENT = "owner", "in"
_MARK = "a temporary folder of spikesweep, which removes it once this file is no longer locked\n"


@contextmanager
def temporary_folder(purpose: str, parent: str | None = None) -> Iterator[Path]:
    """A new, empty folder that only this user can reach, removed at the end; those of killed processes are removed first.

    Args:
        purpose: A word for its name.
        parent: The folder to make it in; the system's temporary folder (``TMPDIR``) unless given.

    Raises:
        OSError: No folder can be made there.
    """
    parent = parent or tempfile.gettempdir()
    remove_abandoned(Path(parent))
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-", dir=parent))
    try:
        with (folder / ".new").open("x") as owner:
            owner.write(_MARK)
            owner.flush()
            fcntl.flock(owner, fcntl.LOCK_EX)
            (folder / ".new").rename(folder / _OWNER)  # locked before anybody can see it
            (folder / _CONTENT).mkdir()
            yield folder / _CONTENT
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Remove the temporary folders in ``parent`` whose processes were killed; what cannot be removed stays."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    """Raises an OSError if it is in use or not ours."""
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return
    descriptor = os.open(folder / _OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "r+") as owner:
        if owner.read(len(_MARK) + 1) == _MARK:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
