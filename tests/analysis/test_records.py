"""What is read from MLflow, and with how many requests; what a study's record keeps."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from analysis.reporting import records
from analysis.reporting.records import load_recorded_study
from studies import run_record
from studies.run_record import OBJECTIVES, Level, PlannedReplicate, RunRecord, StudyRecord, levels_in_words
from tests.analysis.examples import run_of, study_of


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """A store of its own for all tests of the module; a study is an experiment."""
    return MlflowClient(f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}")


def write(client: MlflowClient, study: StudyRecord, runs: Sequence[RunRecord], folder: Path) -> None:
    """A study and its runs as the engine writes them; a MISSING replicate has no run."""
    experiment = client.create_experiment(study.name, artifact_location=folder.as_uri())
    parent = client.create_run(experiment, tags={run_record.KIND: run_record.KIND_STUDY})
    client.log_text(parent.info.run_id, json.dumps(study.as_dict()), run_record.STUDY_ARTIFACT)
    for run in runs:
        if run.status != "MISSING":
            write_run(client, experiment, run)


def write_run(client: MlflowClient, experiment: str, run: RunRecord, tags: Mapping[str, str] | None = None) -> None:
    """One replicate with its tags, last metrics and curve."""
    own = {
        run_record.KIND: run_record.KIND_REPLICATE,
        run_record.IDENTITY: run.identity,
        run_record.SEED: str(run.seed),
        run_record.LEVELS: json.dumps(run.levels),
        run_record.ROLE: run.role,
        run_record.TUNED: json.dumps(run.tuned),
    }
    run_id = client.create_run(experiment, tags={**own, **(tags or {})}).info.run_id
    metrics = [Metric(name, value, 0, 1) for name, value in run.metrics.items()]
    curve = [Metric(run_record.ACCURACY_AT_T, value, 0, t) for t, value in enumerate(run.accuracy_at_t, 1)]
    client.log_batch(run_id, metrics=[*metrics, *curve])
    if run.status == run_record.PRUNED:
        client.set_tag(run_id, run_record.STATE, run_record.STATE_PRUNED)
        client.set_tag(run_id, run_record.REASON, "epoch 3")
    client.set_terminated(run_id, "KILLED" if run.status == run_record.PRUNED else run.status)


def read(client: MlflowClient, name: str) -> list[RunRecord]:
    return load_recorded_study(name, client.tracking_uri).runs


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the methods of the client that ask for runs and curves are called."""
    counts: Counter[str] = Counter()
    for name in ("search_runs", "get_metric_history", "get_run"):
        original = getattr(MlflowClient, name)

        def counted(self: Any, *arguments: Any, _name: str = name, _original: Any = original, **named: Any) -> Any:
            counts[_name] += 1
            return _original(self, *arguments, **named)

        monkeypatch.setattr(MlflowClient, name, counted)
    return counts


def test_a_study_record_survives_json() -> None:
    """Every field comes back as it was, null and true among the levels."""
    levels: dict[str, Level] = {"limit": None, "bias": True, "lr": 0.5}
    study = StudyRecord(
        name="s",
        question="?",
        trainable="ann, bitnet",
        design="full_factorial",
        options={"sampler": {"name": "tpe", "seed": None}},
        notes=["Resolution III."],
        objectives={"energy": "minimize"},
        baseline=levels,
        factors={"limit": [None, 3], "bias": [True, False], "lr": []},
        ranges={"lr": "0.1 to 1"},
        bounds={"lr": {"low": 0.1, "high": 1, "log": False, "step": None, "integer": False}},
        conditions={"limit": {"bias": [True]}},
        references={"limit": levels},
        tuning={"parameters": {"momentum": "0 to 1"}, "num_trials": 5, "sampler": {}, "seed": 9},
        constraints=["limit < 3"],
        seeds=[0, 1],
        replicates=[PlannedReplicate("i", 0, levels, "finalist", {"momentum": 0.9})],
    )
    assert StudyRecord.from_json(json.dumps(study.as_dict())) == study


def test_an_older_study_record_loads() -> None:
    """One that was written before there were roles, references and objectives."""
    content = {
        "name": "old",
        "question": "?",
        "trainable": "bitnet",
        "design": "one_factor_at_a_time",
        "baseline": {"a": 1},
        "factors": {"a": [1, 2]},
        "seeds": [0],
        "replicates": [{"identity": "i", "seed": 0, "levels": {"a": 1}}],
    }
    study = StudyRecord.from_json(json.dumps(content))
    assert (study.objectives, study.references, study.tuning, study.bounds) == (OBJECTIVES, {}, {}, {})
    assert (study.replicates[0].role, study.replicates[0].tuned) == ("cell", {})


