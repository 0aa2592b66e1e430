"""A replicate of MLflow's is trained again beside its run: real stores, written by the tracker with real trainings."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from optuna.trial import TrialState
from typer.testing import CliRunner

from studies.cli import app
from studies.engine.binding.replicates import Replicate
from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.errors import StudyError
from studies.engine.ledger.ledger import ReplicateEnd
from studies.engine.recording.mlflow_store import connect
from studies.engine.recording.tracker import Tracker
from studies.engine.reproduction.agreement import RerunComparison
from studies.engine.reproduction.recorded_replicate import RecordedReplicate, read_recorded
from studies.engine.reproduction.retraining import Reproduction, prepare_reproduction, train_again
from tests.conftest import PATIENCE_S, SPIKESWEEP
from tests.studies.servers import free_port
from trainables.data.datasets import default_data_folder, prepare
from trainables.training.device_facts import machine_facts
from trainables.training.epoch_report import EpochReport

STUDY = """\
question: Is it the same again?
name: {name}
trainable: {trainable}
config:
  data: {data}
  validation_fraction: 0.25
  epochs: 2
  batch_size: 32
  layout: 64 M 64
  feature_scale: 0.0625
baseline: {{lr: 0.005, time_steps: 2}}
factors:
  lr: [0.005, 0.01, 1e30]
  time_steps: [2, 4]
