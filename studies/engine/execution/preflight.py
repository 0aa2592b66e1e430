"""Checks before a study runs: its file is read and validated, and its stores must be usable."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import ArgumentError

from studies.credentials import mask_uri
from studies.engine.definition.loading import load_study
from studies.engine.definition.locations import Stores
from studies.engine.definition.lookup import find_stores
from studies.engine.definition.study import Study
from studies.engine.errors import Problem, StudyError
from studies.engine.ledger.storage import check_ledger, file_of
from studies.engine.recording.mlflow_store import check_store_file, connect
from studies.stores.store_uris import sqlite_file
from trainables.training.files import files_at, without_keys


def open_study(study: str, overrides: Sequence[str]) -> Study:
    """Load a study and check its stores.

    Args:
        study: Its file or its name.
        overrides: Changes to the file, ``key=value``.

    Raises:
        StudyError: The file is wrong, or a store cannot be used; all problems of both at once.
    """
    problems: list[Problem] = []
    loaded = None
    try:
        loaded = load_study(study, overrides)
    except StudyError as error:
        problems += error.problems
    try:
        check_stores(loaded.stores if loaded else find_stores(study, overrides))
    except StudyError as error:
        known = {(problem.rule, problem.value) for problem in problems}  # the file's own have their line
        problems += [problem for problem in error.problems if (problem.rule, problem.value) not in known]
    if problems or loaded is None:
        raise StudyError(problems)
    return loaded


def check_stores(stores: Stores) -> None:
    """Check that servers and databases answer and that folders can be written to; nothing is created.

    Raises:
        StudyError: Some store cannot be used; all problems at once.
    """
    problems: list[Problem] = []
    folders = {"storage": stores.storage}
    for key, store in (("ledger", stores.ledger), ("tracking_uri", stores.tracking_uri)):
        if file := file_of(store):
            folders[key] = file.parent
    for key, folder in folders.items():
        try:
            with tempfile.TemporaryFile(dir=_nearest_existing(folder)) as probe:
                probe.write(b"there is room")  # on a full disk a file can often still be created
        except OSError as error:
            rule, repair = f"{key} must be in a folder that can be written", f"choose another with {key}: …"
            problems.append(Problem(key, rule, f"{folder} ({error.strerror})", repair))
    checks: list[Callable[[], object]] = [
        lambda: check_ledger(stores.ledger),
        lambda: _check_checkpoints(stores),
        lambda: _check_two_places(stores),
        lambda: (check_store_file if sqlite_file(stores.tracking_uri) else connect)(stores.tracking_uri),
    ]
    for check in checks:
        try:
            check()
        except StudyError as error:
            problems += error.problems
    if problems:
        raise StudyError(problems)


def _check_two_places(stores: Stores) -> None:
    """The ledger and MLflow's store, which may both be new, must be different files or databases."""
    if _place_of(stores.ledger) == _place_of(stores.tracking_uri):
        rule, repair = "ledger and tracking_uri must be different files or databases", "leave ledger out, or name another"
        raise StudyError([Problem("ledger", rule, mask_uri(stores.ledger), repair)])


def _place_of(store: str) -> object:
    """A file, or a database of a server whatever the login."""
    if file := file_of(store):
        return file.absolute()
    try:
        url = sqlalchemy.make_url(store)
    except (ArgumentError, ValueError):  # which is told when it is opened
        return store
    return url.get_backend_name(), url.host, url.port, url.database


def _check_checkpoints(stores: Stores) -> None:
    """An object store must answer; a folder has been checked already."""
    try:
        if not isinstance(stores.checkpoints, Path):
            files_at(stores.checkpoints).read("nothing")
    except (OSError, ValueError) as error:
        rule, repair = "storage must be a folder, or the URI of an object store that answers", "check the URI and your keys"
        raise StudyError([Problem("storage", rule, f"{without_keys(stores.checkpoints)} ({error})", repair)]) from None


def _nearest_existing(folder: Path) -> Path:
    return folder if folder.exists() else _nearest_existing(folder.parent)
