"""The package's metadata hold together."""

import re
import tomllib
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.snippets import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def test_constraints_pin_every_dependency() -> None:
    """constraints.txt says how it is made, and pins each direct dependency to a version that pyproject.toml allows."""
    head, *lines = re.split(r"^(?!#)", (ROOT / "constraints.txt").read_text(), maxsplit=1, flags=re.MULTILINE)
    assert head.count("\n") == 2
    pins = dict(line.split("==") for line in lines[0].splitlines())
    versions = {canonicalize_name(name): version for name, version in pins.items()}
    assert list(pins) == sorted(pins, key=str.lower)
    for text in PROJECT["dependencies"] + [one for extra in EXTRAS.values() for one in extra]:
        needed = Requirement(text)
        assert needed.specifier.contains(versions[canonicalize_name(needed.name)]), text


def test_the_documentation_is_built_with_the_tests() -> None:
    """The extra `test` has what builds the site."""
    assert set(EXTRAS["docs"]) <= set(EXTRAS["test"])


def test_packages_are_typed() -> None:
    """Each package tells type checkers that it has types, and ships the file that does so."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package in ("search_spaces", "trainables", "studies", "analysis"):
        assert (ROOT / package / "py.typed").exists()
        assert "py.typed" in data[package]


def test_the_project_names_its_people_and_no_address() -> None:
    """Authors, licence and keywords are given; no address is invented."""
    assert [author["name"] for author in PROJECT["authors"]] == ["The spikesweep developers"]
    assert "urls" not in PROJECT
    assert PROJECT["keywords"]
    assert "Copyright 2026 The spikesweep developers" in (ROOT / "LICENSE").read_text()
