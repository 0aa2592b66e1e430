"""The validated study: from a YAML file to everything that it asks for, or to everything that is wrong with it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import search_spaces
import studies
from search_spaces.language.space import Cell, Factor, Levels, Range, Space
from studies.engine.configurations import Binder
from studies.engine.documents import as_yaml
from studies.engine.plans import SearchPlan, TuningPlan
from studies.engine.problems import Problem, StudyError, closest, mask_credentials
from studies.engine.replicates import Parent, Replicate
from studies.engine.study_file import NAME_PATTERN, Resources, StudyFile
from studies.run_record import ACCURACY, SPARSITY, Direction, level_in_words

LEDGERS = "ledgers"
"""The folder, in a storage, of a journal for every study."""


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Where a study keeps what: enough to look it up without checking it whole."""

    name: str
    storage: Path
    ledger: str
    """The path of a journal file, or the URL of a database."""
    tracking_uri: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that can be run: every value checked, every data set at hand, every replicate known or to be proposed."""

    file: str
    content: StudyFile
    """The study file as resolved: with its space, overrides, and every argument of its sampler."""
    space: Space
    baseline: Cell
    """The reference level of every factor, of those that are inactive in the baseline's own cell too."""
    references: Mapping[str, Cell]
    """The cell that each factor's levels are compared with, where the design compares."""
    cells: tuple[Cell, ...]
    """Of a design; empty for an adaptive search."""
    notes: tuple[str, ...]
    """Sentences on the design: what it can tell apart, what its constraints left out."""
    seeds: tuple[int, ...]
    binder: Binder
    search: SearchPlan | None
    tuning: TuningPlan | None
    stores: Stores
    text: str = field(repr=False)
    """``content`` as YAML."""

    @property
    def question(self) -> str:
        """What it answers, in a sentence."""
        return self.content.question

    @property
    def resources(self) -> Resources:
        """What one replicate is given."""
        return self.content.resources

    @property
    def design(self) -> str:
        """The design's name."""
        return self.content.design.name

    @property
    def trainables(self) -> tuple[str, ...]:
        """What may be trained."""
        if self.binder.trainable is not None:
            return (self.binder.trainable,)
        domain = self.space.factor("trainable").domain
        assert isinstance(domain, Levels)
        return tuple(str(level) for level in domain.values)

    @property
    def objectives(self) -> Mapping[str, Direction]:
        """What configurations are judged on, primary first; always on validation images."""
        return self.search.objectives if self.search else {ACCURACY: "maximize", SPARSITY: "maximize"}

    @cached_property
    def replicates(self) -> tuple[Replicate, ...]:
        """What is known before anything is trained: all cells of the first seed, then all of the second.

        So an interrupted study has whole blocks. Of a study that searches or tunes, nothing is known.
        """
        if self.search or self.tuning:
            return ()
        return tuple(self.binder.replicate(cell, seed) for seed in self.seeds for cell in self.cells)

    @property
    def parents(self) -> tuple[Parent, ...]:
        """What has to be trained first, each once, and is not itself a replicate of the study."""
        planned = {replicate.identity for replicate in self.replicates}
        parents = {replicate.parent.identity: replicate.parent for replicate in self.replicates if replicate.parent}
        return tuple(parent for identity, parent in parents.items() if identity not in planned)


def domain_in_words(factor: Factor) -> str:
    """What a factor may be, e.g. ``4, 8, 16`` or ``0.0001 to 0.1, log``, and under which condition."""
    if isinstance(factor.domain, Range):
        words = f"{factor.domain.low:g} to {factor.domain.high:g}"
        words += ", log" if factor.domain.log else ""
        words += f" in steps of {factor.domain.step:g}" if factor.domain.step else ""
    else:
        words = ", ".join(map(level_in_words, factor.domain.values))
    conditions = [f"{name} is {' or '.join(map(level_in_words, levels))}" for name, levels in factor.when.items()]
    return f"{words} (where {' and '.join(conditions)})" if conditions else words


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
    """Where a study of this content, read from this file, keeps what.

    Raises:
        StudyError: The name or the storage cannot be.
    """
    if content.name is None and not re.fullmatch(NAME_PATTERN, file.stem):
        rule, repair = "a study's name must be letters, digits, _ and -", "rename the file, or give the study a name: …"
        raise StudyError([Problem(str(file), rule, file.stem, repair)])
    try:
        storage = Path(content.storage).expanduser().resolve()
    except (RuntimeError, ValueError, OSError) as error:
        raise StudyError([Problem("storage", "storage must be a path", repr(content.storage), f"change it ({error})")]) from None
    if "?" in str(storage) or "#" in str(storage):
        rule, repair = "storage must not hold ? or #, which mean something else in database URLs", "choose another folder"
        raise StudyError([Problem("storage", rule, str(storage), repair)])
    name = content.name or file.stem
    default_tracking_uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage / 'mlflow.db'}"
    return Stores(
        name=name,
        storage=storage,
        ledger=_ledger_of(content, storage, name),
        tracking_uri=content.tracking_uri or default_tracking_uri,
    )


def _ledger_of(content: StudyFile, storage: Path, name: str) -> str:
    if content.ledger is None:
        return str(storage / LEDGERS / f"{name}.journal")
    return content.ledger if "://" in content.ledger else str(Path(content.ledger).expanduser().resolve())


def as_text(content: StudyFile, search: SearchPlan | None, tuning: TuningPlan | None, name: str) -> str:
    """A study file's content as YAML that loads as the same study, with every argument of samplers and pruners."""
    data = content.model_dump(exclude={"search_space"}) | {"name": name}
    data["factors"] = {factor: _plain(entry) for factor, entry in data["factors"].items()}
    if search:
        data["design"] |= {"sampler": dict(search.sampler), "pruner": dict(search.pruner) if search.pruner else None}
        data["design"]["limits"] = {metric: _plain(limit) for metric, limit in data["design"]["limits"].items()}
    if tuning:
        parameters = {parameter: _plain(entry) for parameter, entry in data["tuning"]["parameters"].items()}
        data["tuning"] |= {"sampler": dict(tuning.sampler), "parameters": parameters}
    return mask_credentials(as_yaml(_plain(data)))


def _plain(entry: Any) -> Any:
    """A mapping of the file without the keys that say nothing."""
    return {key: value for key, value in entry.items() if value is not None and value != {}} if isinstance(entry, dict) else entry
