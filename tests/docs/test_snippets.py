"""What the documentation says works: links, studies, commands, Python."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from studies.cli import app
from tests.conftest import SPIKESWEEP
from tests.docs.snippets import DOCS, DOCUMENTS, GENERATED, ROOT, anchors, blocks, commands, links

STUDIES = [
    (document, number)
    for document in DOCUMENTS
    if document.name not in GENERATED
    for number, block in enumerate(blocks(document, "yaml"))
    if "question:" in block
]
TUTORIAL = DOCS / "tutorial.md"


@pytest.fixture
def my_images(tmp_path: Path) -> None:
    """What the studies of the documentation call my_images.npz."""
    images, labels = np.zeros((40, 8, 8, 1), dtype=np.uint8), np.arange(40) % 2
    np.savez(tmp_path / "my_images.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Each link leads to a file that exists, and to one of its headings."""
    for path, anchor in links(document):
        target = (document.parent / path) if path else document
        assert target.exists(), (document.name, path)
        assert not anchor or anchor in anchors(target), (document.name, path, anchor)


@pytest.mark.usefixtures("my_images")
@pytest.mark.parametrize(("document", "number"), STUDIES, ids=lambda value: getattr(value, "stem", value))
def test_studies_are_valid(document: Path, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`spikesweep check` accepts every study of the documentation."""
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(blocks(document, "yaml")[number])
    result = CliRunner().invoke(app, ["check", "study.yaml", "--no-timing"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if document.name not in GENERATED], ids=lambda d: d.name)
def test_commands_exist(document: Path) -> None:
    """Each command and option of spikesweep that a shell block, a table or a sentence shows is one."""
    group = typer.main.get_command(app)
    known = {name: {opt for param in command.params for opt in param.opts} for name, command in group.commands.items()}  # type: ignore[attr-defined]
    shown = [*commands(document), *re.findall(r"`(spikesweep [a-z][^`]*)`", document.read_text())]
    for line in shown:
        words = shlex.split(line.replace("…", ""))
        if words[:1] == ["spikesweep"] and document.name != "log.md":
            assert words[1] in known, line
            assert {word for word in words if word.startswith("--")} <= known[words[1]] | {"--help"}, line


def test_modules_that_are_run_exist() -> None:
    """Each `python -m MODULE` of the documentation is a module."""
    for document in DOCUMENTS:
        for module in re.findall(r"python -m ((?:analysis|tests|docs|studies)[\w.]*)", document.read_text()):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), (document.name, module)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_files_that_are_named_exist(document: Path) -> None:
    """Each path of a source file in back-ticks exists, also when it is given by its last parts."""
    if document.name in ("log.md", "CHANGELOG.md", "changes.md"):
        return
    files = {f"/{path.relative_to(ROOT)}" for path in ROOT.rglob("*.py") if ".venv" not in path.parts}
    for name in re.findall(r"`([\w/]+\.py)`", document.read_text()):
        assert name.startswith("my_") or any(file.endswith(f"/{name}") for file in files), (document.name, name)


def test_python_is_python() -> None:
    """Each Python block can be parsed."""
    for document in DOCUMENTS:
        for block in blocks(document, "python"):
            ast.parse(block)


@pytest.mark.slow
def test_the_tutorial_works(tmp_path: Path) -> None:
    """The tutorial's Python, its study and its commands, in their order; `ui` has no end and `submit` needs a cluster."""
    (program,) = blocks(TUTORIAL, "python")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    (study,) = blocks(TUTORIAL, "yaml")
    (tmp_path / "my_first.yaml").write_text(study)
    assert yaml.safe_load(study)["seeds"] == 3
    for command in commands(TUTORIAL):
        words = shlex.split(command)[1:]
        if words[0] not in ("ui", "submit"):
            result = subprocess.run([*SPIKESWEEP, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert result.returncode == 0, (command, result.stdout, result.stderr)
    assert (tmp_path / "results/reports/my_first/summary.html").exists()
    status = [*SPIKESWEEP, "status", "my_first.yaml", "--set", "seeds=8"]
    assert "24 complete" in subprocess.run(status, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