def test_levels_are_said_as_a_study_file_has_them() -> None:
    """null, true and false, not Python's words."""
    assert levels_in_words({"a": None, "b": True, "c": False, "d": 0.5, "e": "64 M"}) == "a=null b=true c=false d=0.5 e=64 M"


def test_runs_come_back_in_the_order_of_the_plan(client: MlflowClient, tmp_path: Path) -> None:
    """With role, tuned values and state: pruned is not killed, and one without a run is missing."""
    runs = [
        run_of({"a": 1}, 0, tuned={"lr": 0.1}),
        run_of({"a": 2}, 0, status=run_record.PRUNED),
        run_of({"a": 2}, 1, status="KILLED"),
        run_of({"a": 1}, 1, status="MISSING"),
    ]
    study = study_of("one_factor_at_a_time", {"a": [1, 2]}, runs, name="order")
    write(client, study, runs, tmp_path)
    found = read(client, "order")
    assert [run.status for run in found] == ["FINISHED", "PRUNED", "KILLED", "MISSING"]
    assert [run.reason for run in found] == ["", "epoch 3", "", "never begun"]
    assert [run.identity for run in found] == [run.identity for run in runs]
    assert (found[0].tuned, found[0].accuracy_at_t, found[0].metrics["val/accuracy"]) == ({"lr": 0.1}, (0.25, 0.5), 0.5)


def test_what_a_search_proposed_is_found_by_its_tags(client: MlflowClient, tmp_path: Path) -> None:
    """Levels, role and seed are read from runs that no plan names, but not of another space, nor cells that are not planned."""
    runs = [run_of({"lr": 0.1 * i, "bias": None}, 7, role="search") for i in (1, 2)]
    runs += [run_of({"lr": 0.3, "bias": True}, 8, role="finalist"), run_of({"lr": 0.1, "bias": None}, 7)]
    runs += [run_of({"lr": 0.3, "bias": "odd"}, 7, role="search"), run_of({"other": 1}, 7, role="search")]
    study = study_of("adaptive_search", {"lr": [], "bias": [None, True]}, [], name="search", ranges={"lr": "0 to 1"}, seeds=[7])
    write(client, study, runs, tmp_path)
    found = read(client, "search")
    assert {run.identity for run in found} == {run.identity for run in runs[:3]}
    (finalist,) = [run for run in found if run.role == "finalist"]
    assert (finalist.levels, finalist.seed, finalist.accuracy_at_t) == ({"lr": 0.3, "bias": True}, 8, ())


def test_a_cell_in_tuning_is_missing_and_its_trials_are_found(client: MlflowClient, tmp_path: Path) -> None:
    """A cell's replicates have no identity before it is tuned; its trials are in no plan, and their curves are not read."""
    cell = replace(run_of({"a": 1}, 0, status="MISSING"), identity="")
    trial = run_of({"a": 1}, 9, role="tuning", tuned={"lr": 0.1})
    study = study_of("one_factor_at_a_time", {"a": [1, 2]}, [cell], name="tuning")
    write(client, study, [cell, trial], tmp_path)
    found = read(client, "tuning")
    assert [(run.role, run.status, run.tuned) for run in found] == [("cell", "MISSING", {}), ("tuning", "FINISHED", {"lr": 0.1})]
    assert found[1].accuracy_at_t == ()


@pytest.mark.parametrize(
    ("design", "most_curves", "num_curves"),
    [("one_factor_at_a_time", 5, 6), ("full_factorial", 6, 6), ("full_factorial", 5, 0), ("random", 6, 0)],
)
def test_requests_do_not_grow_with_the_runs(
    design: str,
    most_curves: int,
    num_curves: int,
    client: MlflowClient,
    requests: Counter[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Runs come page by page; curves, one request each, only for a design that shows them and is not too large for that."""
    runs = [run_of({"a": a}, seed) for a in (1, 2, 3) for seed in range(2)]
    name = f"{design}_{most_curves}"
    write(client, study_of(design, {"a": [1, 2, 3]}, runs, name=name), runs, tmp_path)
    requests.clear()
    monkeypatch.setattr(records, "PAGE_SIZE", 3)
    monkeypatch.setattr(records, "MOST_CURVES", most_curves)
    found = read(client, name)
    assert sum(bool(run.accuracy_at_t) for run in found) == num_curves
    assert requests["get_metric_history"] == num_curves
    assert requests["search_runs"] <= 4  # 1 for the study, 2 full pages, perhaps an empty one
    assert requests["get_run"] <= 1  # for the study's artifact
