"""Compiles the kernels at their first use, and keeps what was compiled for other processes and later runs.

The cache is ``spikesweep/kernels-DIGEST`` under ``$XDG_CACHE_HOME`` (else ``~/.cache``). DIGEST is that of all files in this
folder, where every function that Numba compiles must lie: Numba itself looks only at the file that a kernel is defined in, not at
those of the functions that it calls. What nobody has used for a month is deleted. Where nothing can be written, every process
compiles for itself.
"""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from numba import config, njit

SOURCES = Path(__file__).parent
OURS = re.compile(r"kernels-[0-9a-f]{16}")
"""The folders of compiled kernels, of this and of earlier versions."""
KEPT_SECONDS = 30 * 24 * 3600
"""After how long kernels that nobody has used are deleted, such as those of earlier versions."""


@cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept; None if nothing can be written there."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.glob("*.py")):
        digest.update(source.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "spikesweep" / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


def inlined(function: Callable[..., Any]) -> Any:
    """A function that is compiled into every kernel that calls it."""
    return kernel(function, forceinline=True)


def kernel(function: Callable[..., Any], **options: Any) -> Any:
    """A function that Numba compiles at its first call; it runs without Python's lock."""
    folder = cache_folder()
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder or "")  # read where a function is decorated, and nowhere else
    try:
        return njit(nogil=True, cache=folder is not None, error_model="numpy", **options)(function)
    finally:
        config.CACHE_DIR = before


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep other processes of the machine from compiling kernels at the same time: they would do the same work."""
    folder = cache_folder()
    if folder is None:
        yield
        return
    with (folder / "lock").open("ab") as lock:
        os.utime(lock.fileno())  # which tells the time of its last use, too
        fcntl.flock(lock, fcntl.LOCK_EX)
        _forget_those_before(time.time() - KEPT_SECONDS, folder.parent)
        yield


def _forget_those_before(then_s: float, home: Path) -> None:
    """Delete what other versions have compiled, if nobody has used it since."""
    for lock in home.glob("kernels-*/lock"):
        if OURS.fullmatch(lock.parent.name) and lock.stat().st_mtime < then_s:
            shutil.rmtree(lock.parent, ignore_errors=True)
