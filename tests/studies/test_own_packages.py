"""Processes that spikesweep starts find its packages, and nothing that lies in the current folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from studies import own_packages
from studies.own_packages import FOLDER, hidden_packages, safe_children
from tests.conftest import SPIKESWEEP

HOSTILE = "import pathlib; pathlib.Path(__file__ + '.executed').touch(); raise SystemExit('hostile')\n"


@pytest.fixture
def hostile_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files and folders that have the names of ours and of the library's."""
    (tmp_path / "json.py").write_text(HOSTILE)
    (tmp_path / "analysis.py").write_text(HOSTILE)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "__init__.py").write_text(HOSTILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def executed(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("*.executed")]


def test_a_child_ignores_the_current_folder(hostile_folder: Path) -> None:
    """It imports the library's module and our package; without the precaution it would not."""
    command = [sys.executable, "-c", "import json, studies; print(json.__file__, studies.__file__)"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 1
    (hostile_folder / "json.py.executed").unlink()
    with safe_children():
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert found == [sys.modules["json"].__file__, str(FOLDER / "studies" / "__init__.py")]
    assert not executed(hostile_folder)
    assert "PYTHONSAFEPATH" not in os.environ


def test_a_copy_that_was_started_in_its_own_folder_is_what_its_children_find(tmp_path: Path) -> None:
    """``python -m studies`` in a copy of the repository: its processes use that copy, and not the one that is installed."""
    (tmp_path / "studies").mkdir()
    for name in ("__init__.py", "own_packages.py"):
        (tmp_path / "studies" / name).write_text((FOLDER / "studies" / name).read_text())
    ask = "import studies; print(studies.__file__)"
    start = f"""
import subprocess, sys
from studies.own_packages import safe_children
with safe_children():
    subprocess.run([sys.executable, "-c", {ask!r}], check=True)
"""
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", start]
    found = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True, check=True).stdout.strip()
    assert found == str(tmp_path / "studies" / "__init__.py")


@pytest.mark.parametrize("name", ["trainables.py", "analysis/__init__.py"])
def test_what_hides_a_package_is_named_before_anything_runs(name: str, tmp_path: Path) -> None:
    """One problem with the file, exit code 2, and the file is not executed."""
    file = tmp_path / "first" / name
    file.parent.mkdir(parents=True)
    file.write_text(HOSTILE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "first")}
    done = subprocess.run([*SPIKESWEEP, "list"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    package = file.parent if name.endswith("__init__.py") else file
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"Python must find spikesweep's package {name.split('/', maxsplit=1)[0].removesuffix('.py')} first" in done.stderr
    assert f"{package} is found instead" in done.stderr
    assert not executed(tmp_path)


def test_scripts_of_the_analysis_say_what_hides_them(hostile_folder: Path) -> None:
    """One line where ``python -m`` puts a foreign ``studies`` in front; with ``-P``, as documented, nothing is hidden."""
    (hostile_folder / "analysis.py").unlink()
    (hostile_folder / "json.py").unlink()
    script = ["-m", "analysis.ablation_summary", "--help"]
    hidden = subprocess.run([sys.executable, *script], capture_output=True, text=True, check=False)
    assert hidden.returncode == 2
    assert len(hidden.stderr.splitlines()) == 1
    assert f"{hostile_folder / 'studies' / '__init__.py'} is found as spikesweep's package studies: rename it" in hidden.stderr
    subprocess.run([sys.executable, "-P", "-c", "import analysis, studies.run_record"], check=True)
    assert not executed(hostile_folder)


def test_nothing_is_hidden_here() -> None:
    """All four packages are found in one folder, which is that of the tests' own repository."""
    assert hidden_packages() == {}
    assert Path(own_packages.__file__).is_relative_to(FOLDER)


def test_a_deleted_current_folder_is_told(tmp_path: Path) -> None:
    """Before a library fails for want of it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    remove_and_list = f"rmdir {gone} && exec {sys.executable} -P -m studies run quickstart"
    environment = {**os.environ, "PYTHONPATH": str(FOLDER)}
    done = subprocess.run(["sh", "-c", remove_and_list], env=environment, cwd=gone, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "the current folder must exist" in done.stderr
    assert "change to another folder" in done.stderr
