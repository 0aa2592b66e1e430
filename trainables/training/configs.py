"""How a trainable declares its config: frozen dataclasses whose fields carry their rule and whether they are identity."""

import dataclasses
import hashlib
import json
from typing import Any


def setting(
    default: Any,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    identity: bool = True,
) -> Any:
    """A config field: its default, the rule its value must keep, and whether it changes the result.

    Fields with ``identity=False`` (where to compute, say) are left out of a replicate's identity.
    """
    rule = {"ge": at_least, "le": at_most, "gt": above, "lt": below}
    rule = {name: bound for name, bound in rule.items() if bound is not None}
    return dataclasses.field(default=default, metadata={"rule": rule, "identity": identity})


def identity_field_names(config_class: Any) -> set[str]:
    """The names of the fields that change a config's result."""
    return {field.name for field in dataclasses.fields(config_class) if field.metadata["identity"]}


def identity_of(trainable: str, config: Any, *, data_digest: str, seed: int) -> str:
    """What a replicate is known by, everywhere and for ever: the digest of all that changes its result."""
    fields = {name: getattr(config, name) for name in identity_field_names(type(config))} | {"data": data_digest}
    essence = json.dumps({"trainable": trainable, "config": fields, "seed": seed}, sort_keys=True)
    return hashlib.sha256(essence.encode()).hexdigest()[:32]
