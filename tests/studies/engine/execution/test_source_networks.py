"""Trained source networks: who runs when, what is written down, and that nothing is trained twice."""

import dataclasses
import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from optuna.trial import TrialState

from studies.engine.binding.replicates import Replicate, SourceNetwork
from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.execution.controller import checkpoint_folder
from studies.engine.execution.runner import num_trained_source_networks
from studies.engine.execution.worker import FAILED
from tests.conftest import PATIENCE_S, SPIKESWEEP, Start, run, wait_for
from tests.studies.stage import Stage, last_report, list_ledger
from trainables import ann
from trainables.data.datasets import prepare
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.epoch_report import EpochReport


def source_of_seed(seed: int) -> SourceNetwork:
    return SourceNetwork(
        identity=f"source{seed}",
        trainable="ann",
        recipe=ann.Config(data="digits"),
        seed=seed,
        data_digest="",
        title=f"source network ann · seed {seed}",
    )


@pytest.fixture
def study(tiny_study: Path) -> Study:
    """3 cells x 2 seeds; the replicates of a seed have one source network."""
    plain = load_study(str(tiny_study))
    return asking_for(plain, [dataclasses.replace(r, source_network=source_of_seed(r.seed)) for r in plain.replicates])


def asking_for(study: Study, replicates: Sequence[Replicate]) -> Study:
    """The study as if its cells and seeds made these replicates."""
    changed = dataclasses.replace(study)
    changed.__dict__["replicates"] = tuple(replicates)
    return changed


def test_children_are_held_back_while_their_source_network_trains(study: Study) -> None:
    """Source networks go first, once each; their children are not begun and take no worker; nothing is over meanwhile."""
    stage = Stage(study)
    identities = [replicate.identity for replicate in study.replicates]
    assert [stage.begin() for _ in range(4)] == ["source0", "source1", None, None]
    assert stage.controller.is_waiting()
    assert stage.states() == {}
    assert stage.progress.running == {"source0": "source network ann · seed 0", "source1": "source network ann · seed 1"}
    stage.end("source1")
    assert stage.begin() == identities[3]
    stage.end("source0")
    assert [stage.begin() for _ in range(6)] == [identities[i] for i in (0, 1, 2, 4, 5)] + [None]
    for identity in identities:
        stage.end(identity)
    assert not stage.controller.is_waiting()
    assert stage.tracker.close(60) == []
    assert list_ledger(study.stores.ledger) == {"tiny": {"COMPLETE": 6}}
    assert (stage.progress.num_done, stage.progress.running) == (6, {})


