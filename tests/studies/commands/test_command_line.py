"""What all commands share: help that fits, the version, completion, and one way to tell what is wrong."""

import importlib.metadata
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner
from typer.utils import get_params_from_function

from studies.cli import COMMANDS, app
from studies.engine.definition.locations import shipped_studies
from tests.conftest import SPIKESWEEP

NARROW = {"COLUMNS": "80", "TERMINAL_WIDTH": "80"}


def said(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(app, arguments, env={**NARROW, **environment}, prog_name="spikesweep")
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_summary_fits_on_its_line() -> None:
    """At 80 columns `spikesweep --help` has a line for every command, none of them cut."""
    text = said("--help")
    assert "…" not in text
    assert "..." not in text.partition("Commands:")[2]
    lines = text.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    for line in lines:
        name, summary = line.split(maxsplit=1)
        assert len(line) <= 80
        assert (COMMANDS[name].__doc__ or "").startswith(f"{summary}\n"), summary


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_a_command_needs(name: str) -> None:
    """Every command says what it is for, and has an example on a line of its own; every option says what it is."""
    text = said(name, "--help")
    lines = [line.strip() for line in text.splitlines()]
    assert f"Usage: spikesweep {name}" in text
    assert max(map(len, text.splitlines())) <= 80
    (example,) = [line for line in lines if line.startswith("Example: ")]
    assert example.startswith(f"Example: spikesweep {name} ")
    assert lines[lines.index(example) + 1] == ""  # it fits on its line
    for parameter in get_params_from_function(COMMANDS[name]).values():
        assert parameter.default.help, parameter.name


def test_the_name_of_reproduce_before() -> None:
    """`trial` is a hidden alias of `reproduce`."""
    assert "trial" not in said("--help").partition("Commands:")[2]
    assert said("trial", "--help").partition("[OPTIONS]")[2] == said("reproduce", "--help").partition("[OPTIONS]")[2]


def test_the_version_is_that_of_the_package() -> None:
    """`--version` prints it and ends."""
    assert said("--version") == f"spikesweep {importlib.metadata.version('spikesweep')}\n"


def test_python_m_studies_is_spikesweep() -> None:
    """Whichever way it is called, its name is spikesweep."""
    text = subprocess.run([*SPIKESWEEP, "--help"], capture_output=True, text=True, check=True).stdout
    assert text.startswith("Usage: spikesweep [OPTIONS] COMMAND [ARGS]...")


def completions(words: str, folder: Path) -> list[str]:
    """What a shell would offer for the last of these words, and no library that takes seconds is imported for it."""
    code = (
        "import sys; from studies.cli import app\n"
        "try: app(prog_name='spikesweep')\n"
        "finally: print(*{'torch', 'ray', 'mlflow', 'optuna'} & set(sys.modules), file=sys.stderr)"
    )
    environment = {**os.environ, "_SPIKESWEEP_COMPLETE": "complete_bash", "COMP_WORDS": words}
    environment |= {"COMP_CWORD": str(len(words.split(" ")) - 1), "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert result.stderr.strip() == "", result.stderr
    return result.stdout.split()


def test_studies_are_completed(tmp_path: Path) -> None:
    """Names of shipped studies and YAML files, here or in the folder that is being typed; commands, too."""
    for file in ("mine.yaml", "notes.txt", "deeper/other.yaml"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("question: Which?\n")
    assert completions("spikesweep check ", tmp_path) == [*shipped_studies(), "mine.yaml"]
    assert completions("spikesweep run quick", tmp_path) == ["quickstart"]
    assert completions("spikesweep status mi", tmp_path) == ["mine.yaml"]
    assert completions("spikesweep ui deeper/", tmp_path) == ["deeper/other.yaml"]
    assert completions("spikesweep compare quickstart surface_f", tmp_path) == ["surface_factorial"]
    assert completions("spikesweep repo", tmp_path) == ["report"]
    assert completions("spikesweep report nothing/that/is", tmp_path) == []


def test_completion_can_be_installed() -> None:
    """The script of the shell that asks for it is shown; there is one, whatever these tests were started by."""
    from_bash = ["bash", "-c", f"{shlex.join([*SPIKESWEEP, '--show-completion'])}; exit"]
    result = subprocess.run(from_bash, capture_output=True, text=True, check=False, env={**os.environ, **NARROW})
    assert "_SPIKESWEEP_COMPLETE=complete_bash" in result.stdout
