"""YAML documents as plain data that remember their lines, and overrides from the command line."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from search_spaces.language.plain_values import is_text, read_plain
from search_spaces.language.rules import RuleError
from studies.engine.errors import Problem, StudyError, cut, shown

MOST_BYTES = 200_000
MOST_PARTS = 20_000
"""Values of a document, those that aliases repeat counted each time."""
MOST_KEYS = 200
"""Keys of one mapping; no trainable has as many fields."""
LONGEST_KEY = 100
DEEPEST = 20

Keys = tuple[str | int, ...]
"""The way to a part of a document: keys of mappings, positions in lists."""

SHORT_FORMS = {"design", "sampler", "pruner"}
"""Keys whose plain text stands for a mapping with that name."""
AUTO = ("resources", "auto")
"""The key, and the text, that stand for a mapping that says nothing."""
_COLLECTION_TAGS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_TEXT_TAG = "tag:yaml.org,2002:str"
_PLAIN_TAG = "plain"
_MERGE = "<<"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass
class Document:
    """Plain data from a YAML file, where each part of it stands, and what of it could not be read."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    """``file:line`` of a path such as ``factors.layout[1]``."""
    problems: list[Problem] = field(default_factory=list)
    unreadable: list[Keys] = field(default_factory=list)
    """The parts that the problems are about: what ``data`` has there must not be used."""

    def place(self, path: str) -> str:
        """``file:line`` of a part; of the nearest part around it where the document has no such part."""
        known = path
        while known and known not in self.places:
            known = known[: max(known.rfind("."), known.rfind("["), 0)]
        return self.places.get(known, self.name)

    def where(self, path: str) -> str:
        """``file:line path`` for a message."""
        return f"{self.place(path)} {cut(path)}".strip()


class _TooManyPartsError(Exception):
    """A text has more values than a document may have."""


class _Loader(yaml.SafeLoader):
    """Marks values that have no quotes and no tag, which PyYAML itself would read as YAML 1.1; ends where there are too many."""

    num_parts = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.num_parts += 1
        if self.num_parts > 2 * MOST_PARTS:  # keys are nodes, too
            raise _TooManyPartsError
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        is_plain = kind is yaml.ScalarNode and implicit[0]
        return _PLAIN_TAG if is_plain else super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


class _Dumper(yaml.SafeDumper):
    """Quotes every text that would be read as something else."""


def _quoted_if_needed(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(_TEXT_TAG, text, style=None if is_text(text) else "'")


_Dumper.add_representer(str, _quoted_if_needed)


def as_yaml(data: Mapping[str, Any]) -> str:
    """Plain data as YAML that ``read_document`` reads as the same."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def path_of(keys: Sequence[str | int]) -> str:
    """The way to a part as a path: ``factors.layout[1]``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


def read_document(file: Path) -> Document:
    """Parse one YAML file; safe: only plain data. What is wrong with single parts is among the document's problems.

    Raises:
        StudyError: The file cannot be read, is too large or too deep, is not YAML, or is not a mapping.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        text = content[:MOST_BYTES].decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError([Problem(str(file), "the file must be readable UTF-8", str(error), "check the path")]) from None
    if len(content) > MOST_BYTES:
        rule, repair = f"the file must have at most {MOST_BYTES:,} bytes", "check that it is a study file"
        raise StudyError([Problem(str(file), rule, "more", repair)])
    node = _parse(text, str(file))
    document = Document(str(file))
    document.data = _Reader(document, has_lines=True).part(node, ())
    if not isinstance(document.data, dict):
        rule = "the file must be a mapping"
        problem = Problem(str(file), rule, shown(document.data), "write key: value lines")
        raise StudyError(document.problems or [problem])
    return document


def _parse(text: str, name: str) -> yaml.Node | None:
    try:
        return _Loader(text).get_single_node()
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # of a text with an escape that is no character
        mark = getattr(error, "problem_mark", None)
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        place, repair = (f"{name}:{mark.line + 1}", "correct the line") if mark else (name, "remove it")
        repair = "write spaces in the place of the tab" if "\\t" in reason else repair
        raise StudyError([Problem(place, "the file must be YAML", reason, repair)]) from None
    except RecursionError:
        raise StudyError([_too_deep(name)]) from None
    except _TooManyPartsError:
        raise StudyError([_too_many_parts(name)]) from None


def _too_deep(where: str) -> Problem:
    return Problem(where, f"parts must be nested less than {DEEPEST} deep", "deeper", "use fewer levels of nesting")


def _too_many_parts(where: str) -> Problem:
    return Problem(where, f"there must be at most {MOST_PARTS:,} values", "more", "repeat fewer parts by aliases")


