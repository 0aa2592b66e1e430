"""Names and pages keep to the words of the glossary."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.snippets import DOCS, DOCUMENTS, ROOT, prose

GLOSSARY = DOCS / "concepts.md"
PACKAGES = ("search_spaces", "trainables", "studies", "analysis", "tests", "docs")
ANOTHER_MEANING: dict[str, set[str]] = {
    "analysis/statistics/search/front_probability.py": {"sweep"},  # passes of a Gibbs sampler
    "search_spaces/language/fractional.py": {"idle"},  # rounds without progress
}
"""Words that mean something else where they stand, by file."""


def table() -> dict[str, str]:
    """The banned words of the glossary, each with the word that stands in its place."""
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", GLOSSARY.read_text(), re.MULTILINE)
    return {banned.strip(): word for word, cell in rows if word != "word" for banned in cell.split(",") if banned.strip()}


BANNED = table()


def words_of(name: str) -> str:
    """The words of an identifier, e.g. ``" held back "`` of ``heldBack`` and ``_held_back``."""
    return f" {' '.join(re.findall(r'[A-Z]+(?![a-z])|[A-Z]?[a-z]+', name)).lower()} "


def names_in(file: Path) -> Iterator[str]:
    """The module's name, and those of its classes, functions, arguments, attributes and variables."""
    yield file.stem
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def texts_in(file: Path) -> Iterator[str]:
    """Docstrings and messages."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield plain(node.value)


def plain(text: str) -> str:
    """Prose as lower-case words set apart by spaces, without code and links."""
    return f" {re.sub(r'[^a-z]+', ' ', re.sub(r'`[^`]*`|[]][(][^)]*[)]', ' ', text).lower())} "


def banned_in(text: str) -> set[str]:
    """The banned words among words that are set apart by spaces; plurals count."""
    return {
        word for word in BANNED if re.search(rf" {word.removesuffix('y')}({'y|ies' if word.endswith('y') else '|s|es'}) ", text)
    }


def exceptions(file: Path) -> set[str]:
    """The words that a file may have nevertheless."""
    path = str(file.relative_to(ROOT))
    return {word for place, words in ANOTHER_MEANING.items() if path.startswith(place) for word in words}


def banned_in_source(file: Path) -> set[str]:
    """Those of a module's names, docstrings and messages; of tests, names alone."""
    texts = () if file.is_relative_to(ROOT / "tests") else texts_in(file)
    return {word for text in (*map(words_of, names_in(file)), *texts) for word in banned_in(text)} - exceptions(file)


def test_the_glossary_has_banned_words() -> None:
    """Its table is read, and its words are found where they stand."""
    assert len(BANNED) > 10
    assert banned_in(words_of("StudyConductor")) == {"conductor"}
    assert banned_in(words_of("template_paths")) == set()
    assert banned_in(plain("Two oddities are so many; `plate` is code.")) == {"oddity", "so many"}


@pytest.mark.parametrize("package", PACKAGES)
def test_code_keeps_to_the_glossary(package: str) -> None:
    """No name, docstring or message uses a word that the glossary replaces."""
    found = {file: banned_in_source(file) for file in sorted((ROOT / package).rglob("*.py"))}
    assert not {str(file.relative_to(ROOT)): words for file, words in found.items() if words}


@pytest.mark.parametrize("document", [file for file in DOCUMENTS if file != GLOSSARY], ids=lambda file: file.name)
def test_pages_keep_to_the_glossary(document: Path) -> None:
    """No page uses them in prose."""
    assert not banned_in(plain(prose(document))) - exceptions(document)
