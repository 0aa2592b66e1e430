"""The page and the files: whole, self-contained, legible in light, dark and print."""

import re
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from analysis.ablation_summary import write_summary
from analysis.records.loading import RecordedStudy
from analysis.reporting.figures import style
from analysis.reporting.figures.all_figures import all_figures
from analysis.reporting.formats import html
from tests.analysis.reporting.topics.test_published import BITNET, summary_of

TEMPLATE = (Path(html.__file__).parent / "templates" / "style.css.jinja").read_text()
TEXTS, HUES = ("ink", "soft", "better", "worse", "undecided"), [f"hue-{i}" for i in range(6)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a study that has every figure of a designed study."""
    summary = summary_of(BITNET)
    folder = tmp_path_factory.mktemp("report")
    write_summary(RecordedStudy(summary.study, list(summary.runs)), folder)
    return folder


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark", "print"])
def test_texts_and_lines_stand_out(mode: str) -> None:
    """Texts have a contrast of 4.5 to 1 with the paper and the panels, lines and markers 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    light, dark = TEMPLATE.split("@media (prefers-color-scheme: dark)")
    block = {"light": light, "dark": dark.split("body {")[0], "print": TEMPLATE.split("@media print")[1]}[mode]
    found = colours(light) | colours(block)
    for ground in ("paper", "panel"):
        assert all(contrast(found[name], found[ground]) >= 4.5 for name in TEXTS), (mode, ground)
    if mode != "print":
        assert all(contrast(found[name], found["paper"]) >= 3 for name in HUES), mode


def test_the_page_needs_nothing_else(folder: Path) -> None:
    """No script, no address that is fetched, no file beside it; figures are inline and named."""
    page = (folder / "summary.html").read_text()
    assert page.lstrip().startswith("<!doctype html>")
    assert "<script" not in page
    assert "url(http" not in page
    assert not re.findall(r"(?:src|href)=.(?!#)", page.replace("xlink:href", "href"))
    num_figures = len(list((folder / "figures").glob("*.svg")))
    assert num_figures == len(list((folder / "figures").glob("*.pdf"))) == 3
    assert page.count('<svg role="img" aria-label="') == 2 * num_figures  # for a page and for a phone
    names = re.findall(r' id="([^"]+)"', page)
    assert len(set(names)) == len(names)


def test_the_answer_comes_first(folder: Path) -> None:
    """Then figures, tables, method, and last the recipe, which is folded."""
    page = (folder / "summary.html").read_text()
    marks = ['class="answer"', "<svg", "<table", ">Method<", ">Recipe<"]
    places = [page.index(mark) for mark in marks]
    assert places == sorted(places)
    assert "<details><summary><h2>Recipe</h2></summary>" in page
    assert "image_downscale</td>" in page


def test_files_are_readable(folder: Path) -> None:
    """Every figure is there as well-formed SVG with real colours, and as a PNG of 200 dots to the inch on white."""
    vector = sorted((folder / "figures").glob("*.svg"))
    assert [file.stem for file in vector] == ["accuracy_against_t", "differences_from_the_baseline", "sparsity_by_layer"]
    for file in vector:
        text = file.read_text()
        assert ET.fromstring(text).tag.endswith("svg")
        assert "currentColor" not in text
        assert "var(" not in text
        png = file.with_suffix(".png").read_bytes()
        width = struct.unpack(">I", png[16:20])[0]
        in_points = float(re.findall(r'<svg [^>]*width="([\d.]+)pt"', text)[0])
        assert png.startswith(b"\x89PNG")
        assert width == pytest.approx(in_points / 72 * 200, abs=2)


def test_markdown_shows_the_figure_files(folder: Path) -> None:
    """Every figure that it refers to lies beside it."""
    referred = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (folder / "summary.md").read_text())
    assert len(referred) == 3
    assert all((folder / path).exists() for path in referred)


def test_the_same_study_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Every file of a report, figures among them."""
    summary = summary_of(BITNET)
    write_summary(RecordedStudy(summary.study, list(summary.runs)), tmp_path)
    files = {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert files == {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}


def test_small_print_stays_legible_on_a_phone() -> None:
    """No figure is shown so small that its smallest text, of 9 points, falls below 10 pixels: it scrolls instead."""
    for drawn in all_figures(summary_of(BITNET)):
        svg = style.inline_svg(drawn.figure, drawn.title)
        narrowest = float(re.findall(r"min-width: min\((\d+)pt", svg)[0])
        width = float(re.findall(r'width="([\d.]+)pt"', svg)[0])
        assert 9 * narrowest / width * 96 / 72 >= 10