class _Reader:
    """Turns the nodes of one text into plain data."""

    def __init__(self, document: Document, *, has_lines: bool) -> None:
        self._document, self._has_lines = document, has_lines
        self._num_parts = 0

    def part(self, node: yaml.Node | None, keys: Keys, ancestors: tuple[int, ...] = ()) -> Any:
        """The value of the node at ``keys``; ``ancestors`` are the nodes that it is in."""
        if node is None:
            return None
        self._document.places[path_of(keys)] = self._place(node)
        if not self._may_be_read(node, keys, ancestors):
            return None
        ancestors = (*ancestors, id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.part(item, (*keys, i), ancestors) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys, ancestors)
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, keys)

    def _place(self, node: yaml.Node) -> str:
        return f"{self._document.name}:{node.start_mark.line + 1}" if self._has_lines else self._document.name

    def _may_be_read(self, node: yaml.Node, keys: Keys, ancestors: tuple[int, ...]) -> bool:
        self._num_parts += 1
        if self._num_parts > MOST_PARTS:
            raise StudyError([_too_many_parts(self._document.where(path_of(keys)))])
        if id(node) in ancestors:
            self._add(keys, "a part must not contain itself", "an alias", "write the part out in the place of the alias")
            return False
        if len(ancestors) >= DEEPEST:
            self._problem(keys, _too_deep(self._document.where(path_of(keys))))
            return False
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTION_TAGS:
            self._add(keys, "a value must be plain YAML data", node.tag, "write it without the tag")
            return False
        return True

    def _mapping(self, node: yaml.MappingNode, keys: Keys, ancestors: tuple[int, ...]) -> dict[str, Any]:
        if len(node.value) > MOST_KEYS:
            rule, repair = f"a mapping must have at most {MOST_KEYS} keys", "remove those that no study has"
            raise StudyError([Problem(self._document.where(path_of(keys)), rule, f"{len(node.value):,}", repair)])
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place, key = self._place(key_node), _key(key_node)
            around = f"{place} {path_of(keys)}".strip()
            if key is None:
                rule = f"a key must be a word of at most {LONGEST_KEY} characters"
                self._document.problems.append(Problem(around, rule, "something else", "write name: value"))
                continue
            if key == _MERGE:
                rule, repair = "a mapping must be written out: << is no key in YAML 1.2", "write its keys in this place"
                self._document.problems.append(Problem(around, rule, _MERGE, repair))
                self._document.unreadable += [keys] if keys else []
                continue
            if key in mapping:
                rule, repair = "a key must not be repeated", "remove one of the two"
                self._problem((*keys, key), Problem(f"{place} {path_of((*keys, key))}", rule, cut(key), repair))
            mapping[key] = self.part(value_node, (*keys, key), ancestors)
        return mapping

    def _scalar(self, node: yaml.ScalarNode, keys: Keys) -> Any:
        if node.tag not in (_PLAIN_TAG, _TEXT_TAG):
            self._add(keys, "a value must be plain YAML data", node.tag, "write it without the tag, or quote it")
            return None
        if _SURROGATE.search(node.value):
            self._add(keys, "a text must be of whole characters", "half of a surrogate pair", "write the character itself")
            return None
        try:
            return read_plain(node.value) if node.tag == _PLAIN_TAG else node.value
        except RuleError as broken:
            self._add(keys, broken.rule, broken.value, broken.repair)
            return None

    def _add(self, keys: Keys, rule: str, value: str, repair: str) -> None:
        self._problem(keys, Problem(self._document.where(path_of(keys)), rule, cut(value), repair))

    def _problem(self, keys: Keys, problem: Problem) -> None:
        self._document.problems.append(problem)
        self._document.unreadable.append(keys)


def _key(node: yaml.Node) -> str | None:
    """The text of a key; None if it is none, or too long to be one."""
    is_word = isinstance(node, yaml.ScalarNode) and len(node.value) <= LONGEST_KEY and not _SURROGATE.search(node.value)
    return node.value if is_word else None


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Set ``a.b=value`` in a document, the value read as YAML.

    Overrides that are not of that form, or whose path leads through something else than mappings, become problems of the
    document.
    """
    for override in overrides:
        path, equals, text = override.partition("=")
        where = f"--set {cut(override)}"
        keys = path.split(".")
        if not equals or not all(0 < len(key) <= LONGEST_KEY for key in keys) or len(keys) > DEEPEST:
            rule, repair = "an override must read path=value", "e.g. --set factors.time_steps=[4,8]"
            document.problems.append(Problem(where, rule, cut(override), repair))
            continue
        part = _mapping_at(document.data, keys[:-1])
        if part is None:
            rule = "every part of the path but the last must be a mapping"
            document.problems.append(Problem(where, rule, cut(path), "check the path"))
            continue
        try:
            node = _parse(text, where)
        except StudyError as error:
            reason = error.problems[0].value
            document.problems.append(Problem(where, "the value must be YAML", cut(f"{text} ({reason})"), "quote it"))
            continue
        inner = Document(where)
        try:
            part[keys[-1]] = _Reader(inner, has_lines=False).part(node, tuple(keys))
        except StudyError as error:
            document.problems += error.problems
            continue
        document.problems += inner.problems
        document.unreadable += inner.unreadable
        for known in [place for place in document.places if place == path or place.startswith((f"{path}.", f"{path}["))]:
            del document.places[known]
        document.places[path] = where


def _mapping_at(data: dict[str, Any], keys: Sequence[str]) -> dict[str, Any] | None:
    """The mapping that a path leads to, made where there is nothing; None where there is something else."""
    part: Any = data
    for key in keys:
        if not isinstance(part, dict):
            return None
        if key in SHORT_FORMS and isinstance(part.get(key), str):
            part[key] = {"name": part[key]}
        if part.get(key) is None or (key, part[key]) == AUTO:
            part[key] = {}
        part = part[key]
    return part if isinstance(part, dict) else None
