"""The tracker against a real MLflow server that dies, and against a store that it finds half written."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.data.schema import TensorDatasetSchema
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from optuna.trial import TrialState

from analysis.records.loading import load_recorded_study
from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.errors import StudyError
from studies.engine.ledger.ledger import ReplicateEnd
from studies.engine.recording.mlflow_store import connect
from studies.engine.recording.replicate_runs import final_tags
from studies.engine.recording.study_record import study_record
from studies.engine.recording.tracker import Tracker
from studies.run_record import CORRECT, Role, StudyRecord
from tests.new_stores import store_of
from tests.studies.servers import free_port, mlflow_server
from tests.studies.simulated_driver import surface_study


def report_of(epoch: int, *, final: bool = False, loss: float = 0.5) -> dict[str, Any]:
    metrics = {"train/loss": loss, "val/accuracy": epoch / 10, "sparsity/overall": 0.9}
    curve = [0.1, 0.2, epoch / 10]
    return {
        "epoch": epoch,
        "timestamp_ms": 1_700_000_000_000 + epoch,
        "metrics": {**metrics, "test/accuracy": 0.25} if final else metrics,
        "curves": {"accuracy_at_t": curve, **({"test/accuracy_at_t": curve} if final else {})},
        "num_epochs": 3,
        "facts": {},
        "tables": {"layers": [{"layer": "layer1", "error": 0.5}, {"layer": "layer2", "error": 0.25}]} if final else {},
        "correct": {"test": "359 digest " + 2000 * "bits"} if final else {},
    }


def record_all(tracker: Tracker, study: Study, epochs: range) -> None:
    for replicate in study.replicates:
        tracker.begin(replicate)
        for epoch in epochs:
            tracker.report(replicate, report_of(epoch, final=epoch == 3))


def test_a_server_that_dies_loses_nothing(tiny_study: Path, tmp_path: Path) -> None:
    """Records given while the server is dead are delivered, in order and once, when it is back; the giver never waits."""
    port = free_port()
    study = load_study(str(tiny_study), [f"tracking_uri=http://127.0.0.1:{port}"])
    with mlflow_server(tmp_path, port):
        tracker = Tracker(store_of(study), study, study.replicates, [])
        record_all(tracker, study, range(1, 2))
        assert tracker.flush(60)
    record_all(tracker, study, range(2, 4))  # into the void
    for replicate in study.replicates:
        tracker.end(replicate, TrialState.COMPLETE)
    assert not tracker.flush(1)
    with mlflow_server(tmp_path, port):
        assert tracker.close(120) == []
        recorded = load_recorded_study("tiny", study.stores.tracking_uri)
        client = MlflowClient(study.stores.tracking_uri)
        for run in recorded.runs:
            assert run.status == "FINISHED"
            assert [point.step for point in client.get_metric_history(run.run_id, "val/accuracy")] == [1, 2, 3]
            assert run.accuracy_at_t == (0.1, 0.2, 0.3)
            assert run.correct == report_of(3, final=True)["correct"]
            assert not run.facts


def test_images_are_recorded_of_what_is_compared(tiny_study: Path) -> None:
    """A trial of a tuning or a search, of which there may be thousands, keeps no bits of images."""
    replicate, *_ = load_study(str(tiny_study)).replicates
    roles: tuple[Role, ...] = ("cell", "finalist", "search", "tuning")
    tags = {role: final_tags(replace(replicate, role=role), report_of(3, final=True), None) for role in roles}
    assert {role: sum(tag.key.startswith(CORRECT) for tag in found) for role, found in tags.items()} == {
        "cell": 2,
        "finalist": 2,
        "search": 0,
        "tuning": 0,
    }


def test_a_second_tracker_takes_up_the_runs(tiny_study: Path) -> None:
    """Another driver finds every run by its identity, and writes no epoch that is there already, whatever its value is now."""
    study = load_study(str(tiny_study))
    for loss in (0.5, 0.7):
        tracker = Tracker(store_of(study), study, study.replicates, [])
        for replicate in study.replicates:
            tracker.begin(replicate)
            for epoch in (1, 2, 3):
                tracker.report(replicate, report_of(epoch, final=epoch == 3, loss=loss))
            tracker.end(replicate, TrialState.COMPLETE)
        assert tracker.close(60) == []
    client = MlflowClient(study.stores.tracking_uri)
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1 + len(study.replicates)
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    for run in children:
        assert [point.value for point in client.get_metric_history(run.info.run_id, "train/loss")] == [0.5] * 3


def test_a_driver_that_dies_between_the_commits_of_a_batch(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's store commits metrics before tags: where a driver dies in between, the next one writes the tags, and no metric
    twice. It also writes the params and the data set of a run that was made and got no further.
    """
    study = load_study(str(tiny_study))
    first, second = study.replicates[:2]
    tracker = Tracker(store_of(study), study, study.replicates, [])
    with monkeypatch.context() as patched:
        patched.setattr(SqlAlchemyStore, "_set_tags", _die)
        for epoch in (1, 2, 3):
            tracker.report(first, report_of(epoch, final=epoch == 3))
        assert tracker.flush(60)
        patched.setattr(SqlAlchemyStore, "log_inputs", _die)
        tracker.begin(second)
        assert len(tracker.close(60)) == 2
    tracker = Tracker(store_of(study), study, study.replicates, [])
    for replicate in (first, second):
        for epoch in (1, 2, 3):
            tracker.report(replicate, report_of(epoch, final=epoch == 3))
        tracker.end(replicate, TrialState.COMPLETE)
    assert tracker.close(60) == []
    client = MlflowClient(study.stores.tracking_uri)
    runs = client.search_runs([connected_experiment(study)], "tags.`spikesweep.kind` = 'replicate'")
    assert len(runs) == 2
    for run in runs:
        assert json.loads(run.data.tags["spikesweep.accuracy_at_t"]) == [0.1, 0.2, 0.3]
        assert "mlflow.loggedArtifacts" in run.data.tags
        assert "seed" in run.data.params
        assert len(run.inputs.dataset_inputs) == 1
        assert [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2, 3]


