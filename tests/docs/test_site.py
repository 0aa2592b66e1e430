"""The documentation builds as a site, strictly and without the network."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.docs.snippets import DOCS, ROOT


def copy(folder: Path) -> Path:
    """The sources of the site, so that the checkout stays as it is."""
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "zensical.toml", folder)
    return folder


def build(folder: Path) -> "subprocess.CompletedProcess[str]":
    """The command of .ci/run."""
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = copy(tmp_path_factory.mktemp("site"))
    result = build(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "site"


def pages_of(nav: Any) -> list[str]:
    """The pages of a navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    return [page for entry in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(entry)]


def test_every_page_is_in_the_navigation() -> None:
    """The navigation names every page once, and no other one."""
    pages = pages_of(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    assert sorted(pages) == sorted(str(file.relative_to(DOCS)) for file in DOCS.rglob("*.md"))


def test_pages_fetch_nothing(site: Path) -> None:
    """No page loads a script, a style or a font from another host, and every image that it shows is there."""
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"?(?:https?:)?//", text), page
        for image in re.findall(r"<img[^>]*src=\"?([^\" >]+)", text):
            assert (page.parent / image).is_file(), (page, image)


def test_equations_are_mathml(site: Path) -> None:
    """Equations are drawn without a script."""
    assert (site / "methods.html").read_text().count("<math") > 15


@pytest.mark.parametrize("link", ["missing.md", "concepts.md#missing"])
def test_broken_links_fail(link: str, tmp_path: Path) -> None:
    """A link to a page or to a heading that is not there ends the build."""
    with (copy(tmp_path) / "docs" / "index.md").open("a") as index:
        index.write(f"\n[broken]({link})\n")
    assert build(tmp_path).returncode != 0
