"""The validated study: from a YAML file to every replicate that it asks for, or to everything that is wrong with it."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import search_spaces
import studies
from search_spaces.language.designs import DESIGNS, Cell, Level
from search_spaces.language.space import LARGEST_SEED
from studies.engine.binding import (
    Trainable,
    field_docs,
    field_names,
    field_problem,
    load_trainable,
    make_config,
    presets,
    trainable_names,
)
from studies.engine.documents import Document, apply_overrides, read_document
from studies.engine.problems import Problem, StudyError, closest, mask_credentials
from studies.engine.replicates import Parent, Replicate, make_replicate
from trainables.training.configs import identity_field_names
from trainables.training.data import DataError, Dataset, default_data_folder, prepare, split_indices
from trainables.training.recipe import Recipe

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Resources(_Part):
    """What one replicate is given."""

    cpus: float = Field(default=1, gt=0, description="CPU cores for one replicate; torch uses as many threads.")
    gpus: float = Field(default=0, ge=0, description="GPUs for one replicate; 0.25 lets four share one.")


class StudyFile(_Part):
    """A study file: one question, in YAML."""

    name: str | None = Field(
        default=None,
        pattern=NAME_PATTERN,
        max_length=100,
        description="The study's name in the ledger and in MLflow; the file's own name unless given.",
    )
    question: str = Field(min_length=1, description="What the study answers, in a sentence.")
    trainable: str = Field(description="What one replicate trains: a module of trainables.")
    preset: str | None = Field(
        default=None, description="A preset of the trainable: values of its config, which config and factors override."
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="Fields of the trainable's config that all replicates share."
    )
    search_space: str | None = Field(
        default=None, description="A named space from search_spaces; baseline and factors here override its own."
    )
    baseline: dict[str, Level] = Field(default_factory=dict, description="The reference level of every factor.")
    factors: dict[str, list[Level]] = Field(
        default_factory=dict, description="What varies: fields of the trainable's config and their levels."
    )
    design: Literal["one_factor_at_a_time"] = Field(
        default="one_factor_at_a_time", description="Which combinations of levels are trained."
    )
    seeds: int | list[int] = Field(description="How many seeds (0, 1, …), or which; every cell is trained with the same ones.")
    resources: Resources = Field(default_factory=Resources)
    storage: str = Field(default="results", description="Folder of the ledger, the MLflow store, checkpoints, reports.")
    ledger: str | None = Field(default=None, description="SQLAlchemy URL of the ledger; a file in storage unless given.")
    tracking_uri: str | None = Field(
        default=None, description="MLflow's store; $MLFLOW_TRACKING_URI or a file in storage unless given."
    )


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Where a study keeps what: enough to look it up without checking it whole."""

    name: str
    storage: Path
    ledger_url: str
    tracking_uri: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that can be run: every value checked, every data set at hand, every replicate spelt out."""

    file: str
    text: str
    """The study file as resolved: with its space and overrides, as YAML."""
    question: str
    trainable: str
    factors: Mapping[str, Sequence[Level]]
    baseline: Cell
    design: str
    seeds: tuple[int, ...]
    resources: Resources
    stores: Stores
    cells: tuple[Cell, ...]
    replicates: tuple[Replicate, ...]
    """Block by block: all cells of the first seed, all of the second, …, so that an interrupted study has whole blocks."""

    @property
    def parents(self) -> tuple[Parent, ...]:
        """What has to be trained first, each once, and is not itself a replicate of the study."""
        planned = {replicate.identity for replicate in self.replicates}
        parents = {replicate.parent.identity: replicate.parent for replicate in self.replicates if replicate.parent}
        return tuple(parent for identity, parent in parents.items() if identity not in planned)


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
    if Path(study).is_file():
        return Path(study)
    repair = closest(study, shipped_studies())
    raise StudyError([Problem(study, "STUDY must be a study file or the name of a shipped study", study, repair)])


def load_study(study: str, overrides: Sequence[str] = ()) -> Study:
    """Read, check and spell out a study. Its data are prepared; nothing else is written.

    Raises:
        StudyError: With everything that is wrong.
    """
    file = locate_study(study)
    document = read_document(file)
    apply_overrides(document, overrides)
    try:
        content = _validate(document)
        if content.search_space is not None:
            document, content = _include_space(document, content)
    except StudyError as error:
        raise StudyError([*error.problems, *_further_problems(document, error)]) from None
    checker = _Checker(document, content)
    replicates = checker.spell_out()
    if checker.problems:
        raise StudyError(checker.problems)

    stores = _stores(content, file)
    return Study(
        file=str(file),
        text=mask_credentials(yaml.safe_dump({"name": stores.name, **document.data}, sort_keys=False, allow_unicode=True)),
        question=content.question,
        trainable=content.trainable,
        factors=content.factors,
        baseline=content.baseline,
        design=content.design,
        seeds=_seeds(content),
        resources=content.resources,
        stores=stores,
        cells=tuple(checker.cells()),
        replicates=replicates,
    )


def find_stores(study: str, overrides: Sequence[str] = ()) -> Stores:
    """The stores of a study given by path or name; a name that is no file's is taken for a study that was run elsewhere.

    Raises:
        StudyError: The study's file is wrong.
    """
    try:
        file = locate_study(study)
    except StudyError:
        if not re.fullmatch(NAME_PATTERN, study):
            raise
        document = Document(study, {"name": study, "question": "?", "trainable": "?", "seeds": 1})
        file = Path(study)
    else:
        document = read_document(file)
    apply_overrides(document, overrides)
    return _stores(_validate(document), file)


def _stores(content: StudyFile, file: Path) -> Stores:
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
    default_tracking_uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage / 'mlflow.db'}"
    return Stores(
        name=content.name or file.stem,
        storage=storage,
        ledger_url=content.ledger or f"sqlite:///{storage / 'ledger.db'}",
        tracking_uri=content.tracking_uri or default_tracking_uri,
    )


def _validate(document: Document) -> StudyFile:
    try:
        return StudyFile.model_validate(document.data)
    except ValidationError as error:
        problems: dict[str, Problem] = {}
        for entry in error.errors():
            problem = _problem_from_pydantic(document, dict(entry))
            if known := problems.get(problem.where):  # a value that fits no member of a union
                problem = dataclasses.replace(known, rule=f"{known.rule} or {problem.rule}")
            problems[problem.where] = problem
        raise StudyError(list(problems.values())) from None


def _further_problems(document: Document, error: StudyError) -> list[Problem]:
    """What is wrong beside ``error``: of the rest of the file, with the keys that it is about taken out or stood in for."""
    wrong = {problem.where.rsplit(" ", 1)[-1].split(".")[0].split("[")[0] for problem in error.problems}
    if wrong & {"factors", "baseline", "search_space", "trainable"}:
        return []  # without them nothing can be said of the rest
    known = {key: value for key, value in document.data.items() if key in StudyFile.model_fields and key not in wrong}
    rest = Document(document.name, {"question": "?", "seeds": 1, **known}, document.places)
    try:
        content = _validate(rest)
        if content.search_space is not None:
            rest, content = _include_space(rest, content)
    except StudyError:
        return []
    checker = _Checker(rest, content)
    checker.spell_out()
    return checker.problems


def _problem_from_pydantic(document: Document, entry: dict[str, Any]) -> Problem:
    location = [part for part in entry["loc"] if part not in _UNION_MEMBERS]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    known = Resources if location[0] == "resources" else StudyFile
    if entry["type"] == "extra_forbidden":
        rule, repair = "a key must be one that a study file has", closest(location[-1], known.model_fields)
        return Problem(document.where(path), rule, str(location[-1]), repair)
    description = StudyFile.model_fields[str(location[0])].description or "see spikesweep schema"
    if entry["type"] == "missing":
        return Problem(document.where(path), "this key must be given", "nothing", f"add it: {description}")
    return Problem(document.where(path), _rule(entry["msg"]), repr(entry["input"]), description)


_UNION_MEMBERS = {"bool", "int", "float", "str", "list[int]"}


def _rule(message: str) -> str:
    return message.removeprefix("Input ").removeprefix("Value error, ")


def _include_space(document: Document, content: StudyFile) -> tuple[Document, StudyFile]:
    """The study with the factors and baseline of its named space beneath its own."""
    spaces = named_spaces()
    if content.search_space not in spaces:
        rule, repair = "search_space must name a file of search_spaces", closest(content.search_space, spaces)
        raise StudyError([Problem(document.where("search_space"), rule, repr(content.search_space), repair)])
    space = read_document(spaces[content.search_space])
    merged = Document(
        document.name,
        {
            **document.data,
            **{part: space.data.get(part, {}) | document.data.get(part, {}) for part in ("baseline", "factors")},
        },
        {**space.places, **document.places},
    )
    return merged, _validate(merged)


def _seeds(content: StudyFile) -> tuple[int, ...]:
    return tuple(range(content.seeds)) if isinstance(content.seeds, int) else tuple(content.seeds)


class _Checker:
    """Checks that a study and its trainable fit together, and gathers all problems."""

    def __init__(self, document: Document, content: StudyFile) -> None:
        self._document, self._content = document, content
        self._preset: Mapping[str, Any] = {}
        self.problems: list[Problem] = []

    def cells(self) -> list[Cell]:
        return DESIGNS[self._content.design](self._content.factors, self._content.baseline)

    def spell_out(self) -> tuple[Replicate, ...]:
        """All replicates; none if anything is wrong, and then ``problems`` says what."""
        name = self._content.trainable
        if name not in trainable_names():
            self._add("trainable", "trainable must be one that exists", name, closest(name, trainable_names()))
            return ()
        trainable = load_trainable(name)
        self._check_preset(trainable)
        self._check_names(trainable.Config)
        self._check_levels(trainable.Config)
        fixed = {**self._preset, **self._content.config}
        if self.problems:
            self._prepare_data([fixed.get("data")])
            return ()
        configs = [(cell, make_config(trainable.Config, {**fixed, **cell})) for cell in self.cells()]
        datasets = self._prepare_data({config.data for _, config in configs})
        for _, config in configs:
            if config.data in datasets:
                self._check_against_data(trainable, config, datasets[config.data])
        if self.problems:
            return ()
        with_data = [(cell, config, datasets[config.data]) for cell, config in configs]
        sizes = [trainable.footprint(config, data.image_shape, data.num_classes).num_parameters for _, config, data in with_data]
        return tuple(
            make_replicate(name, cell, config, seed, data, size, parent_config=trainable.parent(config))
            for seed in _seeds(self._content)
            for (cell, config, data), size in zip(with_data, sizes, strict=True)
        )

    def _add(self, path: str, rule: str, value: Any, repair: str) -> None:
        problem = Problem(self._document.where(path), rule, str(value), repair)
        if problem not in self.problems:
            self.problems.append(problem)

    def _check_preset(self, trainable: Trainable) -> None:
        """The preset is one of the trainable's; its values lie beneath the study's own."""
        name, offered = self._content.preset, presets(trainable)
        if name is not None and name not in offered:
            rule = f"preset must be one that trainable {self._content.trainable} has"
            self._add("preset", rule, name, closest(name, offered) if offered else "leave it out: it has none")
        self._preset = offered.get(name or "", {})

    def _check_names(self, config_class: type[Recipe]) -> None:
        """Factors, baseline and config speak of fields that exist, each once; seeds are seeds."""
        content, fields = self._content, field_names(config_class)
        for part, what in (("config", "a key of config"), ("factors", "a factor")):
            for name in getattr(content, part):
                if name not in fields:
                    rule = f"{what} must be a field of trainable {content.trainable}"
                    self._add(f"{part}.{name}", rule, name, closest(name, fields))
        for name in content.factors.keys() & set(fields) - identity_field_names(config_class):
            rule = "a factor must change what is learnt, and this field does not"
            self._add(f"factors.{name}", rule, name, "set it under config")
        for name in content.config.keys() & content.factors.keys():
            self._add(f"config.{name}", "a field must be either fixed in config or a factor", name, "remove one of the two")
        if not content.factors:
            self._add("factors", "a study must vary at least one factor", "none", "e.g. factors: {time_steps: [4, 8]}")
        for name in content.factors.keys() - content.baseline.keys():
            self._add(f"factors.{name}", "every factor must have a baseline level", "none", f"add baseline: {{{name}: …}}")
        for name in content.baseline.keys() - content.factors.keys():
            repair = f"add it to factors, or move it to config ({closest(name, content.factors)})"
            self._add(f"baseline.{name}", "a baseline must be of a factor", name, repair)
        seeds = _seeds(content)
        if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed <= LARGEST_SEED for seed in seeds):
            rule = f"seeds must be a count of at least 1, or distinct numbers from 0 to {LARGEST_SEED}"
            self._add("seeds", rule, content.seeds, "e.g. seeds: 10, or seeds: [3, 5, 7]")

    def _check_levels(self, config_class: type[Recipe]) -> None:
        """Every value is one that its field can take; levels are distinct, the baseline one of them."""
        content, docs = self._content, field_docs(config_class)
        values = [(f"config.{name}", name, value) for name, value in content.config.items()]
        values += [(f"baseline.{name}", name, value) for name, value in content.baseline.items()]
        for name, levels in content.factors.items():
            values += [(f"factors.{name}[{i}]", name, level) for i, level in enumerate(levels)]
        for path, name, value in values:
            if name in docs and (rule := field_problem(config_class, name, value)):
                self._add(path, f"{name} {rule[0].lower()}{rule[1:]}", repr(value), f"change it; {name} is: {docs[name]}")
        for name, levels in content.factors.items():
            if len(set(levels)) < max(2, len(levels)):
                rule, repair = "a factor must have at least 2 distinct levels", "add or change a level"
                self._add(f"factors.{name}", rule, levels, repair)
            if name in content.baseline and content.baseline[name] not in levels:
                rule, repair = "the baseline must be one of the factor's levels", f"choose one of {levels}, or add it to them"
                self._add(f"baseline.{name}", rule, repr(content.baseline[name]), repair)

    def _prepare_data(self, names: Iterable[Any]) -> dict[str, Dataset]:
        """The data sets by name; one that cannot be had is a problem (one that is no text has been one already)."""
        datasets: dict[str, Dataset] = {}
        for name in names:
            if not isinstance(name, str):
                continue
            try:
                datasets[name] = prepare(name, default_data_folder())
            except DataError as error:
                self._add(self._path_of("data", name), error.rule, error.value, error.repair)
        return datasets

    def _check_against_data(self, trainable: Trainable, config: Recipe, dataset: Dataset) -> None:
        """The config suits the images, and leaves some to train and to validate on."""
        wrong = list(trainable.problems(config, dataset.image_shape))
        try:
            split_indices(
                len(dataset.train_labels),
                validation_fraction=config.validation_fraction,
                split_seed=config.split_seed,
                num_train_images=config.num_train_images,
            )
        except ValueError as error:
            wrong.append(("num_train_images" if config.num_train_images else "validation_fraction", str(error)))
        for name, rule in wrong:
            path = self._path_of(name, getattr(config, name))
            self._add(path, rule, repr(getattr(config, name)), f"change {path}")

    def _path_of(self, name: str, value: Any) -> str:
        """Where in the file a field got its value."""
        levels = self._content.factors.get(name, [])
        if value in levels:
            return f"factors.{name}[{levels.index(value)}]"
        return "preset" if name in self._preset and name not in self._content.config else f"config.{name}"