seeds: 2
storage: {storage}
"""


def reports_of(study: Study, replicate: Replicate) -> Iterator[EpochReport]:
    """Of a real training."""
    configuration = study.binder.configuration(replicate.cell)
    dataset = prepare(configuration.config.data, default_data_folder())
    yield from configuration.module.train(configuration.config, seed=replicate.seed, dataset=dataset)


class Store:
    """A finished replicate, one that a pruner stopped, one that failed, one that has no epoch; and a conversion."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.storage = folder / "results"
        self.uri = f"sqlite:///{self.storage / 'mlflow.db'}"
        study = self.study("bitnets", "bitnet", data)
        good, other = study.replicates[0], study.replicates[1]
        (_, bad) = [each for each in study.replicates if each.cell["lr"] == 1e30]
        waiting = next(each for each in study.replicates if each.cell["time_steps"] == 4)
        of_good, of_other = list(reports_of(study, good)), next(reports_of(study, other))
        tracker = Tracker(connect(self.uri), study, study.replicates, [])
        for report in of_good:
            tracker.report(good, report.as_dict())
        tracker.end(good, TrialState.COMPLETE, details=ReplicateEnd.now({"cost/seconds": 1.0, "cost/gpu_seconds": 0.0}))
        tracker.report(other, of_other.as_dict())
        tracker.end(other, TrialState.PRUNED, "stopped after epoch 1 of 2: it fell behind")
        tracker.begin(bad)
        tracker.end(bad, TrialState.FAIL, "TrainingError: the weights are no longer finite numbers")
        tracker.begin(waiting)
        assert tracker.close(60) == []
        converting = self.study("conversions", "converted_snn", data)
        converted = converting.replicates[0]
        of_converted = list(reports_of(converting, converted))
        tracker = Tracker(connect(self.uri), converting, converting.replicates, [])
        for report in of_converted:
            tracker.report(converted, report.as_dict())
        tracker.end(converted, TrialState.COMPLETE)
        assert tracker.close(60) == []
        self.good, self.pruned, self.failed, self.waiting, self.converted = (
            each.identity for each in (good, other, bad, waiting, converted)
        )

    def study(self, name: str, trainable: str, data: Path) -> Study:
        file = self.storage.parent / f"{name}.yaml"
        file.write_text(STUDY.format(name=name, trainable=trainable, data=data, storage=self.storage))
        return load_study(str(file))

    def files(self) -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in self.storage.rglob("*") if file.is_file()}

    def again(self, identity: str) -> RerunComparison:
        return again(prepare_reproduction(read_recorded(identity, self.uri)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_npz: Path) -> Store:
    """Only read, but by tests that make runs of their own."""
    return Store(tmp_path_factory.mktemp("store"), tiny_npz)


def again(reproduction: Reproduction) -> RerunComparison:
    return train_again(reproduction, lambda _: None)


def test_a_finished_replicate_agrees(store: Store) -> None:
    """By its identity or its run's id: all metrics, epochs and curves are the same, and nothing is written."""
    before, threads = store.files(), torch.get_num_threads()
    comparison = store.again(store.good)
    assert comparison.agrees
    assert (comparison.num_epochs, comparison.differences, comparison.only_now, comparison.only_recorded) == (2, [], [], [])
    assert comparison.num_metrics > 20
    assert comparison.num_curves == len(comparison.reports[-1].curves) > 1
    by_run_id = read_recorded(comparison.recorded.run_id, store.uri)
    assert by_run_id == comparison.recorded
    assert not any(name.startswith(("time/", "memory/", "cost/")) for name in by_run_id.metrics)
    assert (store.files(), torch.get_num_threads()) == (before, threads)
    assert comparison.unlike == {}


def test_a_conversion_trains_its_source_network_too(store: Store) -> None:
    """The source network is trained in a folder that is gone afterwards; the storage never sees it."""
    comparison = store.again(store.converted)
    assert comparison.agrees
    assert comparison.num_epochs == 1
    assert not (store.storage / "checkpoints").exists()


def test_what_was_stopped_is_compared_as_far_as_it_went(store: Store) -> None:
    """A pruned replicate is trained for the epochs that it has; it has no curves."""
    comparison = store.again(store.pruned)
    assert comparison.agrees
    assert (comparison.recorded.status, comparison.num_epochs, comparison.num_curves) == ("PRUNED", 1, 0)
    assert len(comparison.reports) == 1
    assert comparison.unlike == {}  # the record has its device and threads, though it never ended


def test_what_failed_fails_again(store: Store) -> None:
    """A replicate whose weights overflow in its first epoch has no number, and agrees in that it fails."""
    comparison = store.again(store.failed)
    assert comparison.failed_alike
    assert comparison.agrees
    assert "no longer finite" in comparison.failure
    recorded = dataclasses.replace(comparison.recorded, status="FINISHED", num_epochs=2)
    assert not again(prepare_reproduction(recorded)).agrees  # where the run did not


def test_a_failure_that_does_not_come_again(store: Store) -> None:
    """One epoch more than the record has is trained; the numbers before it agree, and no failure is not a difference of them."""
    recorded = dataclasses.replace(read_recorded(store.pruned, store.uri), status="FAILED")
    comparison = again(prepare_reproduction(recorded))
    assert (len(comparison.reports), comparison.num_epochs, comparison.failure) == (2, 1, "")
    assert comparison.agrees
    nothing = dataclasses.replace(recorded, num_epochs=0, metrics={})
    assert not again(prepare_reproduction(nothing)).agrees


def test_a_changed_number_is_found(store: Store) -> None:
    """Which metric, from which epoch, by how much at most, and where; a curve's place is a time step."""
    recorded = read_recorded(store.good, store.uri)
    loss, curve = recorded.metrics["train/loss"], recorded.metrics["accuracy_at_t"]
    changed = {
        **recorded.metrics,
        "train/loss": {1: loss[1] * (1 + 2**-50), 2: loss[2] + 0.5},
        "accuracy_at_t": {**curve, 2: curve[2] + 0.25},
    }
    comparison = again(prepare_reproduction(dataclasses.replace(recorded, metrics=changed)))
    of_loss, of_curve = comparison.differences
    assert (of_loss.name, of_loss.first_at, of_loss.largest_at) == ("train/loss", 1, 2)
    assert (of_loss.recorded, of_loss.now) == (loss[2] + 0.5, loss[2])
    assert (of_curve.name, of_curve.first_at, of_curve.now) == ("accuracy_at_t", 2, curve[2])
    assert not comparison.agrees


def test_what_else_is_not_the_same(store: Store) -> None:
    """Versions, commit, device, threads, parts and any other fact are named, with what the run has and what is here."""
    recorded = read_recorded(store.good, store.uri)
    other = dataclasses.replace(
        recorded,
        identity="0" * 32,
        commit="f" * 40,
        versions={**recorded.versions, "torch": "1.0"},
        metrics={"train/loss": {1: 1.0, 2: 1.0}},
        facts={**recorded.facts, "device": "cuda NVIDIA H200", "num_threads": "2 then 1", "num_micro_batches": "3"},
    )
    reproduction = prepare_reproduction(other)
    assert (reproduction.num_threads, reproduction.num_micro_batches) == (2, 3)
    comparison = again(reproduction)
    assert comparison.unlike.keys() == {"identity", "commit", "torch", "device", "num_threads", "num_micro_batches"}
    assert comparison.unlike["num_threads"] == ("2 then 1", "2")
    assert comparison.unlike["torch"][0] == "1.0"
    silent = dataclasses.replace(recorded, facts={})
    assert prepare_reproduction(silent).num_threads == 1
    assert again(prepare_reproduction(silent)).unlike["num_threads"] == ("not recorded", "1")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"trainable": "perceptron"}, "the run's trainable must be known to this version"),
        ({"config": {"epochs": 2, "warmth": 3}}, "must have no field that this version does not know"),
        ({"config": {"epochs": 0}}, "epochs must be at least 1"),
        ({"config": {"layout": "64 M M M M M"}}, "a pool needs a map of at least 2x2"),
        ({"config": {"data": "/nowhere/images.npz"}}, "a data file must exist"),
        ({"data_digest": "abc"}, "the data must be those of the run, whose digest is abc"),
        ({"num_epochs": 0}, "a run must have an epoch that can be compared"),
    ],
)
def test_what_cannot_be_trained_again(store: Store, changes: dict[str, object], rule: str) -> None:
    """Each kind of bad input is one problem, with the run, the rule, the value and a repair."""
    recorded = read_recorded(store.good, store.uri)
    if isinstance(fields := changes.get("config"), dict):
        changes = {"config": {**recorded.config, **fields}}
    with pytest.raises(StudyError) as caught:
        prepare_reproduction(dataclasses.replace(recorded, **changes))  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    assert rule in problem.rule
    assert problem.where.startswith(f"run {recorded.run_id}")


