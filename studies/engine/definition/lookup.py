"""A study's file with everything that it includes and overrides, as far as it can be read without knowing any trainable."""

import re
from collections.abc import Sequence
from pathlib import Path

from studies.engine.definition.file_model import NAME_PATTERN, SpaceFile, StudyFile
from studies.engine.definition.locations import Stores, locate_study, named_spaces, shipped_studies, stores_of
from studies.engine.definition.structure import content_of
from studies.engine.definition.yaml_documents import Document, Keys, apply_overrides, read_document
from studies.engine.errors import Problem, StudyError, closest, shown

_SPACE = "search_space"


def find_study(study: str, overrides: Sequence[str] = ()) -> tuple[StudyFile, Stores]:
    """The content and the stores of a study given by path or name; a name without a file is that of a study run elsewhere.

    Raises:
        StudyError: The study's file is wrong.
    """
    try:
        file = locate_study(study)
    except StudyError:
        if not re.fullmatch(NAME_PATTERN, study):
            raise
        file, document = Path(study), _named(study, overrides)
    else:
        document = read_study_file(file, overrides)
    content, collector = content_of(document, StudyFile)
    if collector.problems:
        raise StudyError(collector.problems)
    return content, stores_of(content, file)


def find_stores(study: str, overrides: Sequence[str] = ()) -> Stores:
    """Where a study keeps what; see ``find_study``."""
    return find_study(study, overrides)[1]


def stores_named(name: str, overrides: Sequence[str]) -> Stores:
    """Where a study of this name keeps what: a shipped one, or one that was run elsewhere; no file in this folder is read.

    Raises:
        StudyError: An override is wrong.
    """
    shipped = shipped_studies().get(name)
    content, collector = content_of(read_study_file(shipped, overrides) if shipped else _named(name, overrides), StudyFile)
    if collector.problems:
        raise StudyError(collector.problems)
    return stores_of(content, shipped or Path(name))


def _named(name: str, overrides: Sequence[str]) -> Document:
    """The file of a study of which nothing is known but its name."""
    document = Document(name, {"name": name, "question": "?", "seeds": 1})
    apply_overrides(document, overrides)
    return document


def read_study_file(file: Path, overrides: Sequence[str]) -> Document:
    """The study's file with what it takes from its named space, and with the overrides.

    Raises:
        StudyError: The file cannot be read, or is no mapping.
    """
    try:
        document = read_document(file)
    except StudyError as error:
        document = Document(str(file))
        apply_overrides(document, overrides)
        raise StudyError([*error.problems, *document.problems]) from None
    of_space = [override for override in overrides if override.partition("=")[0] == _SPACE]
    apply_overrides(document, of_space)
    _include_space(document)
    apply_overrides(document, [override for override in overrides if override not in of_space])
    return document


def _include_space(document: Document) -> None:
    """Add the baseline, factors and constraints of the study's named space; where both have a key, the study's own counts."""
    name, spaces = document.data.get(_SPACE), named_spaces()
    if not isinstance(name, str) or (_SPACE,) in document.unreadable:
        return  # there is none, or it is no text, which is told with the form of the file
    if name not in spaces:
        rule, repair = "search_space must name a file of search_spaces", closest(name, spaces)
        document.problems.append(Problem(document.where(_SPACE), rule, shown(name), repair, _SPACE))
        document.unreadable.append((_SPACE,))
        return
    try:
        space = read_document(spaces[name])
    except StudyError as error:
        document.problems += error.problems
        document.unreadable.append((_SPACE,))
        return
    _, collector = content_of(space, SpaceFile)
    document.problems += collector.problems
    for part in ("baseline", "factors"):
        own, theirs = document.data.get(part), space.data.get(part)
        if isinstance(theirs, dict) and (own is None or isinstance(own, dict)):
            for key in theirs.keys() - (own or {}).keys():
                document.places |= _places_in(space, f"{part}.{key}")
            document.data[part] = theirs | (own or {})
    _include_constraints(document, space)
    document.unreadable += [*space.unreadable, *((path,) for path in collector.dropped_paths if path in SpaceFile.model_fields)]


def _include_constraints(document: Document, space: Document) -> None:
    """Put the constraints of the space in front of the study's own."""
    own, theirs = document.data.get("constraints") or [], space.data.get("constraints")
    if not isinstance(theirs, list) or not isinstance(own, list):
        return
    ours = {f"constraints[{i + len(theirs)}]": document.place(f"constraints[{i}]") for i in range(len(own))}
    document.places |= _places_in(space, "constraints") | ours
    document.unreadable = [_shifted(keys, len(theirs)) for keys in document.unreadable]
    document.data["constraints"] = theirs + own


def _shifted(keys: Keys, number: int) -> Keys:
    match keys:
        case ("constraints", int(position), *rest):
            return ("constraints", position + number, *rest)
    return keys


def _places_in(document: Document, path: str) -> dict[str, str]:
    return {place: line for place, line in document.places.items() if place == path or place.startswith((f"{path}.", f"{path}["))}
