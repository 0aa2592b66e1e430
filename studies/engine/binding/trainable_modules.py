"""Finds the module of a trainable by its name, and checks values of a study against the fields of its config."""

import ast
import dataclasses
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Protocol, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

import trainables
from search_spaces.language.factors import LARGEST_INTEGER
from studies.engine.errors import nearest, rule_of
from trainables.costs.footprint import Footprint
from trainables.costs.timing import Timing
from trainables.data.datasets import Dataset
from trainables.networks.rules import RuleError
from trainables.training.configs import canonical_value
from trainables.training.epoch_report import EpochReport
from trainables.training.files import Location
from trainables.training.recipe import Recipe

LONGEST_TEXT = 2000
"""Characters of a text in a config; no layout that could be trained is longer."""


class Trainable(Protocol):
    """What a module in ``trainables`` offers. It may also have ``PRESETS`` and ``PRESET_SOURCES`` (see ``presets`` and
    ``preset_sources``) and, with a network, ``task_of``.
    """

    Config: type[Recipe]

    def source_network(self, config: Any) -> Recipe | None:
        """The config of the network that has to be trained first; None if there is none."""

    def problems(self, config: Any, image_shape: tuple[int, int, int]) -> Iterator[RuleError]:
        """The rules that the config breaks for images of this shape, each with its field; empty if it can be trained."""

    def footprint(
        self, config: Any, image_shape: tuple[int, int, int], num_classes: int, num_micro_batches: int = 1
    ) -> Footprint:
        """The parameters, operations and memory of a replicate, known before training."""

    def timing(self, config: Any, *, seed: int, dataset: Dataset) -> Timing:
        """How long a replicate will take, measured on a few steps."""

    def train(
        self,
        config: Any,
        *,
        seed: int,
        dataset: Dataset,
        checkpoint_folder: Location | None = None,
        num_micro_batches: int = 1,
        keep_weights: bool = False,
    ) -> Iterator[EpochReport]:
        """Train a replicate, or go on from its checkpoint; yields a report for every epoch."""


def trainable_names() -> list[str]:
    """The names of all trainables: the modules in the folder ``trainables``."""
    return sorted(module.name for module in pkgutil.iter_modules(trainables.__path__) if not module.ispkg)


def load_trainable(name: str) -> Trainable:
    """The module of a trainable that exists."""
    module: Any = importlib.import_module(f"trainables.{name}")
    trainable: Trainable = module
    return trainable


def trainable_of(config: Recipe) -> str:
    """The name of the trainable that a config is of."""
    return type(config).__module__.rsplit(".", maxsplit=1)[-1]


def presets(trainable: Trainable) -> Mapping[str, Mapping[str, Any]]:
    """Named groups of config values that a trainable offers, e.g. of a published network."""
    offered: Mapping[str, Mapping[str, Any]] = getattr(trainable, "PRESETS", {})
    return offered


def preset_sources(trainable: Trainable) -> dict[str, list[str]]:
    """What presets are and where they are from, each text with the presets that it is of."""
    sources: Mapping[str, str] = getattr(trainable, "PRESET_SOURCES", {})
    found: dict[str, list[str]] = {}
    for name in presets(trainable):
        found.setdefault(sources.get(name, ""), []).append(name)
    return found


def all_presets() -> dict[str, dict[str, dict[str, Any]]]:
    """The presets of every trainable that has some."""
    offered = {name: presets(load_trainable(name)) for name in trainable_names()}
    return {name: {preset: dict(values) for preset, values in found.items()} for name, found in offered.items() if found}


def field_names(config_class: type[Recipe]) -> list[str]:
    """The fields of a config, in order."""
    return [field.name for field in dataclasses.fields(config_class)]


def field_problem(config_class: type[Recipe], name: str, value: Any) -> str | None:
    """The rule that keeps ``value`` from being the value of a field, e.g. ``epochs must be at least 1``; None if it may be."""
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return f"{name} must be a number up to 2**53: larger whole numbers cannot be stored exactly"
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"{name} must have at most {LONGEST_TEXT:,} characters"
    try:
        _adapters(config_class)[name].validate_python(value, strict=True)
    except ValidationError as error:
        first, *others = dict.fromkeys(rule_of(dict(problem)) for problem in error.errors())
        return " or ".join([f"{name} {first}", *(other.removeprefix("must be ") for other in others)])
    return None


def value_instead(config_class: type[Recipe], name: str, value: Any) -> str:
    """What may be written in place of a value that a field does not take: the word that it is most like, or the default."""
    hint = get_type_hints(config_class)[name]
    words = [word for member in (hint, *get_args(hint)) for word in get_args(member) if isinstance(word, str)]
    default = config_class.__dataclass_fields__[name].default
    return nearest(value, words) or (default if isinstance(default, str) else json.dumps(default))


def field_value(config_class: type[Recipe], name: str, value: Any) -> Any:
    """A checked value in the form that its field has: ``feature_scale: 1`` becomes 1.0, and a layout gets its one spelling."""
    return canonical_value(config_class, name, _adapters(config_class)[name].validate_python(value, strict=True))


def make_config(config_class: type[Recipe], values: Mapping[str, Any]) -> Recipe:
    """A config with these values, which have been checked, each in the form that its field has."""
    return config_class(**{name: field_value(config_class, name, value) for name, value in values.items()})


def config_schema(config_class: type[Recipe]) -> dict[str, Any]:
    """JSON Schema of every field of a config, with its docstring and default."""
    docs = field_docs(config_class)
    return {
        field.name: {
            **_adapters(config_class)[field.name].json_schema(),
            "default": field.default,
            "description": docs.get(field.name, ""),
        }
        for field in dataclasses.fields(config_class)
    }


def _make_adapters(config_class: type[Recipe]) -> Mapping[str, TypeAdapter[Any]]:
    hints = get_type_hints(config_class)
    adapters: dict[str, TypeAdapter[Any]] = {}
    finite = ConfigDict(allow_inf_nan=False)
    for field in dataclasses.fields(config_class):
        hint: Any = hints[field.name]
        adapters[field.name] = TypeAdapter(_bounded(hint, field.metadata["rule"]), config=finite)
    return adapters


def _bounded(hint: Any, rule: Mapping[str, Any]) -> Any:
    """A type whose numbers keep a rule; words that may stand in their place have no bounds."""
    if get_origin(hint) in (Union, UnionType):
        members = [_bounded(member, rule) if member in (int, float) else member for member in get_args(hint)]
        return reduce(or_, members)
    return Annotated[hint, Field(**rule)]


def _read_field_docs(config_class: type[Recipe]) -> dict[str, str]:
    """The docstrings beneath the fields, which Python does not keep."""
    docs: dict[str, str] = {}
    for part in reversed(config_class.__mro__[:-1]):
        body = ast.parse(inspect.getsource(part)).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, following in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
            ):
                docs[statement.target.id] = inspect.cleandoc(str(following.value.value))
    return docs


_adapters: Callable[[Any], Mapping[str, TypeAdapter[Any]]] = cache(_make_adapters)
field_docs: Callable[[Any], dict[str, str]] = cache(_read_field_docs)
"""The docstrings beneath a config's fields, by field."""