def test_data_that_lie_elsewhere(store: Store, tiny_npz: Path, tmp_path: Path) -> None:
    """A path that is no more is replaced by --data, whose digest must be the run's."""
    recorded = read_recorded(store.good, store.uri)
    moved = tmp_path / "moved.npz"
    moved.write_bytes(tiny_npz.read_bytes())
    gone = dataclasses.replace(recorded, config={**recorded.config, "data": "/nowhere/images.npz"})
    assert prepare_reproduction(gone, data=str(moved)).identity == recorded.identity
    with pytest.raises(StudyError, match="the data must be those of the run"):
        prepare_reproduction(gone, data="digits")


def problem_of(run: str, uri: str) -> str:
    with pytest.raises(StudyError) as caught:
        read_recorded(run, uri)
    (problem,) = caught.value.problems
    return str(problem)


def test_runs_that_are_no_replicates(store: Store) -> None:
    """An unknown word, a study's own run, a run of somebody else's, and one whose config or seed was deleted or changed."""
    client = MlflowClient(store.uri)
    recorded = read_recorded(store.good, store.uri)
    run = client.get_run(recorded.run_id)
    experiment, tags = run.info.experiment_id, run.data.tags
    assert "RUN must be a replicate's identity" in problem_of("f" * 32, store.uri)
    assert "RUN must be a replicate's identity" in problem_of("it's mine", store.uri)
    assert "the run of the study bitnets" in problem_of(tags["mlflow.parentRunId"], store.uri)
    assert "none of spikesweep's" in problem_of(client.create_run(experiment, run_name="mine").info.run_id, store.uri)
    ours = {name: text for name, text in tags.items() if name.startswith("spikesweep.")}
    for name, text in (("config", ""), ("config", "[]"), ("seed", "three")):
        broken = client.create_run(experiment, tags={**ours, f"spikesweep.{name}": text, "spikesweep.identity": f"{name}{text}x"})
        assert f"must have the tag spikesweep.{name}" in problem_of(broken.info.run_id, store.uri)


def test_stores_that_are_not_there(store: Store, tmp_path: Path) -> None:
    """A file that does not exist is not made; what is no store, or does not answer, is named without its password."""
    absent = tmp_path / "folder" / "mlflow.db"
    assert "the tracking store must be there" in problem_of(store.good, f"sqlite:///{absent}")
    assert not absent.parent.exists()
    (tmp_path / "empty.db").touch()
    assert "it is no store of MLflow's" in problem_of(store.good, f"sqlite:///{tmp_path / 'empty.db'}")
    said = problem_of(store.good, f"http://me:secret@127.0.0.1:{free_port()}")
    assert "must answer" in said
    assert "secret" not in said


def test_the_run_that_went_furthest(store: Store) -> None:
    """Where several runs have one identity, the finished one is taken, then the one with most epochs."""
    client = MlflowClient(store.uri)
    run = client.get_run(read_recorded(store.pruned, store.uri).run_id)
    tags = {name: text for name, text in run.data.tags.items() if name.startswith("spikesweep.")}
    client.create_run(run.info.experiment_id, tags=tags)
    found = read_recorded(store.pruned, store.uri)
    assert (found.run_id, found.num_others) == (run.info.run_id, 1)


