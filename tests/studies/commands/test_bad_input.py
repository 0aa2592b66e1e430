"""Whatever is wrong with the input: one clear problem, exit code 2, no traceback, and nothing made."""

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from studies.cli import app
from tests.conftest import SPIKESWEEP, run

STUDY = """\
question: Does a matter?
trainable: response_surface
baseline: {a: 0}
factors: {a: [0, 1]}
seeds: 2
"""

WRONG: list[tuple[Sequence[str], str]] = [
    (["frobnicate"], "No such command 'frobnicate'"),
    (["run"], "Missing argument 'STUDY'"),
    (["submit", "quickstart"], "Missing option '--address'"),
    (["check", "quickstart", "--frob"], "No such option: --frob"),
    (["check", "quickstart", "--num-cpus", "0"], "Invalid value for '--num-cpus'"),
    (["ui", "quickstart", "--port", "99999999"], "Invalid value for '--port'"),
    (["check", "nothing"], "STUDY must be a study file or the name of a shipped study"),
    (["status", "nothing"], "STUDY must be a study file or the name of a shipped study"),
    (["report", "nothing"], "report needs a study that MLflow has"),
    (["export", "nothing", "new.zip"], "export needs a study that MLflow has"),
    (["compare", "nothing", "quickstart"], "compare needs a study that MLflow has"),
    (["compare", "quickstart", "quickstart"], "STUDY must be two studies, or one in two stores"),
    (["ui", "nothing"], "ui needs a study that MLflow has"),
    (["reproduce", "nobody"], "the tracking store must be there"),
    (["import", "nothing.zip"], "FILE must be an archive that spikesweep exported"),
    (["check", "mine.yaml", "--set", "nonsense"], "an override must read path=value"),
    (["check", "mine.yaml", "--set", "seeds=["], "the value must be YAML"),
    (["check", "mine.yaml", "--set", "seedz=3"], "a key must be one that a study file has"),
    (["check", "mine.yaml", "--storage", "mine.yaml"], "storage must be a folder"),
    (["list", "--storage", "mine.yaml"], "storage must be a folder"),
    (["status", "mine.yaml", "--storage", "mine.yaml"], "storage must be a folder"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a study's file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(STUDY)
    return tmp_path


@pytest.mark.parametrize(("arguments", "told"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_one_clear_problem(arguments: Sequence[str], told: str, folder: Path) -> None:
    """Exit code 2; the problem is named on standard error, and nothing stands on standard output."""
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "40"})
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert sorted(folder.iterdir()) == [folder / "mine.yaml"]


@pytest.mark.slow
def test_what_cannot_be_listened_on_or_written(folder: Path) -> None:
    """A port that is taken, said before the server starts; files of reports and archives."""
    (folder / "results").mkdir()
    assert run(folder / "mine.yaml").returncode == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["ui", "mine.yaml", "--port", port])
    assert result.exit_code == 2, result.output
    assert "--port must be free on --host" in result.stderr
    store = f"sqlite:///{folder / 'results/mlflow.db'}"
    (folder / "file").touch()
    for command in (["report", "mine"], ["compare", "mine", "other", "--other-uri", store]):
        missing = CliRunner().invoke(app, [*command, "--storage", "file", "--tracking-uri", store])
        assert missing.exit_code == 2, missing.output
        assert "Traceback" not in missing.output
    exported = CliRunner().invoke(app, ["export", "mine.yaml", "file/new.zip"])
    assert exported.exit_code == 2
    assert "FILE must be one that can be written" in exported.stderr
    (folder / "results/reports/mine").rename(folder / "results/reports/before")
    (folder / "results/reports/mine").touch()
    report = CliRunner().invoke(app, ["report", "mine.yaml"])
    assert report.exit_code == 2, report.output
    assert "the storage must be a folder that can be written" in report.stderr


@pytest.mark.usefixtures("folder")
def test_a_terminal_that_lacks_characters() -> None:
    """Piped into a program that takes ASCII alone, × is a question mark."""
    command = [*SPIKESWEEP, "check", "mine.yaml", "--no-timing"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "60"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    assert "2 cells ? 2 seeds" in result.stdout


def test_a_problem_is_told_once(folder: Path) -> None:
    """With its place in the file, where reading the study and looking at its stores both find it."""
    (folder / "mine.yaml").write_text(STUDY + "storage: s3://bucket/folder\n")
    result = CliRunner().invoke(app, ["check", "mine.yaml"])
    assert result.exit_code == 2
    assert result.stderr.count("ledger must be given") == 1
    assert "2 problems" in result.stderr
    assert "mine.yaml:1" in result.stderr
