"""Checks the form of a study file: its keys and their types. Parts that are wrong are dropped, so the rest can be checked."""

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from search_spaces.language.rules import RuleError
from studies.engine.definition.file_model import DESIGN_NAMES, DESIGNS, FileSection, StudyFile
from studies.engine.definition.yaml_documents import SHORT_FORMS, Document, Keys, path_of
from studies.engine.errors import ProblemCollector, closest, rule_of, shown

_STAND_INS: Mapping[str, Any] = {"question": "?", "seeds": 1}
"""Values for what every study file must have, where it has nothing that can be used."""
_WHOLE = {"factors": 2, "baseline": 2, "config": 2}
"""How many keys deep a part is dropped, at most: a factor is dropped whole, the other factors stay."""
_LEVELS = ("baseline", "factors", "tuning")
_LEVEL_RULE = "must be true or false, a number, a text or null"
_FACTOR_RULE = "must be a list of levels, or a mapping with levels, low and high, or layouts"
_LABEL_RULE = "must be a text, or a mapping with name and levels"

SectionT = TypeVar("SectionT", bound=FileSection)


def content_of(document: Document, model: type[SectionT]) -> tuple[SectionT, ProblemCollector]:
    """The content of a document as a study file or a named space, without the parts whose form is wrong, and what is wrong."""
    data = copy.deepcopy(document.data)
    collector = ProblemCollector(document.where, document.problems)
    for keys in document.unreadable:
        collector.drop(_take_out(data, model, keys))
    while True:
        try:
            return model.model_validate(data), collector
        except ValidationError as error:
            located = [(_keys(data, dict(entry)), dict(entry)) for entry in error.errors()]
        around = {keys[:length] for keys, _ in located for length in range(len(keys))}
        wrong: dict[Keys, list[RuleError]] = {}
        for keys, entry in located:
            if keys in around:
                continue  # of several kinds that a value may be, this is one that it is not meant to be
            wrong.setdefault(keys, []).append(_broken_rule(document.data, model, keys, entry))
        for keys, (first, *others) in wrong.items():  # several, if a value fits none of the kinds that it may be
            rules = dict.fromkeys(broken.rule for broken in (first, *others))
            collector.add(path_of(keys), " or ".join(rules), first.value, first.repair)
        for keys in wrong:
            collector.drop(_take_out(data, model, keys))


def _keys(data: Any, entry: Mapping[str, Any]) -> Keys:
    """The way to what an error is about; pydantic puts the names of union members in between."""
    keys: list[str | int] = []
    for key in entry["loc"]:
        if (isinstance(data, dict) and key in data) or (isinstance(data, list) and isinstance(key, int) and key < len(data)):
            keys.append(key)
            data = data[key]
    return (*keys, entry["loc"][-1]) if entry["type"] == "missing" else tuple(keys)


def _take_out(data: dict[str, Any], model: type[FileSection], keys: Keys) -> str:
    """Take a part out, or what it is in if it is missing or in a list; returns the path of what was taken out."""
    keys = ("tuning", "parameters", *keys[2:3]) if keys[:2] == ("tuning", "parameters") else keys[: _WHOLE.get(str(keys[0]))]
    if keys[0] == "constraints" and len(keys) > 1:
        data["constraints"][keys[1]] = "True"  # one that always holds, so that the others stay where they are
        return path_of(keys)
    while len(keys) > 1 and not _is_entry(data, keys):
        keys = keys[:-1]
    mapping: Any = data
    for key in keys[:-1]:
        mapping = mapping[key]
    mapping.pop(keys[-1], None)
    if len(keys) == 1 and keys[0] in model.model_fields and keys[0] in _STAND_INS:
        data[str(keys[0])] = _STAND_INS[str(keys[0])]
    return path_of(keys)


def _is_entry(data: Any, keys: Keys) -> bool:
    """Whether a way leads through mappings to something that is there."""
    for key in keys:
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def _broken_rule(data: dict[str, Any], model: type[FileSection], keys: Keys, entry: Mapping[str, Any]) -> RuleError:
    """What pydantic says of a part, in the words of study files."""
    kind, (owner, description) = entry["type"], _describe(data, model, keys)
    if kind == "extra_forbidden":
        rule = f"a key must be one that {_owner_in_words(data, model, keys[:-1])} has"
        return RuleError(rule, shown(keys[-1]), closest(keys[-1], owner.model_fields))
    if kind == "missing":
        return RuleError("this key must be given", "nothing", f"add it. What belongs here: {description}")
    if kind == "union_tag_not_found":
        return RuleError("a design must have a name", shown(entry["input"]), f"add name: one of {', '.join(DESIGN_NAMES)}")
    if kind == "union_tag_invalid":
        name = entry["input"]["name"]
        return RuleError("design must be one that exists", shown(name), closest(name, DESIGN_NAMES))
    return RuleError(_rule(keys, entry), shown(entry["input"]), f"change it. What belongs here: {description}")


def _rule(keys: Keys, entry: Mapping[str, Any]) -> str:
    is_factor = (len(keys) == 2 and keys[0] == "factors") or (len(keys) == 3 and keys[:2] == ("tuning", "parameters"))
    if is_factor and entry["type"] == "model_type":
        return _FACTOR_RULE
    if keys[0] == "labels" and len(keys) == 2 and entry["type"] == "model_type":
        return _LABEL_RULE
    if keys[-1] in SHORT_FORMS and entry["type"] in ("model_type", "model_attributes_type"):
        return "must be a name, or a mapping with one"
    if keys[0] in _LEVELS and entry["loc"][-1] in ("bool", "int", "float", "str"):  # the kinds that a level may be
        return _LEVEL_RULE
    return rule_of(entry)


def _owner_in_words(data: dict[str, Any], model: type[FileSection], keys: Keys) -> str:
    if keys == ("design",):
        return f"design {data['design']['name']}"
    return path_of(keys) or ("a study file" if issubclass(model, StudyFile) else "a named space")


def _describe(data: Any, model: type[FileSection], keys: Keys) -> tuple[type[BaseModel], str]:
    """The part of the file that a key is in, and what the file says of the nearest key above it."""
    owner: type[BaseModel] = model
    description = "see spikesweep schema"
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
        field = owner.model_fields.get(str(key))
        if field is None:
            continue
        description = field.description or description
        parts = _parts_in(field.annotation)
        name = data.get("name") if isinstance(data, dict) else data
        if key == "design":
            parts = [DESIGNS[name]] if isinstance(name, str) and name in DESIGNS else []
        owner = parts[0] if len(parts) == 1 else owner
    return owner, description


def _parts_in(annotation: Any) -> list[type[FileSection]]:
    """The mappings that a type speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, FileSection):
        return [annotation]
    return [part for inner in getattr(annotation, "__args__", ()) for part in _parts_in(inner)]