def _die(*_: object, **__: object) -> None:
    raise MlflowException("the driver is dead", INVALID_PARAMETER_VALUE)  # which is not tried again


def test_only_the_ledgers_own_end_is_whole(tiny_study: Path) -> None:
    """A run has its end if its status and the time of its end are the ledger's; that of a killed driver is not a pruned one's.
    Where the ledger knows no time, as those of earlier versions, the status decides.
    """
    study = load_study(str(tiny_study))
    complete, pruned = study.replicates[:2]
    end, other = ReplicateEnd(1_700_000_000_000, {"cost/seconds": 2.0}), ReplicateEnd(1_700_000_000_001)
    tracker = Tracker(store_of(study), study, study.replicates, [])
    tracker.end(complete, TrialState.COMPLETE, details=end)
    tracker.end(pruned, None, "interrupted; run the study again to finish it")
    assert tracker.close(60) == []
    tracker = Tracker(store_of(study), study, study.replicates, [])
    assert tracker.has_end(complete.identity, TrialState.COMPLETE, end)
    assert tracker.has_end(complete.identity, TrialState.COMPLETE, None)
    assert not tracker.has_end(complete.identity, TrialState.COMPLETE, other)
    assert not tracker.has_end(complete.identity, TrialState.FAIL, end)
    assert not tracker.has_end(pruned.identity, TrialState.PRUNED, None)
    assert not tracker.has_end(study.replicates[2].identity, TrialState.COMPLETE, None)
    tracker.end(complete, TrialState.COMPLETE, details=end)  # it is written once more, as after a crash
    assert tracker.close(60) == []
    client = MlflowClient(study.stores.tracking_uri)
    (run,) = client.search_runs([connected_experiment(study)], f"tags.`spikesweep.identity` = '{complete.identity}'")
    assert [point.value for point in client.get_metric_history(run.info.run_id, "cost/seconds")] == [2.0]


def reasons_of(study: Study) -> dict[str, tuple[str, str]]:
    """The status and the reason of every replicate run, by identity."""
    client = MlflowClient(study.stores.tracking_uri)
    runs = client.search_runs([connected_experiment(study)], "tags.`spikesweep.kind` = 'replicate'")
    return {run.data.tags["spikesweep.identity"]: (run.info.status, run.data.tags.get("spikesweep.reason", "")) for run in runs}


