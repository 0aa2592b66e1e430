"""Folders in which something is made beside its place, to be moved there in one step when it is whole."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_END = ".spikesweep-tmp"
LEFT_AFTER_S = 3600
"""After this many seconds without a new file, whoever used a folder has been killed."""


@contextmanager
def temporary_folder_beside(place: Path) -> Iterator[Path]:
    """A folder on the file system of ``place``, whose own folder is made; it is removed at the end, unless it was moved away.

    What earlier processes have left there, because they were killed, is removed too.

    Raises:
        OSError: No folder can be made there.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(f".*{_END}"):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - LEFT_AFTER_S:
                shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=f".{place.name[:100]}-", suffix=_END, dir=place.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
