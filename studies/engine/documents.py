"""YAML documents as plain data that remember their lines, and overrides from the command line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from studies.engine.problems import Problem, StudyError

_YAML_1_2_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_YAML_1_1_WORDS = {"yes", "no", "on", "off"}


@dataclass
class Document:
    """Plain data from a YAML file, and where each part of it stands."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    """``file:line`` of a path such as ``factors.layout[1]``."""

    def where(self, path: str) -> str:
        """``file:line path`` for a message; the nearest enclosing part that the document has gives the line."""
        known = path
        while known and known not in self.places:
            known = known[: max(known.rfind("."), known.rfind("["), 0)]
        return f"{self.places.get(known, self.name)} {path}".strip()


def read_document(file: Path) -> Document:
    """Parse one YAML file; safe: only plain data.

    Raises:
        StudyError: The file cannot be read, is not YAML, is not a mapping, repeats a key, or uses yes/no/on/off.
    """
    try:
        text = file.read_text(encoding="utf-8")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError([Problem(str(file), "the file must be readable UTF-8", str(error), "check the path")]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        reason = getattr(error, "problem", None) or str(error)
        raise StudyError([Problem(place, "the file must be YAML", str(reason), "mend the line")]) from None
    document = Document(str(file))
    problems: list[Problem] = []
    document.data = _construct(loader, node, "", document, problems, ())
    if not problems and not isinstance(document.data, dict):
        problems.append(Problem(str(file), "the file must be a mapping", repr(document.data), "write key: value lines"))
    if problems:
        raise StudyError(problems)
    return document


def _construct(
    loader: yaml.SafeLoader,
    node: yaml.Node | None,
    path: str,
    document: Document,
    problems: list[Problem],
    parents: tuple[int, ...],
) -> Any:
    if node is None:
        return None
    document.places[path] = f"{document.name}:{node.start_mark.line + 1}"
    if id(node) in parents:
        problems.append(Problem(document.where(path), "a part must not contain itself", "an alias", "write it out"))
        return None
    parents = (*parents, id(node))
    if isinstance(node, yaml.SequenceNode):
        items = enumerate(node.value)
        return [_construct(loader, item, f"{path}[{i}]", document, problems, parents) for i, item in items]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                place = f"{document.name}:{key_node.start_mark.line + 1} {path}"
                problems.append(Problem(place, "a key must be a word", "a list or mapping", "write word: value"))
                continue
            key = key_node.value
            child = f"{path}.{key}" if path else key
            if key in mapping:
                line = key_node.start_mark.line + 1
                problems.append(Problem(f"{document.name}:{line} {child}", "a key must stand once", key, "remove one of the two"))
            mapping[key] = _construct(loader, value_node, child, document, problems, parents)
        return mapping
    assert isinstance(node, yaml.ScalarNode)
    return _scalar(loader, node, path, document, problems)


def _scalar(loader: yaml.SafeLoader, node: yaml.ScalarNode, path: str, document: Document, problems: list[Problem]) -> Any:
    plain = node.style is None
    if plain and _YAML_1_2_FLOAT.fullmatch(node.value):  # PyYAML, after YAML 1.1, would make 1e-3 a string
        return float(node.value)
    if plain and node.value.lower() in _YAML_1_1_WORDS:
        problems.append(
            Problem(
                document.where(path),
                "yes, no, on and off mean true or false in some YAML versions only",
                node.value,
                'write true or false, or quote it: "' + node.value + '"',
            )
        )
    try:
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:  # a tag that is not plain data, or 2024-13-45
        reason = str(getattr(error, "problem", None) or error)
        problems.append(Problem(document.where(path), "a value must be plain YAML data", reason, "write it plainly, or quote it"))
        return None


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Set ``a.b=value`` in a document, the value read as YAML.

    Raises:
        StudyError: An override is not of that form, or a part of its path is not a mapping.
    """
    problems: list[Problem] = []
    for override in overrides:
        path, equals, text = override.partition("=")
        where = f"--set {override}"
        keys = path.split(".")
        if not equals or not all(keys):
            problems.append(Problem(where, "an override must read path=value", override, "e.g. --set factors.time_steps=[4,8]"))
            continue
        part: Any = document.data
        for key in keys[:-1]:
            part = part.setdefault(key, {}) if isinstance(part, dict) else None
        if not isinstance(part, dict):
            problems.append(Problem(where, "every part of the path but the last must be a mapping", path, "check the path"))
            continue
        try:
            node = yaml.SafeLoader(text).get_single_node()
        except yaml.YAMLError as error:
            problems.append(Problem(where, "the value must be YAML", f"{text} ({error})".split("\n")[0], "quote it"))
            continue
        loader = yaml.SafeLoader("")
        inner = Document(where)
        part[keys[-1]] = _construct(loader, node, path, inner, problems, ())
        for known in [place for place in document.places if place == path or place.startswith((f"{path}.", f"{path}["))]:
            del document.places[known]
        document.places[path] = where
    if problems:
        raise StudyError(problems)