def test_a_reason_goes_when_the_run_goes_on(tiny_study: Path) -> None:
    """A run that goes on, or ends well, keeps no reason of an earlier end; nor does one that an earlier version left with one."""
    study = load_study(str(tiny_study))
    first, second, third = study.replicates[:3]
    tracker = Tracker(store_of(study), study, study.replicates, [])
    for replicate in (first, second):
        tracker.end(replicate, None, "interrupted; run the study again to finish it")
    tracker.begin(third)  # and its driver is killed, with its watchdog
    assert tracker.close(60) == []
    client = MlflowClient(study.stores.tracking_uri)
    tracker = Tracker(store_of(study), study, study.replicates, [])
    assert reasons_of(study)[third.identity] == ("KILLED", "its driver was killed; run the study again to finish it")
    tracker.begin(first)
    assert tracker.flush(60)
    assert reasons_of(study)[first.identity] == ("RUNNING", "")
    tracker.end(second, TrialState.COMPLETE)
    tracker.end(third, TrialState.PRUNED, "stopped early")
    assert tracker.close(60) == []
    assert reasons_of(study)[second.identity] == ("FINISHED", "")
    assert reasons_of(study)[third.identity] == ("KILLED", "stopped early")
    (run,) = client.search_runs([connected_experiment(study)], f"tags.`spikesweep.identity` = '{second.identity}'")
    client.set_tag(run.info.run_id, "spikesweep.reason", "interrupted; run the study again to finish it")
    Tracker(store_of(study), study, study.replicates, []).close(60)
    assert reasons_of(study)[second.identity] == ("FINISHED", "")


def test_what_a_replicate_run_holds(tiny_study: Path) -> None:
    """Every hyperparameter, the seed, the config, the data digest, the versions, a name for people; its parent the question."""
    study = load_study(str(tiny_study))
    tracker = Tracker(store_of(study), study, study.replicates, [])
    replicate = study.replicates[2]
    tracker.begin(replicate)
    tracker.end(replicate, TrialState.FAIL, "epoch 1: broken")
    assert tracker.close(60) == []
    client = MlflowClient(study.stores.tracking_uri)
    experiment = client.get_experiment_by_name("tiny")
    child, parent = sorted(
        client.search_runs([experiment.experiment_id]), key=lambda run: "mlflow.parentRunId" not in run.data.tags
    )
    assert child.info.run_name == "T=4 fs=0.125 · seed 0"
    assert child.info.status == "FAILED"
    assert child.data.tags["spikesweep.reason"] == "epoch 1: broken"
    assert child.data.tags["spikesweep.data_digest"] == replicate.data_digest
    assert "torch" in child.data.tags["spikesweep.versions"]
    params = child.data.params
    assert {"epochs", "lr", "time_steps", "layout", "seed", "num_parameters"} <= params.keys()
    assert "surrogate" not in params  # which this learning rule does not use
    assert params["feature_scale"] == "0.125"
    assert (params["rate_target"], params["flip"]) == ("null", "false")  # as a study file has them
    (data,) = child.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("halves", replicate.data_digest[:36])
    assert json.loads(data.dataset.profile)["sha256"] == replicate.data_digest
    TensorDatasetSchema.from_dict(json.loads(data.dataset.schema))  # or MLflow's page would show none
    assert f"spikesweep reproduce {replicate.identity} --tracking-uri" in child.data.tags["mlflow.note.content"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert "**Does it run?**" in parent.data.tags["mlflow.note.content"]
    missing = [run for run in load_recorded_study("tiny", study.stores.tracking_uri).runs if run.status == "MISSING"]
    assert len(missing) == len(study.replicates) - 1


def test_what_the_page_of_a_study_says(tiny_study: Path, tmp_path: Path) -> None:
    """Question, status, design, baseline, factors and data; then what was found; its packages and hardware are attached."""
    study = load_study(str(tiny_study))
    tracker = Tracker(store_of(study), study, study.replicates, [])
    tracker.attach_environment([{"host": "here", "CPU": 2.0}])
    tracker.begin(study.replicates[0])
    tracker.end(study.replicates[0], TrialState.COMPLETE)
    assert tracker.flush(60)
    client, experiment = MlflowClient(study.stores.tracking_uri), connected_experiment(study)
    text = description(client, experiment)
    assert "**Status** running: 0 of 6 replicates finished" in text  # as it was planned
    assert "| Baseline | time_steps=4 feature_scale=0.0625 |" in text
    assert "| time_steps | 2, 4 |" in text
    assert f"| Data | halves ({study.replicates[0].data_digest[:8]}) |" in text
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "summary.html").write_text("found")
    tracker.end_study(study.replicates, [], "FINISHED")
    tracker.attach_report(tmp_path / "report", "- more time_steps help")
    assert tracker.close(60) == []
    text = description(client, experiment)
    assert "**Status** all that was asked for has ended: 1 of 6 replicates finished" in text
    assert "/artifacts/report/summary.html)" in text
    assert "- more time_steps help\n" in text
    (parent,) = client.search_runs([experiment], "tags.`spikesweep.kind` = 'study'")
    files = {artifact.path for artifact in client.list_artifacts(parent.info.run_id, "environment")}
    assert {"environment/packages.txt", "environment/hardware.json"} <= files
    Tracker(store_of(study), study, study.replicates, []).close(60)
    assert "- more time_steps help" in description(client, experiment)  # while it is run once more


