"""A Ray of one's own on this machine, or the connection to a cluster, for as long as a study runs."""

import errno
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import ray

from studies.engine.errors import Problem, StudyError
from studies.engine.execution.ray_patches import loopback_options, without_current_folder
from studies.engine.execution.ray_session.ray_watch import RayWatch, last_error
from studies.own_packages import extra_search_path, safe_children
from studies.plain_text import first_line
from studies.process_folders import temporary_folder

SECONDS_TO_CONNECT = 10.0
OBJECT_STORE_BYTES = 200 * 2**20
"""Of a Ray on this machine. Workers read their data from files; Ray's objects are the reports of epochs."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # where Ray keeps its objects
LONGEST_FOLDER = 107 - len("/session_2026-01-31_12-00-00_000000_4194304/sockets/plasma_store")
"""Bytes of the path of Ray's folder: the system allows 107 for the sockets in it."""
SHORT_PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # a folder in it is ours alone

_QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}


@contextmanager
def ray_session(address: str | None, num_cpus: int | None) -> Iterator[RayWatch]:
    """A connection to Ray for one study: to a Ray of its own, on the loopback interface alone, or to the cluster at ``address``.

    Yields:
        What tells that Ray is lost. At the end a lost Ray is left alone, since its own end would wait for minutes.

    Raises:
        StudyError: There is no cluster at ``address``, or Ray cannot start on this machine.
    """
    with ExitStack() as stack:
        if address is None:
            watch = RayWatch(_start(num_cpus, stack))
        else:
            _connect(address)
            watch = RayWatch()
        try:
            yield watch
        finally:
            watch.close()
            if watch.trouble():
                watch.end_processes()
            else:
                watch.wake_stopped()
                ray.shutdown()


def _connect(address: str) -> None:
    try:
        _check_somebody_listens(address)
        job_config = {} if address.startswith("ray://") else {"job_config": without_current_folder(extra_search_path())}
        ray.init(address, **_QUIET, **job_config)
    except Exception as error:  # noqa: BLE001  # Ray has no class of its own for this
        rule = "--address must lead to a Ray cluster"
        repair = "start one with ray start --head, set RAY_AUTH_MODE=token if it asks for a token, or leave --address out"
        raise StudyError([Problem("--address", rule, f"{address} ({first_line(error)})", repair)]) from None


def _check_somebody_listens(address: str) -> None:
    """Raise an OSError at once if nobody listens at the address; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_CONNECT).close()


def _start(num_cpus: int | None, stack: ExitStack) -> Path:
    """Start a Ray on this machine; the folder that it keeps its files in."""
    options: dict[str, Any] = {**_QUIET, "num_cpus": num_cpus, "include_dashboard": False, **loopback_options()}
    folder = None
    try:
        folder = _folder_of_ray(stack)
        if not _has_shared_memory():
            options["_plasma_directory"] = str(folder)
        with safe_children():
            ray.init(
                "local",
                _temp_dir=str(folder),
                object_store_memory=OBJECT_STORE_BYTES,
                job_config=without_current_folder(extra_search_path()),
                **options,
            )
    except Exception as error:  # noqa: BLE001  # as above
        raise StudyError([_not_started(error, folder)]) from None
    return folder


def _folder_of_ray(stack: ExitStack) -> Path:
    """A new folder for the files of Ray; where its path is too long for sockets, the path of a link to it.

    Raises:
        OSError: There is no temporary folder that can be written to, or none whose path is short enough.
    """
    place = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    folder = stack.enter_context(temporary_folder("ray", place))
    if _fits(folder):
        return folder
    for short_place in SHORT_PLACES:
        with suppress(OSError):
            link = stack.enter_context(temporary_folder("ray", short_place)) / "r"
            link.symlink_to(folder)
            return link
    raise OSError(errno.ENAMETOOLONG, f"more than {LONGEST_FOLDER} bytes", str(folder))


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder)) <= LONGEST_FOLDER


def _has_shared_memory() -> bool:
    """Whether the system's shared memory has room for Ray's objects; containers often have little, or none."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free > OBJECT_STORE_BYTES and os.access(SHARED_MEMORY, os.W_OK)
    except OSError:
        return False


def _not_started(error: Exception, folder: Path | None) -> Problem:
    """Why Ray did not start on this machine, and what can be done about it."""
    place = folder or os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "the temporary folder"
    number = error.errno if isinstance(error, OSError) else None
    match number:
        case errno.ENOSPC | errno.EDQUOT:
            repair = f"free some space in {place}, or set TMPDIR to a folder that has some"
        case errno.EACCES | errno.EPERM | errno.EROFS | errno.ENOENT | errno.ENOTDIR:
            repair = "set TMPDIR to a folder that can be written to"
        case errno.ENAMETOOLONG:
            repair = f"set TMPDIR to a folder with a shorter path, or let {SHORT_PLACES[0]} be written to"
        case errno.EMFILE | errno.ENFILE:
            repair = "let this shell open more files: ulimit -n 4096"
        case errno.EAGAIN | errno.ENOMEM:
            repair = "let this shell start more processes (ulimit -u), or free some memory"
        case _:
            repair = "see that this machine has memory, disk space, open files (ulimit -n) and processes (ulimit -u) to spare"
    reasons = [first_line(error), *last_error(folder)]
    return Problem("ray", "Ray must start on this machine", "; ".join(reasons), repair)