def test_the_command_without_ray(store: Store) -> None:
    """As its users run it: an epoch a line, at most 80 columns, the verdict, exit code 0; Ray is never imported."""
    code = (
        "import sys; from studies.cli import app\n"
        "try: app()\n"
        "except SystemExit as end: print('ray' in sys.modules, end.code, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "reproduce", store.good, "--storage", str(store.storage)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.stderr.splitlines()[-1:] == ["False 0"], done.stderr
    assert "The numbers agree to the last digit: " in done.stdout
    assert "    1/2" in done.stdout
    table = done.stdout.split("\n\n")[1]
    assert max(map(len, table.splitlines())) <= 80
    assert SPIKESWEEP[0] == sys.executable


def altered(store: Store) -> RecordedReplicate:
    """A run whose last loss was changed in MLflow."""
    recorded = read_recorded(store.good, store.uri)
    client = MlflowClient(store.uri)
    run = client.get_run(recorded.run_id)
    tags = {name: text for name, text in run.data.tags.items() if name.startswith("spikesweep.")}
    copy = client.create_run(run.info.experiment_id, run_name="altered", tags={**tags, "spikesweep.identity": "altered"})
    for name in recorded.metrics:
        for epoch, value in recorded.metrics[name].items():
            if name in ("train/loss", "val/accuracy"):
                client.log_metric(copy.info.run_id, name, value + (name == "train/loss" and epoch == 2), step=epoch)
    client.log_metric(copy.info.run_id, "epoch", 2, step=2)
    client.set_terminated(copy.info.run_id, "FINISHED")
    return read_recorded(copy.info.run_id, store.uri)


def test_the_command_says_what_differs(store: Store) -> None:
    """For people: the metric, where, the values, the final accuracy, what may be why; as JSON the same; exit code 1."""
    recorded = altered(store)
    runner = CliRunner()
    arguments = ["reproduce", recorded.run_id, "--tracking-uri", store.uri]
    shown = runner.invoke(app, arguments)
    assert shown.exit_code == 1, shown.output
    words = " ".join(shown.stdout.split())
    assert "The numbers differ, in 1 of 2 metrics and 0 curves" in words
    assert "train/loss epoch 2 epoch 2" in words
    assert "(+0.00 points)" in words
    assert "identity: altered → " in words
    content = json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)
    (difference,) = content["differences"]
    assert (difference["name"], difference["first_at"], content["agrees"]) == ("train/loss", 2, False)
    assert difference["recorded"] == pytest.approx(difference["now"] + 1)
    assert content["unlike"]["identity"] == {"run": "altered", "now": read_recorded(store.good, store.uri).identity}
    wrong = runner.invoke(app, ["reproduce", "nobody", "--tracking-uri", store.uri])
    assert wrong.exit_code == 2
    assert "RUN must be a replicate's identity" in wrong.stderr


def test_a_resumption_elsewhere_is_said() -> None:
    """What was trained on with another number of threads names both, in order; what was not, one."""
    now = machine_facts(torch.device("cpu"), {})
    assert now["num_threads"] == str(torch.get_num_threads())
    assert now["device"].startswith("cpu ")
    assert machine_facts(torch.device("cpu"), now) == now
    moved = machine_facts(torch.device("cpu"), {"device": "cuda NVIDIA H200", "num_threads": "97"})
    assert moved == {name: f"{was} then {now[name]}" for name, was in (("device", "cuda NVIDIA H200"), ("num_threads", "97"))}
    assert machine_facts(torch.device("cpu"), moved) == moved


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "selection"), [(0.4, "last"), (None, "best_on_test")])
def test_what_cannot_be_repeated_is_said_first(tmp_path: Path, tiny_npz: Path, seconds: float | None, selection: str) -> None:
    """A training for seconds is trained to its own end, and said to differ; a selection on test images is named, and repeats."""
    file = tmp_path / "lengths.yaml"
    text = STUDY.format(name="lengths", trainable="bitnet", data=tiny_npz, storage=tmp_path / "results")
    length = f"time_budget_s: {seconds}" if seconds else f"epochs: 3\n  selection: {selection}"
    file.write_text(text.replace("epochs: 2", length).replace(", 1e30", ""))
    study = load_study(str(file))
    replicate, uri = study.replicates[0], f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = Tracker(connect(uri), study, study.replicates, [])
    for report in reports_of(study, replicate):
        tracker.report(replicate, report.as_dict())
    tracker.end(replicate, TrialState.COMPLETE)
    assert tracker.close(60) == []
    done = CliRunner().invoke(app, ["reproduce", replicate.identity, "--tracking-uri", uri])
    said = " ".join(done.output.split())
    before, _, _ = said.partition("validation accuracy")
    assert ("cannot be repeated to the last digit" in before) == bool(seconds)
    assert ("Its epoch is selected on the test images: optimistic." in before) == (not seconds)
    assert done.exit_code == (1 if "numbers differ" in said else 0)
    assert seconds or done.exit_code == 0, said
    assert seconds is None or "1/" in said, said