def connected_experiment(study: Study) -> str:
    return str(MlflowClient(study.stores.tracking_uri).get_experiment_by_name(study.stores.experiment).experiment_id)


def description(client: MlflowClient, experiment: str) -> str:
    (parent,) = client.search_runs([experiment], "tags.`spikesweep.kind` = 'study'")
    return str(parent.data.tags["mlflow.note.content"])


def test_a_family_of_studies(tiny_study: Path) -> None:
    """Studies may share an experiment: each has its own study run there, and is read as if it were alone."""
    for name in ("first", "second"):
        study = load_study(str(tiny_study), [f"name={name}", "experiment=a family"])
        tracker = Tracker(store_of(study), study, study.replicates, [])
        tracker.begin(study.replicates[0])
        tracker.end(study.replicates[0], TrialState.COMPLETE)
        assert tracker.close(60) == []
    client = MlflowClient(study.stores.tracking_uri)
    assert len(client.search_runs([connected_experiment(study)])) == 4
    for name in ("first", "second"):
        recorded = load_recorded_study(name, study.stores.tracking_uri)
        assert (recorded.study.name, recorded.warnings) == (name, [])
        assert [run.status for run in recorded.runs].count("FINISHED") == 1


def test_what_a_pruner_stopped(tiny_study: Path) -> None:
    """MLflow has no word for it: the run is KILLED with a tag, and reads back as PRUNED with the epoch."""
    study = load_study(str(tiny_study))
    tracker = Tracker(store_of(study), study, study.replicates, [])
    tracker.begin(study.replicates[0])
    tracker.report(study.replicates[0], report_of(1))
    tracker.end(study.replicates[0], TrialState.PRUNED, "stopped after epoch 1 of 3: it fell behind")
    assert tracker.close(60) == []
    run = load_recorded_study("tiny", study.stores.tracking_uri).runs[0]
    assert (run.status, run.reason) == ("PRUNED", "stopped after epoch 1 of 3: it fell behind")


def test_a_plan_that_grows(tiny_study: Path) -> None:
    """What a study asks for on the way is in its record at the end, with what is to be said of it."""
    study = load_study(str(tiny_study))
    tracker = Tracker(store_of(study), study, study.replicates[:2], [])
    assert len(load_recorded_study("tiny", study.stores.tracking_uri).runs) == 2
    tracker.end_study(study.replicates, ["All was asked for."], "FINISHED")
    assert tracker.close(60) == []
    recorded = load_recorded_study("tiny", study.stores.tracking_uri)
    assert [run.identity for run in recorded.runs] == [replicate.identity for replicate in study.replicates]
    assert list(recorded.study.notes) == ["All was asked for."]


