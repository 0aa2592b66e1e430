"""What commands print of a study whose texts would act on a terminal: nothing of it acts."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from studies.cli import app
from studies.engine.definition.loading import load_study
from studies.engine.execution.progress import Progress
from studies.engine.ledger.ledger import open_ledger
from tests.hostile_texts import acting

QUESTION = "Does \x1b[31ma\x1b[0m matter?\nThe study is valid.\u202e [red]x[/red] :bug:"
SHOWN = r"Does \x1b[31ma\x1b[0m matter?\nThe study is valid.\u202e [red]x[/red] :bug:"
REASON = "TrainingError: \x1b]0;title\x07\nfailed: nothing"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study file in a folder of its own, the working one, whose question would act."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "hostile.yaml"
    file.write_text(
        f"question: {json.dumps(QUESTION)}\ntrainable: response_surface\nbaseline: {{a: 0}}\nfactors: {{a: [0, 1]}}\nseeds: 2\n"
    )
    return file


def said(*arguments: str) -> Result:
    """What a command prints, on a wide terminal; none of it acts."""
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert acting(result.output) == []
    return result


def test_check_and_list_show_escapes(study: Path) -> None:
    """The question is one line, in which every character can be seen."""
    assert SHOWN in said("check", str(study), "--no-timing").stdout.splitlines()
    assert said("check", str(study), "--no-timing").stdout.splitlines().count("The study is valid.") == 1
    assert SHOWN[:20] in said("list").stdout  # as much as a narrow terminal shows


def test_reasons_of_failures_are_one_line(study: Path) -> None:
    """Whatever an exception says."""
    loaded = load_study(str(study))
    ledger = open_ledger(loaded.stores.ledger, loaded.stores.name, loaded.space)
    ledger.begin(loaded.replicates[0])
    ledger.fail(loaded.replicates[0].identity, REASON)
    lines = [line for line in said("status", str(study)).stdout.splitlines() if line.startswith("failed: ")]
    assert lines == [r"failed: a=0 · seed 0: TrainingError: \x1b]0;title\x07\nfailed: nothing"]


@pytest.mark.parametrize("override", ["trainable=\x1b[2Jx", "config.\x1b[31mfield=1", "design=a\u202eb", "storage=\x1bx?"])
def test_problems_show_escapes(override: str, study: Path) -> None:
    """Of values, and of names in the place of a problem."""
    result = said("check", str(study), "--set", override)
    assert result.exit_code == 2
    assert r"\x1b" in result.stderr or r"\u202e" in result.stderr


def test_progress_is_one_line() -> None:
    """Also where the best replicate has a title of several."""
    progress = Progress(2)
    progress.consider("a=\x1b[1m\nb", {"val/accuracy": 0.5})
    assert acting(progress.line()) == []
    assert "\n" not in progress.line()
