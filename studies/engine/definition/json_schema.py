"""The JSON Schema of study files and of named spaces, with which editors complete keys and mark mistakes."""

from collections.abc import Mapping
from typing import Any

from studies.engine.binding.configurations import TRAINABLE
from studies.engine.binding.samplers import PRUNERS, SAMPLERS, argument_schemas
from studies.engine.binding.trainable_modules import config_schema, load_trainable, presets, trainable_names
from studies.engine.definition.file_model import DESIGN_NAMES, SpaceFile, StudyFile
from studies.engine.definition.locations import named_spaces
from studies.engine.definition.search_plans import METRICS, OUTCOMES

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DEFINITIONS = "#/$defs/"
_NEEDS_OPTIONS = {"random", "adaptive_search"}

Schema = dict[str, Any]


def study_schema() -> Schema:
    """The schema of study files. Where a study names one trainable, its fields are allowed; else those of all trainables."""
    schema = StudyFile.model_json_schema()
    definitions, properties = schema["$defs"], schema["properties"]
    properties["trainable"] = {**properties["trainable"], "enum": [*trainable_names(), None]}
    properties["search_space"] = {**properties["search_space"], "enum": [*named_spaces(), None]}
    properties["design"] = _or_names(properties["design"], [name for name in DESIGN_NAMES if name not in _NEEDS_OPTIONS])
    properties["resources"] = _or_names(properties["resources"], ["auto"])
    labels = properties["labels"]["additionalProperties"]
    properties["labels"]["additionalProperties"] = {"anyOf": [{"type": "string", "minLength": 1}, labels]}
    properties["primary_outcome"] = {**properties["primary_outcome"], "enum": [*OUTCOMES, None]}
    search, tuning = definitions["AdaptiveSearch"]["properties"], definitions["Tuning"]["properties"]
    for part in ("objectives", "limits"):
        search[part]["propertyNames"] = {"enum": list(METRICS)}
    definitions["Sampler"], definitions["Pruner"] = _chosen(SAMPLERS), _chosen(PRUNERS)
    for fields in (search, tuning):
        fields["sampler"] = _described(fields["sampler"]) | {"$ref": "#/$defs/Sampler"}
    search["pruner"] = _described(search["pruner"]) | {"anyOf": [{"$ref": "#/$defs/Pruner"}, {"type": "null"}]}
    del definitions["NamedChoice"]
    schema["allOf"] = []
    for name in trainable_names():
        parts = _define(definitions, name, config_schema(load_trainable(name).Config))
        parts["preset"] = {"enum": [*presets(load_trainable(name)), None]}
        schema["allOf"].append({"if": _has_trainable(name), "then": {"properties": parts}})
    several = _define_any(definitions)
    schema["allOf"].append({"if": {"not": {"required": ["trainable"]}}, "then": {"properties": several}})
    return {"$schema": _DIALECT, **_without_titles(schema)}


def space_schema() -> Schema:
    """The schema of a file of ``search_spaces``, for any trainable."""
    schema = SpaceFile.model_json_schema()
    parts = _define_any(schema["$defs"])
    schema["allOf"] = [{"properties": {part: rule for part, rule in parts.items() if part in schema["properties"]}}]
    return {"$schema": _DIALECT, **_without_titles(schema)}


def _has_trainable(name: str) -> Schema:
    return {"required": ["trainable"], "properties": {"trainable": {"const": name}}}


def _define(definitions: Schema, owner: str, fields: Mapping[str, Schema]) -> Schema:
    """Add definitions of every field, as a value and as a factor; returns the schemas of the keys that refer to them."""
    values, factors = {}, {}
    for field, rule in fields.items():
        name = field if definitions.get(field, rule) == rule else f"{owner}.{field}"  # most trainables share most fields
        definitions[name] = rule
        definitions[f"{name}.factor"] = _entry(_ref(name), rule.get("description", ""))
        values[field], factors[field] = _ref(name), _ref(f"{name}.factor")
    definitions[f"{owner}.values"], definitions[f"{owner}.factors"] = _closed(values), _closed(factors)
    of_values, of_factors = _ref(f"{owner}.values"), _ref(f"{owner}.factors")
    tuning = {"properties": {"parameters": of_factors}}
    return {"config": of_values, "baseline": of_values, "factors": of_factors, "tuning": tuning}


def _define_any(definitions: Schema) -> Schema:
    """As ``_define``, for the fields of all trainables, with ``trainable`` as one more factor."""
    parts = _define(definitions, "any", _all_fields())
    description = "What one replicate trains."
    trainable = {"enum": trainable_names(), "description": description}
    rules = {"baseline": trainable, "factors": _entry(trainable, description)}
    for part, rule in rules.items():
        known = definitions[parts[part]["$ref"].removeprefix(_DEFINITIONS)]["properties"]
        parts[part] = _closed({**known, TRAINABLE: rule})
    return parts


def _all_fields() -> Schema:
    """The fields of all trainables; a field of several trainables takes what any of them allows."""
    rules: dict[str, list[Schema]] = {}
    for name in trainable_names():
        for field, rule in config_schema(load_trainable(name).Config).items():
            known = rules.setdefault(field, [])
            if rule not in known:
                known.append(rule)
    return {field: known[0] if len(known) == 1 else {"anyOf": known} for field, known in rules.items()}


def _ref(name: str) -> Schema:
    return {"$ref": f"{_DEFINITIONS}{name}"}


def _closed(rules: Schema) -> Schema:
    return {"properties": rules, "additionalProperties": False}


def _entry(rule: Schema, description: str) -> Schema:
    """The schema of a factor: a list of levels, or a mapping that says more."""
    levels = {"type": "array", "items": rule}
    mapping = {"allOf": [_ref("FactorSpec"), {"properties": {"levels": levels}}]}
    return {"anyOf": [levels, mapping], "description": description}


def _described(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key in ("description", "default")}


def _without_titles(schema: Any) -> Any:
    """The schema without pydantic's titles, which only repeat names; a property named title stays."""
    if isinstance(schema, list):
        return [_without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _without_titles(part) for key, part in schema.items() if key != "title" or not isinstance(part, str)}


def _or_names(schema: Schema, names: list[str]) -> Schema:
    """The schema of something that is written as a name alone, or as the mapping that ``schema`` describes."""
    rest = {key: value for key, value in schema.items() if key not in ("description", "default")}
    return {**_described(schema), "anyOf": [{"enum": names}, rest]}


def _chosen(known: Mapping[str, type[Any]]) -> Schema:
    """The schema of a sampler or pruner: its name, or a mapping with its arguments."""
    mappings = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, **argument_schemas(made)},
            "required": ["name"],
            "additionalProperties": False,
        }
        for name, made in known.items()
    ]
    return {"anyOf": [{"enum": list(known)}, *mappings]}
