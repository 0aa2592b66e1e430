"""How a trainable declares its config: frozen dataclasses whose fields carry their rule, their one spelling, and whether they
are identity.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

Section = Literal[
    "data",
    "augmentation",
    "network",
    "neurons",
    "learning rule",
    "conversion",
    "response surface",
    "training",
    "pretraining",
    "fine-tuning",
    "regularisation",
    "pruning",
    "computation",
]
"""The sections of configs, in the order in which they are shown."""


NO_VALUE = object()
"""Says that a field has been there from the beginning."""


def setting(
    default: Any,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    identity: bool = True,
    before: Any = NO_VALUE,
    canonical: Callable[[Any], Any] | None = None,
    section: Section | None = None,
) -> Any:
    """A config field: its default, the rule its value must keep, and whether it changes the result.

    Fields with ``identity=False`` (where to compute, say) are left out of a replicate's identity. So is a field with the value
    ``before``: what networks did before the field existed, so that what was trained then is found again. ``canonical`` gives the
    one spelling of a value that has several; see ``canonical_value``. ``section`` begins a section of the config, to which the
    fields below it in its class belong too; see ``config_sections``.
    """
    rule = {"ge": at_least, "le": at_most, "gt": above, "lt": below}
    rule = {name: bound for name, bound in rule.items() if bound is not None}
    metadata = {"rule": rule, "identity": identity, "before": before, "canonical": canonical, "section": section}
    return dataclasses.field(default=default, metadata=metadata)


def canonical_value(config_class: Any, name: str, value: Any) -> Any:
    """The one spelling of a value that the field called ``name`` allows: two that mean the same are one config."""
    canonical = config_class.__dataclass_fields__[name].metadata["canonical"]
    return canonical(value) if canonical else value


def config_sections(config_class: Any) -> dict[Section, list[str]]:
    """The fields of a config by section, as ``spikesweep check --full`` and the docs group them.

    A field that a subclass declares again stays in its section unless the subclass begins another.
    """
    section_of: dict[str, Section] = {}
    for part in reversed(config_class.__mro__):
        section = None
        for name in vars(part).get("__annotations__", {}):
            section = part.__dataclass_fields__[name].metadata["section"] or section
            section_of[name] = section or section_of[name]
    sections = {section: [name for name, other in section_of.items() if other == section] for section in get_args(Section)}
    return {section: names for section, names in sections.items() if names}


def identity_field_names(config_class: Any) -> set[str]:
    """The names of the fields that change a config's result."""
    return {field.name for field in dataclasses.fields(config_class) if field.metadata["identity"]}


def without_inactive(config: Any) -> Any:
    """The same config with its ``inactive_fields``, which do nothing, at the values ``before`` they existed or their defaults."""
    inactive = config.inactive_fields()
    values = {field.name: _inactive_value(field) for field in dataclasses.fields(config) if field.name in inactive}
    return dataclasses.replace(config, **values)


def _inactive_value(field: dataclasses.Field[Any]) -> Any:
    before = field.metadata["before"]
    return field.default if before is NO_VALUE else before


def values_of_record(config_class: Any, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config that was recorded, perhaps before some of its fields existed: these are what networks did then.

    Such a field that does nothing under the other values is left out: its rules are for those who set it.
    """
    before = {
        field.name: value for field in dataclasses.fields(config_class) if (value := field.metadata["before"]) is not NO_VALUE
    }
    values = before | dict(recorded)
    inactive = config_class(**values).inactive_fields() & before.keys()
    return {name: value for name, value in values.items() if name not in inactive}


def identity_of(trainable: str, config: Any, *, data_digest: str, seed: int) -> str:
    """The identity of a replicate: the digest of everything that changes its result.

    A field that has the value ``before`` it existed is left out, see ``setting``.
    """
    config = without_inactive(config)
    names = identity_field_names(type(config))
    before = {field.name: field.metadata["before"] for field in dataclasses.fields(config)}
    fields = {name: value for name in names if (value := getattr(config, name)) != before[name]} | {"data": data_digest}
    essence = json.dumps({"trainable": trainable, "config": fields, "seed": seed}, sort_keys=True)
    return hashlib.sha256(essence.encode()).hexdigest()[:32]
