"""A search that begins with what an earlier study has trained, both run as a user runs them."""

import json
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from studies.engine.definition.loading import load_study
from studies.engine.errors import StudyError
from studies.engine.proposing.warm_start import read_warm_start
from tests.conftest import SPIKESWEEP, run

pytestmark = pytest.mark.slow
EARLIER = """
question: What is there?
trainable: response_surface
config: {epochs: 2}
factors: {a: [-1, 0, 1], b: [-1, 0, 1]}
baseline: {a: 0, b: 0}
seeds: 2
"""
LATER = """
question: What is best?
trainable: response_surface
config: {epochs: 2}
factors: {a: {low: -1, high: 1, step: 1}, b: [0, 1]}
design: {name: adaptive_search, num_trials: 20, sampler: random, finalists: 1, warm_start: [earlier]}
seeds: 2
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the earlier study has been run: 5 cells, 2 seeds."""
    folder = tmp_path_factory.mktemp("warm")
    result = run(_write(folder, "earlier", EARLIER))
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def _write(folder: Path, name: str, text: str) -> Path:
    (folder / f"{name}.yaml").write_text(f"{text}storage: {folder / 'results'}\n")
    return folder / f"{name}.yaml"


def test_a_search_begins_with_what_is_known(storage: Path) -> None:
    """The very replicates of the earlier study are learnt from and not trained again; the record says so."""
    later = _write(storage, "later", LATER)
    result = run(later)
    assert result.returncode == 0, result.stdout + result.stderr
    client = MlflowClient(f"sqlite:///{storage / 'results' / 'mlflow.db'}")
    experiments = {name: client.get_experiment_by_name(name).experiment_id for name in ("earlier", "later")}
    runs = {name: client.search_runs([identifier]) for name, identifier in experiments.items()}
    levels = {
        name: [json.loads(found.data.tags["spikesweep.levels"]) for found in of_study if "spikesweep.role" in found.data.tags]
        for name, of_study in runs.items()
    }
    searched = [found for found in runs["later"] if found.data.tags.get("spikesweep.role") == "search"]
    known = {(-1.0, 0.0), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0)}  # (0, -1) is outside
    assert known <= {(cell["a"], cell["b"]) for cell in levels["earlier"]}
    tried = {tuple(json.loads(found.data.tags["spikesweep.levels"]).values()) for found in searched}
    assert tried == {(-1.0, 1.0), (1.0, 1.0)}  # all there is beside
    parent = next(found for found in runs["later"] if found.data.tags["spikesweep.kind"] == "study")
    record = json.loads(Path(client.download_artifacts(parent.info.run_id, "study.json")).read_text())
    notes = " ".join(record["notes"])
    assert "4 are of the seeds that finalists are trained with, and were left out" in notes
    assert "2 are outside of the search space, and were left out" in notes
    assert "The search began with 4 configurations of earlier studies." in notes
    assert "The search ended after 2 trials" in notes
    status = subprocess.run([*SPIKESWEEP, "status", str(later), "--json"], capture_output=True, text=True, check=True)
    assert json.loads(status.stdout)["states"] == {"COMPLETE": 3}


def test_other_replicates_are_left_out(storage: Path) -> None:
    """Runs with another recipe are none of ours, however alike their levels are."""
    longer = load_study(str(_write(storage, "longer", LATER)), ["config.epochs=3"])
    warm = read_warm_start(longer)
    assert warm.configurations == []
    assert warm.notes[1] == "Of the earlier studies' runs 8 have another recipe or other data, and were left out."
    same = read_warm_start(load_study(str(_write(storage, "same", LATER)), ["design.finalists=0"]))
    assert sorted(len(known.metrics) for known in same.configurations) == [2, 2, 2, 2]
    allowed = load_study(str(_write(storage, "allowed", f'{LATER}constraints: ["a < 1"]\n')))
    assert len(read_warm_start(allowed).configurations) == 3


def test_an_unknown_study(tmp_path: Path, storage: Path) -> None:
    """A name that the store does not have, or a study's own, is one problem; nothing is made."""
    result = run(_write(tmp_path, "later", LATER))
    assert result.returncode == 2
    assert "warm_start must name studies that this MLflow store has" in result.stderr
    assert "Traceback" not in result.stderr
    assert {path.name for path in (tmp_path / "results").glob("*")} <= {"ledgers"}
    for name, rule in (("earlyer", "must name studies that this MLflow store has"), ("other", "must name other studies")):
        study = load_study(str(_write(storage, "other", LATER)), [f"design.warm_start=[{name}]"])
        with pytest.raises(StudyError) as caught:
            read_warm_start(study)
        assert rule in caught.value.problems[0].rule