def test_records_that_cannot_be_delivered_are_counted(tiny_study: Path, tmp_path: Path) -> None:
    """A server that stays away: closing ends in time, and names as many records as were lost."""
    port = free_port()
    study = load_study(str(tiny_study), [f"tracking_uri=http://127.0.0.1:{port}"])
    with mlflow_server(tmp_path, port):
        tracker = Tracker(store_of(study), study, study.replicates, [])
    tracker.begin(study.replicates[0])
    tracker.report(study.replicates[0], report_of(1))
    tracker.begin(study.replicates[1])
    assert tracker.close(1) == ["no answer in time"] * 2


def test_an_unreachable_server_is_a_problem() -> None:
    """A server that does not answer is named, without the password."""
    with pytest.raises(StudyError) as caught:
        connect(f"http://me:secret@127.0.0.1:{free_port()}")
    assert "the tracking server must answer" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_tables_and_facts(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report's tables are what MLflow's own load_table reads, once, however often they are written; its facts are tags."""
    study = load_study(str(tiny_study))
    replicate = study.replicates[0]
    for _ in range(2):
        tracker = Tracker(store_of(study), study, study.replicates, [])
        tracker.report(replicate, report_of(3, final=True) | {"facts": {"calibration_digest": "abc"}})
        assert tracker.close(60) == []
    client = MlflowClient(study.stores.tracking_uri)
    experiment = client.get_experiment_by_name("tiny")
    (child,) = client.search_runs([experiment.experiment_id], f"tags.`spikesweep.identity` = '{replicate.identity}'")
    assert child.data.tags["spikesweep.calibration_digest"] == "abc"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", study.stores.tracking_uri)
    table = client.load_table(experiment.experiment_id, "layers.json", [child.info.run_id])
    assert table.to_dict("records") == [{"layer": "layer1", "error": 0.5}, {"layer": "layer2", "error": 0.25}]


def test_a_reader_needs_no_request_a_run(tiny_study: Path) -> None:
    """The curve stands in a tag of its run, and the design in one of the study run: without the replicates, if not too long."""
    study = load_study(str(tiny_study))
    tracker = Tracker(store_of(study), study, study.replicates, [])
    for replicate, num_steps in zip(study.replicates[:2], (3, 2000), strict=True):
        report = report_of(3, final=True)
        tracker.report(replicate, {**report, "curves": {"accuracy_at_t": [1 / 3] * num_steps}})
    assert tracker.close(60) == []
    client = MlflowClient(study.stores.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    tags = {run.data.tags.get("spikesweep.identity", "parent"): run.data.tags for run in runs}
    short, long = (tags[replicate.identity] for replicate in study.replicates[:2])
    assert json.loads(short["spikesweep.accuracy_at_t"]) == [1 / 3] * 3
    assert "spikesweep.accuracy_at_t" not in long
    design = StudyRecord.from_json(tags["parent"]["spikesweep.design"])
    recorded = load_recorded_study("tiny", study.stores.tracking_uri)
    assert design == replace(recorded.study, replicates=[])
    finished = recorded.runs[0]
    assert (finished.facts, len(finished.accuracy_at_t)) == ({}, 3)


def test_the_record_has_ranges_as_numbers() -> None:
    """A study's record says of every range its bounds, its scale and its step, and nothing of levels."""
    study = load_study("surface_search")
    bounds = study_record(study, [], []).bounds
    assert set(bounds) == {"a", "b", "e", "f", "peak_width"}
    assert bounds["f"] == {"low": -1, "high": 1, "log": False, "step": 0.25, "integer": False}
    assert bounds["peak_width"]["log"]


def test_the_record_has_the_ranges_of_a_tuning_as_numbers(tmp_path: Path) -> None:
    """Parameters that are tuned have bounds of their own; a choice of levels has none."""
    tuning = "tuning: {parameters: {f: {low: -1, high: 1}, variant: [plain, peaked]}, num_trials: 4}\n"
    study = surface_study(tmp_path, f"seeds: 2\nbaseline: {{a: 0}}\nfactors: {{a: [-1, 0]}}\n{tuning}")
    bounds = study_record(study, [], []).tuning_bounds
    assert bounds == {"f": {"low": -1, "high": 1, "log": False, "step": None, "integer": False}}