def test_what_mlflow_knows_of_source_networks_and_facts(study: Study) -> None:
    """A replicate run names its source network; the facts of its last report are tags; the source network has no run of its
    own."""
    stage = Stage(study)
    stage.end(stage.begin())
    stage.end(stage.begin())
    stage.end(stage.begin())
    assert stage.tracker.close(60) == []
    client = MlflowClient(study.stores.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert sorted(run.data.tags["spikesweep.parent"] for run in children) == ["source0", "source0"]
    assert [run.data.tags["spikesweep.calibration"] for run in children] == ["abc", "abc"]


def test_a_trained_source_network_is_not_trained_again(study: Study) -> None:
    """Its folder says so, whoever trained it; a damaged one counts as not trained."""
    for seed in (0, 1):
        CheckpointFolder(checkpoint_folder(study, f"source{seed}")).finish([last_report()], {})
    assert num_trained_source_networks(study) == len(study.source_networks) == 2
    Path(checkpoint_folder(study, "source0"), "weights.pt").write_bytes(b"")
    assert num_trained_source_networks(study) == 1
    stage = Stage(study)
    assert [stage.begin() for _ in range(4)] == ["source0", *(replicate.identity for replicate in study.replicates[3:])]
    assert stage.begin() is None
    assert stage.controller.is_waiting()


def test_a_failing_source_network_fails_its_children_alone(study: Study) -> None:
    """They are FAILED with the reason, in the ledger and in MLflow; those of another source network go on."""
    stage = Stage(study)
    assert (stage.begin(), stage.begin()) == ("source0", "source1")
    stage.controller.failed("source0", FAILED, "TrainingError: epoch 1: broken", "Traceback …")
    assert stage.begin() is None
    assert stage.controller.is_waiting()
    stage.end("source1")
    for _ in range(3):
        stage.end(stage.begin())
    assert stage.begin() is None
    assert not stage.controller.is_waiting()
    assert stage.tracker.close(60) == []
    assert list_ledger(study.stores.ledger) == {"tiny": {"FAIL": 3, "COMPLETE": 3}}
    reasons = {entry.reason for entry in stage.ledger.entries().values() if entry.state == TrialState.FAIL}
    assert reasons == {"its source network failed: TrainingError: epoch 1: broken"}
    assert sorted(stage.tracker.statuses().values()) == ["FAILED"] * 3 + ["FINISHED"] * 3
    assert (stage.progress.num_done, stage.progress.num_failed) == (3, 3)


def test_an_interrupt_while_a_source_network_trains(study: Study) -> None:
    """Leaving is no trouble; another driver hands the source network out again, and takes up the children that were running."""
    stage = Stage(study)
    stage.end(stage.begin())
    assert (stage.begin(), stage.begin()) == (study.replicates[0].identity, study.replicates[1].identity)
    stage.controller.close()
    assert stage.tracker.close(60) == []
    stage = Stage(study)
    begun = [stage.begin() for _ in range(5)]
    assert begun == [*(replicate.identity for replicate in study.replicates[:3]), "source1", None]
    assert stage.tracker.close(60) == []


def test_a_source_network_that_is_a_replicate_of_the_study(study: Study) -> None:
    """Its children wait for it as it is; if it failed before and is not tried again, they fail too."""
    first = study.replicates[0]
    source = dataclasses.replace(source_of_seed(0), identity=first.identity)
    children = [dataclasses.replace(replicate, source_network=source) for replicate in study.replicates[1:3]]
    study = asking_for(study, [*children, dataclasses.replace(first, source_network=None)])
    assert study.source_networks == ()
    stage = Stage(study)
    assert [stage.begin() for _ in range(2)] == [first.identity, None]
    assert stage.controller.is_waiting()
    stage.controller.failed(first.identity, FAILED, "broken")
    assert stage.begin() is None
    assert stage.tracker.close(60) == []
    assert set(stage.states().values()) == {TrialState.FAIL}


@pytest.fixture
def tiny_conversions(tiny_study: Path, tiny_npz: Path) -> Path:
    """A study file of 3 conversions x 2 seeds, whose 2 source networks train for some seconds."""
    tiny_study.write_text(
        f"""\
question: Is a source network trained once?
trainable: converted_snn
config: {{data: {tiny_npz}, validation_fraction: 0.25, epochs: 60, batch_size: 32, layout: 4 M 4, calibration_images: 16}}
baseline: {{time_steps: 4, reset: soft}}
factors:
  time_steps: [2, 4]
  reset: [soft, hard]
seeds: 2
log_models: false
storage: {tiny_study.parent / "results"}
"""
    )
    return tiny_study


@pytest.mark.slow
def test_source_networks_are_shared_whatever_dies(tiny_conversions: Path, start: Start) -> None:
    """kill -9 while source networks train: the next run resumes them, children share them. Another study finds them, and
    trains one whose weights were truncated again; source networks that diverge fail their children alone."""
    storage = tiny_conversions.parent / "results"
    driver = start(tiny_conversions)
    wait_for(storage, "checkpoints/*/checkpoint.pt", 1, driver)
    begun = {path.parent.name for path in storage.glob("checkpoints/*/checkpoint.pt")}  # its worker may go on for a while
    driver.kill()
    killed_at_ms = time.time_ns() // 1_000_000
    assert "2 source networks (ann) to train\n" in driver.communicate(timeout=PATIENCE_S)[0]
    sources = {source.identity for source in load_study(str(tiny_conversions)).source_networks}
    assert begun
    assert begun <= sources
    assert list_ledger(str(storage / "ledgers" / "tiny.journal")) == {"tiny": {}}

    last = run(tiny_conversions, "--json")
    assert last.returncode == 0, last.stdout + last.stderr
    outcome = json.loads(last.stdout)
    assert (outcome["num_complete"], outcome["num_source_networks"], outcome["num_source_networks_trained"]) == (6, 2, 2)
    assert CheckpointFolder(storage / "checkpoints" / begun.pop()).reports()[0].timestamp_ms < killed_at_ms
    assert {path.parent.name for path in storage.glob("checkpoints/*/weights.pt")} == sources
    assert len(list(storage.glob("checkpoints/*/reports.json"))) == 8
    assert list_ledger(str(storage / "ledgers" / "tiny.journal")) == {"tiny": {"COMPLETE": 6}}
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert Counter(run.data.tags["spikesweep.parent"] for run in children) == dict.fromkeys(sources, 3)
    assert all("spikesweep.calibration_digest" in run.data.tags for run in children)

    damaged, whole = (storage / "checkpoints" / identity for identity in sources)
    weights = CheckpointFolder(damaged).weights()
    (damaged / "weights.pt").write_bytes((damaged / "weights.pt").read_bytes()[:-100])
    unchanged = (whole / "weights.pt").stat().st_mtime_ns
    changes = ["--set", "name=another", "--set", "factors={lr: [0.005, 1e38]}", "--set", "baseline={lr: 0.005}"]
    check = subprocess.run([*SPIKESWEEP, "check", tiny_conversions, *changes], capture_output=True, text=True, check=True)
    assert "3 source networks (ann) to train, 1 already trained" in check.stdout
    again = run(tiny_conversions, *changes, "--json")
    assert again.returncode == 1, again.stdout + again.stderr
    failures = json.loads(again.stdout)["failures"]
    assert failures.keys() == {"lr=1e+38 · seed 0", "lr=1e+38 · seed 1"}
    assert all("its source network failed: TrainingError: epoch 1: the weights" in reason for reason in failures.values())
    assert (whole / "weights.pt").stat().st_mtime_ns == unchanged
    retrained = CheckpointFolder(damaged).weights()
    assert all(torch.equal(weights[name], retrained[name]) for name in weights)


def test_training_waits_for_its_lock(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """While another process trains a source network, who wants it too waits, and then repeats what the other found."""
    config = ann.Config(data=str(tiny_npz), validation_fraction=0.25, epochs=2, layout="4 M 4")
    dataset = prepare(config.data, data_folder)
    other: list[EpochReport] = []
    waiting = threading.Thread(
        target=lambda: other.extend(ann.train(config, seed=0, dataset=dataset, checkpoint_folder=tmp_path))
    )
    reports = ann.train(config, seed=0, dataset=dataset, checkpoint_folder=tmp_path)
    first = next(reports)
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    assert not other
    expected = [first, *reports]
    waiting.join(60)
    assert other == expected
