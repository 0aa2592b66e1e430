"""Designs through the real engine: several trainables with tuned learning rates, and a factorial whose truth is known."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.conftest import Start, run, wait_for
from tests.studies.stage import list_ledger
from trainables.response_surface import Config, expected_accuracy


@pytest.fixture
def trainables_study(tiny_study: Path, tiny_npz: Path) -> Path:
    """Three trainables, a condition, and a learning rate that is tuned for each of the 4 cells: 8 + 8 replicates."""
    tiny_study.write_text(
        f"""\
question: Which trainable?
config: {{data: {tiny_npz}, validation_fraction: 0.25, epochs: 2, batch_size: 32, layout: 4 M 4, calibration_images: 16}}
baseline: {{trainable: ann, time_steps: 4}}
factors:
  trainable: [ann, bitnet, converted_snn]
  time_steps: {{levels: [2, 4], when: {{trainable: bitnet}}}}
tuning: {{parameters: {{lr: [0.002, 0.01]}}, num_trials: 2}}
seeds: 2
log_models: false
storage: {tiny_study.parent / "results"}
"""
    )
    return tiny_study


@pytest.mark.slow
def test_several_trainables_each_tuned(trainables_study: Path, start: Start) -> None:
    """kill -9 while it tunes: the next run tunes on; every cell is trained with the values that were best in it, on equal
    budget, and what is one network (an analogue cell, a conversion's source network) is trained once."""
    storage = trainables_study.parent / "results"
    driver = start(trainables_study)
    wait_for(storage, "checkpoints/*/reports.json", 3, driver)
    driver.kill()
    driver.wait()
    finished = {file: file.stat().st_mtime_ns for file in storage.glob("checkpoints/*/reports.json")}
    last = run(trainables_study)
    assert last.returncode == 0, last.stdout + last.stderr
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert list_ledger(str(storage / "ledgers" / "tiny.journal")) == {"tiny": {"COMPLETE": 16}}

    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    children = [found.data for found in runs if "mlflow.parentRunId" in found.data.tags]
    assert Counter((child.tags["spikesweep.role"], child.tags["spikesweep.trainable"]) for child in children) == {
        (role, trainable): num
        for role in ("tuning", "cell")
        for trainable, num in (("ann", 2), ("bitnet", 4), ("converted_snn", 2))
    }
    tuning = [child for child in children if child.tags["spikesweep.role"] == "tuning"]
    assert {child.tags["spikesweep.seed"] for child in tuning} == {"1000"}
    for child in children:
        of_cell = [other for other in tuning if other.tags["spikesweep.levels"] == child.tags["spikesweep.levels"]]
        best = max(other.metrics["val/accuracy"] for other in of_cell)
        values = [other.params["lr"] for other in of_cell if other.metrics["val/accuracy"] == best]
        assert child.tags["spikesweep.role"] == "tuning" or child.params["lr"] in values
    networks = {child.tags.get("spikesweep.parent", child.tags["spikesweep.identity"]) for child in children}
    trained = {path.parent.name for path in storage.glob("checkpoints/*/weights.pt")}
    assert trained == {name for name in networks if (storage / "checkpoints" / name / "weights.pt").exists()}
    assert "Tuned" in last.stdout


@pytest.mark.slow
def test_a_factorial_finds_what_is_there(tmp_path: Path) -> None:
    """The main effects of a half fraction on the response surface are the surface's own, and its aliases are told."""
    study = tmp_path / "half.yaml"
    study.write_text(
        f"""\
question: Which of five factors matter?
trainable: response_surface
baseline: {{a: -1, b: -1, c: -1, d: -1, h: -1}}
factors: {{a: [-1, 1], b: [-1, 1], c: [-1, 1], d: [-1, 1], h: [-1, 1]}}
design: {{name: fractional_factorial, resolution: 5}}
seeds: 10
storage: {tmp_path / "results"}
"""
    )
    result = run(study)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Resolution 5" in result.stdout
    rows = list(csv.DictReader((tmp_path / "results/reports/half/effects.csv").open()))
    for row in rows:
        if row["outcome"] != "val/accuracy" or row["is_baseline"] == "True":
            continue
        ends: list[dict[str, Any]] = [{row["factor"]: value} for value in (-1.0, 1.0)]
        low, high = (expected_accuracy(Config(**end)) for end in ends)
        assert float(row["difference_low"]) - 0.003 < high - low < float(row["difference_high"]) + 0.003
        assert row["verdict"] == ("undecided" if row["factor"] == "h" else "higher")
    record = json.loads(next((tmp_path / "results/artifacts").rglob("study.json")).read_text())
    assert len(record["replicates"]) == 160
