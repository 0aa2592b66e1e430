"""``--json``: every command that has it prints one JSON object with the keys that its help names."""

import enum
import inspect
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analysis.records.loading import load_recorded_study
from studies.cli import COMMANDS, app
from studies.commands.options import print_json
from tests.conftest import run

STUDY = """\
question: Does a matter?
trainable: response_surface
config: {epochs: 2}
baseline: {a: 0}
factors: {a: [0, 1]}
seeds: 6
"""
WITH_JSON = [name for name, command in COMMANDS.items() if "as_json" in inspect.signature(command).parameters]


@dataclass(frozen=True)
class Ran:
    """A study that was run with ``--json``: its file, its storage, what was printed."""

    file: Path
    storage: Path
    printed: str

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.storage / 'mlflow.db'}"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("json")
    file = folder / "surface.yaml"
    file.write_text(STUDY)
    result = run(file, "--storage", str(folder / "results"), "--json")
    assert result.returncode == 0, result.stderr
    return Ran(file, folder / "results", result.stdout)


def printed(ran: Ran, name: str) -> str:
    """What a command prints with ``--json``."""
    if name == "run":
        return ran.printed
    study, archive = str(ran.file), str(ran.storage.parent / "surface.zip")
    storage = ["--storage", str(ran.storage)]
    before = shutil.copy(ran.storage / "mlflow.db", ran.storage.parent / "before.db")
    if name == "import" and not Path(archive).exists():
        printed(ran, "export")
    arguments = {
        "list": storage,
        "compare": [study, study, *storage, "--other-uri", f"sqlite:///{before}"],
        "reproduce": [load_recorded_study("surface", ran.uri).runs[0].run_id, *storage],
        "export": [study, archive, *storage, "--force"],
        "import": [archive, "--storage", str(ran.storage.parent / "elsewhere")],
    }
    result = CliRunner().invoke(app, [name, *arguments.get(name, [study, *storage]), "--json"])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("name", WITH_JSON)
def test_json_has_the_keys_that_help_names(name: str, ran: Ran) -> None:
    """All of them, in this order, and no other; nothing else is on standard output; numbers that JSON lacks are null."""

    def refuse(constant: str) -> Any:
        pytest.fail(f"{constant} is no JSON")

    content = json.loads(printed(ran, name), parse_constant=refuse)
    (keys,) = re.findall(r"With --json: (.*?)\.\n", f"{COMMANDS[name].__doc__}", re.DOTALL)
    assert list(content) == re.split(r",\s+", re.sub(r" \(.*?\)", "", keys, flags=re.DOTALL))


def test_commands_without_json_are_those_that_find_nothing_out() -> None:
    """All but three: submit starts a job, ui a server; what schema prints is JSON as it is."""
    assert set(COMMANDS) - set(WITH_JSON) == {"submit", "ui", "schema"}


def test_one_function_renders_all_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    """Dataclasses, mappings with any keys, tuples, enums, paths; numbers that JSON has not are null."""

    class State(enum.Enum):
        COMPLETE = 1

    @dataclass(frozen=True)
    class Found:
        state: State
        where: Path
        values: tuple[float, ...]

    print_json({1: Found(State.COMPLETE, Path("here"), (0.5, float("nan"), float("inf"))), "flag": True, "none": None})
    assert json.loads(capsys.readouterr().out) == {
        "1": {"state": "COMPLETE", "where": "here", "values": [0.5, None, None]},
        "flag": True,
        "none": None,
    }
