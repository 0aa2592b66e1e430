"""Why a field of a config does nothing: which other field has to have another value for that."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args, get_type_hints

from studies.engine.binding.trainable_modules import field_problem, field_value
from trainables.training.recipe import Recipe

TRIED = (True, False, None, 0, 1, 0.5, 2, "64 M 64 F64")
"""What is tried of every field that may have such a value, beside its default and its words; the last is a layout with layers of
every kind.
"""


class Cause(NamedTuple):
    """A field under whose value another one does nothing, and a value under which that would do something."""

    field: str
    value: Any
    instead: Any


def cause_of_inactivity(config: Recipe, name: str) -> Cause | None:
    """Which one field, with another value, would give an inactive field of a config an effect; None if none would alone."""
    for field in dataclasses.fields(config):
        present = getattr(config, field.name)
        for value in _alternatives(type(config), field) if field.name != name else ():
            if value != present and name not in dataclasses.replace(config, **{field.name: value}).inactive_fields():
                return Cause(field.name, present, value)
    return None


def _alternatives(config_class: type[Recipe], field: dataclasses.Field[Any]) -> Iterator[Any]:
    hint = get_type_hints(config_class)[field.name]
    words = [word for member in (hint, *get_args(hint)) for word in get_args(member) if isinstance(word, str)]
    for value in (field.default, *words, *TRIED):
        if field_problem(config_class, field.name, value) is None:
            yield field_value(config_class, field.name, value)
