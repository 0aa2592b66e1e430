"""How a trainable declares its config: frozen dataclasses whose fields carry their rule, their one spelling, and whether they
are identity.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any


def setting(
    default: Any,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    identity: bool = True,
    canonical: Callable[[Any], Any] | None = None,
) -> Any:
    """A config field: its default, the rule its value must keep, and whether it changes the result.

    Fields with ``identity=False`` (where to compute, say) are left out of a replicate's identity. ``canonical`` gives the one
    spelling of a value that has several; see ``canonical_value``.
    """
    rule = {"ge": at_least, "le": at_most, "gt": above, "lt": below}
    rule = {name: bound for name, bound in rule.items() if bound is not None}
    return dataclasses.field(default=default, metadata={"rule": rule, "identity": identity, "canonical": canonical})


def canonical_value(config_class: Any, name: str, value: Any) -> Any:
    """The one spelling of a value that the field called ``name`` allows: two that mean the same are one config."""
    canonical = config_class.__dataclass_fields__[name].metadata["canonical"]
    return canonical(value) if canonical else value


def identity_field_names(config_class: Any) -> set[str]:
    """The names of the fields that change a config's result."""
    return {field.name for field in dataclasses.fields(config_class) if field.metadata["identity"]}


def without_idle(config: Any) -> Any:
    """The same config with every field that does nothing (its ``idle_fields``) at its default."""
    idle = config.idle_fields()
    defaults = {field.name: field.default for field in dataclasses.fields(config) if field.name in idle}
    return dataclasses.replace(config, **defaults)


def identity_of(trainable: str, config: Any, *, data_digest: str, seed: int) -> str:
    """What a replicate is known by, everywhere and for ever: the digest of all that changes its result."""
    config = without_idle(config)
    fields = {name: getattr(config, name) for name in identity_field_names(type(config))} | {"data": data_digest}
    essence = json.dumps({"trainable": trainable, "config": fields, "seed": seed}, sort_keys=True)
    return hashlib.sha256(essence.encode()).hexdigest()[:32]
