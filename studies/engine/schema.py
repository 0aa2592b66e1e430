"""The JSON Schema of study files: what editors complete and underline."""

from typing import Any

from studies.engine.binding import config_schema, load_trainable, presets, trainable_names
from studies.engine.study import StudyFile, named_spaces


def study_schema() -> dict[str, Any]:
    """The schema of ``StudyFile``, with the fields of every trainable's config where they may stand."""
    schema = StudyFile.model_json_schema()
    properties = schema["properties"]
    properties["trainable"]["enum"] = trainable_names()
    properties["search_space"]["enum"] = [*named_spaces(), None]
    schema["allOf"] = [_if_trainable(name) for name in trainable_names()]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _if_trainable(name: str) -> dict[str, Any]:
    trainable = load_trainable(name)
    fields = config_schema(trainable.Config)
    levels = {field: {"type": "array", "items": rule, "description": rule["description"]} for field, rule in fields.items()}
    parts = {"config": fields, "baseline": fields, "factors": levels}
    then: dict[str, Any] = {part: {"properties": properties, "additionalProperties": False} for part, properties in parts.items()}
    then["preset"] = {"enum": [*presets(trainable), None]}
    return {"if": {"properties": {"trainable": {"const": name}}}, "then": {"properties": then}}
