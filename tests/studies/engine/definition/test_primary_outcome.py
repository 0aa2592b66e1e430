"""The primary outcome of a study: which metrics it may be, what it is unless said, and that it changes no replicate."""

import json
from pathlib import Path

import pytest

from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.errors import StudyError
from studies.engine.recording.study_record import study_record
from studies.run_record import StudyRecord

COMPARING = """\
question: Which?
trainable: response_surface
baseline: {a: 0}
factors: {a: [-1, 0, 1]}
seeds: 3
"""
RANDOM = """\
question: Which?
trainable: response_surface
factors: {a: [-1, 0, 1], b: [0, 1]}
design: {name: random, num_cells: 3}
seeds: 3
"""
SEARCH = """\
question: Which?
trainable: response_surface
factors: {a: {low: -1, high: 1}}
design: {name: adaptive_search, num_trials: 4, objectives: {sparsity/overall: maximize, val/accuracy: maximize}}
seeds: 3
"""


def loaded(tmp_path: Path, text: str, primary: str | None = None) -> Study:
    path = tmp_path / "s.yaml"
    path.write_text(text + (f"primary_outcome: {primary}\n" if primary else ""))
    return load_study(str(path), [f"storage={tmp_path}"])


@pytest.mark.parametrize(
    ("primary", "objectives"),
    [
        (None, {"val/accuracy": "maximize", "sparsity/overall": "maximize"}),
        ("val/accuracy", {"val/accuracy": "maximize", "sparsity/overall": "maximize"}),
        ("sparsity/overall", {"sparsity/overall": "maximize", "val/accuracy": "maximize"}),
        ("test/accuracy", {"test/accuracy": "maximize", "val/accuracy": "maximize"}),
        ("ops/energy_pj", {"ops/energy_pj": "minimize", "val/accuracy": "maximize"}),
    ],
)
def test_it_is_the_first_that_a_study_is_judged_on(primary: str | None, objectives: dict[str, str], tmp_path: Path) -> None:
    """The record has it first, with its direction; accuracy is beside it, and it is accuracy unless the file says otherwise."""
    study = loaded(tmp_path, COMPARING, primary)
    record = StudyRecord.from_json(json.dumps(study_record(study, study.replicates, []).as_dict()))
    assert list(record.objectives.items()) == list(objectives.items())


def test_it_changes_no_replicate(tmp_path: Path) -> None:
    """The replicates of a study have the same identities whatever it is about."""
    identities = {
        primary: [replicate.identity for replicate in loaded(tmp_path, COMPARING, primary).replicates]
        for primary in (None, "test/accuracy", "ops/energy_pj")
    }
    assert identities[None] == identities["test/accuracy"] == identities["ops/energy_pj"]


@pytest.mark.parametrize(
    ("text", "primary", "rule", "repair"),
    [
        (COMPARING, "val/acuracy", "a metric that trainables report", "did you mean val/accuracy? possible: val/accuracy, "),
        (COMPARING, "energy_pj", "a metric that trainables report", "ops/energy_pj"),
        (COMPARING, "3", "must be text", "The metric that the study is about"),
        (RANDOM, "test/accuracy", "must not select on the test images", "write val/accuracy"),
        (SEARCH, "val/accuracy", "its first objective", "write sparsity/overall, or leave it out"),
    ],
)
def test_what_it_may_not_be(text: str, primary: str, rule: str, repair: str, tmp_path: Path) -> None:
    """Another name, or one that would select on the test images or is not what a search is judged on first, is one problem."""
    with pytest.raises(StudyError) as caught:
        loaded(tmp_path, text, primary)
    (problem,) = caught.value.problems
    assert problem.path == "primary_outcome"
    assert rule in problem.rule
    assert repair in problem.repair


def test_a_search_has_its_first_objective(tmp_path: Path) -> None:
    """It may be said, too."""
    for primary in (None, "sparsity/overall"):
        assert next(iter(loaded(tmp_path, SEARCH, primary).objectives)) == "sparsity/overall"
    assert next(iter(loaded(tmp_path, RANDOM, "ops/dense_operations").objectives)) == "ops/dense_operations"
