"""Finds a study's file, and says where the study keeps its results; loads no trainable, so that this is quick."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import search_spaces
import studies
from studies.credentials import mask_uri
from studies.engine.definition.file_model import NAME_PATTERN, StudyFile
from studies.engine.errors import Problem, StudyError, closest, cut, shown
from studies.stores.store_uris import is_unusable_sqlite, sqlite_file, sqlite_uri
from trainables.training.files import FILE, Location, inside

DEFAULT_STORAGE = "results"
CHECKPOINTS = "checkpoints"
LEDGERS = "ledgers"
"""The folder of ledgers in a storage: one journal file for each study."""


@dataclass(frozen=True, kw_only=True)
class Stores:
    """The locations of a study's results: checkpoints, ledger and MLflow store."""

    name: str
    storage: Path
    """The folder of everything for which the study file names no other place."""
    checkpoints: Location
    ledger: str
    """The ledger: the path of a journal file, or the URL of a database."""
    tracking_uri: str
    experiment: str
    """The name of the MLflow experiment."""

    @property
    def has_own_tracking_file(self) -> bool:
        """Whether MLflow's store is a file in the storage itself, which is moved and copied with it."""
        file = sqlite_file(self.tracking_uri)
        return file is not None and file.absolute().parent.resolve() == self.storage


def shipped_studies() -> dict[str, Path]:
    """The studies that spikesweep ships, by name."""
    return {file.stem: file for file in sorted(Path(next(iter(studies.__path__))).glob("*.yaml"))}


def named_spaces() -> dict[str, Path]:
    """The search spaces that spikesweep ships, by name."""
    return {file.stem: file for file in sorted(Path(next(iter(search_spaces.__path__))).glob("*.yaml"))}


def locate_study(study: str) -> Path:
    """The file of a study given by path or by the name of a shipped one.

    Raises:
        StudyError: There is neither.
    """
    if study in shipped_studies():
        return shipped_studies()[study]
    try:
        if Path(study).is_file():
            return Path(study)
    except (ValueError, OSError):  # a null byte, a name that is too long
        pass
    repair = closest(study, shipped_studies())
    raise StudyError([Problem(study, "STUDY must be a study file or the name of a shipped study", study, repair)])


def stores_of(content: StudyFile, file: Path) -> Stores:
    """The locations of the results of a study with this content, read from this file.

    Raises:
        StudyError: The name or the storage cannot be.
    """
    if content.name is None and not re.fullmatch(NAME_PATTERN, file.stem):
        rule, repair = "a study's name must be letters, digits, _ and -", "rename the file, or give the study a name: …"
        raise StudyError([Problem(str(file), rule, file.stem, repair)])
    if "://" in content.storage and not content.storage.startswith(FILE):
        return _stores_in_cloud(content, content.name or file.stem)
    if content.storage.startswith(FILE) and not content.storage.startswith(f"{FILE}/"):
        rule, repair = "a file URI must name no host, as in file:///folder", "write the path alone"
        raise StudyError([Problem("storage", rule, content.storage, repair)])
    storage = _path("storage", content.storage.removeprefix(FILE))
    if storage.is_file():
        raise StudyError([Problem("storage", "storage must be a folder", f"{storage}, which is a file", "choose another")])
    if "?" in str(storage) or "#" in str(storage):
        rule, repair = "storage must not contain ? or #, which have another meaning in database URLs", "choose another folder"
        raise StudyError([Problem("storage", rule, str(storage), repair)])
    name = content.name or file.stem
    tracking_uri = content.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(storage / "mlflow.db")
    return Stores(
        name=name,
        storage=storage,
        checkpoints=inside(storage, CHECKPOINTS),
        ledger=_ledger_of(content, storage, name),
        tracking_uri=_lasting("tracking_uri", tracking_uri),
        experiment=content.experiment or name,
    )


def _stores_in_cloud(content: StudyFile, name: str) -> Stores:
    """The locations of a study whose checkpoints lie in an object store, which can hold nothing else."""
    folder = Path(DEFAULT_STORAGE).resolve()
    tracking_uri = content.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    problems = []
    for key, given, example in (("ledger", content.ledger, "postgresql+psycopg://…"), ("tracking_uri", tracking_uri, "http://…")):
        if not given:
            rule = f"{key} must be given where storage is an object store, which can hold no {key}"
            problems.append(Problem(key, rule, "nothing", f"e.g. {key}: {example}, or an absolute path"))
    if problems or not tracking_uri:
        raise StudyError(problems)
    return Stores(
        name=name,
        storage=folder,
        checkpoints=inside(content.storage, CHECKPOINTS),
        ledger=_ledger_of(content, folder, name),
        tracking_uri=_lasting("tracking_uri", tracking_uri),
        experiment=content.experiment or name,
    )


def _ledger_of(content: StudyFile, storage: Path, name: str) -> str:
    if content.ledger is None:
        return str(storage / LEDGERS / f"{name}.journal")
    return _lasting("ledger", content.ledger) if "://" in content.ledger else str(_path("ledger", content.ledger))


def _path(key: str, text: str) -> Path:
    """The absolute path that a text means."""
    try:
        path = Path(text).expanduser().resolve()
        path.is_file()  # which fails where the path cannot be: too long, or below a folder that nobody may look into
    except (RuntimeError, ValueError, OSError) as error:
        raise StudyError([Problem(key, f"{key} must be a path", shown(text), f"change it ({cut(str(error))})")]) from None
    return path


def _lasting(key: str, uri: str) -> str:
    """A URI of a store that outlives this process, and of which it can be seen whose it is."""
    if is_unusable_sqlite(uri):
        rule = f"{key} must be kept: a SQLite database must have a file, and its path must stand in the URI as it is"
        raise StudyError([Problem(key, rule, mask_uri(uri), "name a file, e.g. sqlite:////absolute/path.db")])
    return uri
