"""``spikesweep list``: a line for every study, with its progress, at any width."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from studies.cli import app
from studies.commands import options
from studies.commands.checking.forecast import num_planned
from studies.engine.definition.loading import load_study
from studies.engine.definition.locations import shipped_studies
from studies.engine.definition.lookup import find_study
from studies.engine.definition.replicate_counts import num_replicates
from tests.conftest import run

MINE = """\
question: Does a matter?
trainable: response_surface
baseline: {a: 0}
factors: {a: [0, 1]}
seeds: 3
"""
WITH_OWN_DATA = [
    "bitnet_cifar10",
    "bitnet_steps_width_pools",
    "cifar10_recipe_parts",
    "cifar10_ten_minutes",
    "converted_steps_width_pools",
    "few_steps_cifar10",
    "sengupta_resnet",
    "training_steps",
    "training_steps_recipe",
]
"""Studies of images that have to be downloaded."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(width: int, *arguments: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options.out, "_width", width)
        script = CliRunner().invoke(app, ["list", *arguments])
    assert script.exit_code == 0, script.output
    return script.stdout


@pytest.mark.parametrize("width", [40, 80, 100, 140])
def test_a_line_for_every_study(width: int) -> None:
    """At any width each shipped study has one line, with its whole name and its progress; more where there is room."""
    lines = [line.rstrip() for line in listed(width).splitlines()]
    assert [line.split()[0] for line in lines] == ["study", *shipped_studies()]
    assert max(map(len, lines)) <= width
    (quickstart,) = [line for line in lines if line.startswith("quickstart")]
    assert quickstart.split()[1] == "0/80"
    assert ("one at a time  Which of time" in quickstart) is (width in (80, 100))
    assert ("bitnet" in quickstart and "trainable" in lines[0]) is (width == 140)
    assert ("question" in lines[0]) is (width >= 80)


def test_files_of_this_folder_are_listed(folder: Path) -> None:
    """A YAML file that asks a question is a study; one that is wrong says how to see why; others are left out."""
    (folder / "mine.yaml").write_text(MINE)
    (folder / "wrong.yaml").write_text(MINE + "seedz: 3\n")
    (folder / "broken.yaml").write_text("question: {")
    (folder / "compose.yaml").write_text("services: {}\n")
    lines = [line.split(maxsplit=2) for line in listed(140).splitlines()[len(shipped_studies()) + 1 :]]
    assert [line[:2] for line in lines] == [["mine.yaml", "0/6"], ["wrong.yaml", "0/?"]]
    assert "spikesweep check wrong.yaml" in lines[1][2]


def test_a_study_with_a_wrong_ledger_hides_no_other(folder: Path) -> None:
    """Its line says how to see why, and the file that it names as its ledger stays as it is."""
    (folder / "token").write_text("a token without a line end")
    (folder / "mine.yaml").write_text(MINE)
    (folder / "other.yaml").write_text(MINE + "ledger: token\n")
    lines = listed(140).splitlines()
    assert any(line.startswith("mine.yaml") and "0/6" in line for line in lines)
    assert any(line.startswith("other.yaml") and "spikesweep status other.yaml" in line for line in lines)
    assert (folder / "token").read_text() == "a token without a line end"


@pytest.mark.parametrize("name", [name for name in shipped_studies() if name not in WITH_OWN_DATA])
def test_the_number_of_replicates_is_the_true_one(name: str) -> None:
    """What is counted without the trainable and the data is what a study will train."""
    study = load_study(name, ())
    assert num_replicates(find_study(name)[0]) == num_planned(study)


@pytest.mark.slow
def test_progress_is_that_of_the_ledger(folder: Path) -> None:
    """Of a file here, and of a study whose file is not; --json has all of it."""
    (folder / "mine.yaml").write_text(MINE)
    assert run(folder / "mine.yaml", "--storage", "results", "--set", "name=renamed").returncode == 0
    (line,) = [line for line in listed(80).splitlines() if line.startswith("renamed")]
    assert line.split() == ["renamed", "6/6"]
    content = json.loads(listed(80, "--json"))
    assert content["presets"]["bitnet"]["BITnet6"]["layout"]
    (mine,) = [each for each in content["studies"] if each["study"] == "mine.yaml"]
    assert mine == {
        "study": "mine.yaml",
        "question": "Does a matter?",
        "design": "one_factor_at_a_time",
        "trainables": ["response_surface"],
        "num_replicates": 6,
        "at_most": False,
        "states": {},
    }
    (renamed,) = [each for each in content["studies"] if each["study"] == "renamed"]
    assert (renamed["num_replicates"], renamed["states"]) == (6, {"COMPLETE": 6})


@pytest.mark.slow
def test_replicates_of_earlier_versions_are_not_counted(folder: Path) -> None:
    """After a run with more seeds, a run with fewer is whole with its own replicates."""
    (folder / "mine.yaml").write_text(MINE)
    for seeds in (4, 2):
        assert run(folder / "mine.yaml", "--set", f"seeds={seeds}", "--set", "name=mine").returncode == 0
    (mine,) = [each for each in json.loads(listed(80, "--json"))["studies"] if each["states"]]
    assert mine["states"] == {"COMPLETE": 4}


def test_presets_are_listed() -> None:
    """Those of every trainable, with where they are from."""
    lines = [line.strip() for line in listed(80, "--presets").splitlines()]
    assert "BITnet6, BITnet6 Max" in lines[lines.index("bitnet") :]
    assert "The networks of the BITnet README (P. Reddy), with its neuron, start and" in lines
