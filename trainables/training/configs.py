"""How a trainable declares its config: frozen dataclasses whose fields carry their rule and whether they are identity."""

import dataclasses
from typing import Any


def setting(
    default: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    identity: bool = True,
) -> Any:
    """A config field: its default, the rule its value must keep, and whether it changes the result.

    Fields with ``identity=False`` (where to compute, say) are left out of a replicate's identity.
    """
    rule = {"ge": at_least, "gt": above, "lt": below}
    rule = {name: bound for name, bound in rule.items() if bound is not None}
    return dataclasses.field(default=default, metadata={"rule": rule, "identity": identity})


def identity_field_names(config_class: Any) -> set[str]:
    """The names of the fields that change a config's result."""
    return {field.name for field in dataclasses.fields(config_class) if field.metadata["identity"]}
