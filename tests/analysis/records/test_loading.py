"""What is read from MLflow, and with how many requests; what a study's record keeps."""

import json
import math
import operator
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from analysis.records import loading, mlflow_store
from analysis.records.loading import load_recorded_study
from analysis.records.recorded_design import is_of_space
from studies import run_record
from studies.run_record import OBJECTIVES, Level, PlannedReplicate, RunRecord, StudyRecord, levels_in_words
from studies.stores import mlflow_access
from tests.analysis.examples import run_of, study_of
from tests.analysis.mlflow_stores import write, write_run
from tests.new_stores import new_client


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """A store of its own for all tests of the module; a study is an experiment."""
    return new_client(tmp_path_factory.mktemp("store"))


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
        tuning_bounds={"momentum": {"low": 0, "high": 1, "log": False, "step": None, "integer": False}},
        constraints=["limit < 3"],
        not_counted=["j"],
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
    assert study.tuning_bounds == {}
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
    assert (finalist.levels, finalist.seed, finalist.accuracy_at_t) == ({"lr": 0.3, "bias": True}, 8, (0.25, 0.5))


def test_a_cell_in_tuning_is_missing_and_its_trials_are_found(client: MlflowClient, tmp_path: Path) -> None:
    """A cell's replicates have no identity before it is tuned; its trials are in no plan, and their curves are not read."""
    cell = replace(run_of({"a": 1}, 0, status="MISSING"), identity="")
    trial = run_of({"a": 1}, 9, role="tuning", tuned={"lr": 0.1})
    study = study_of("one_factor_at_a_time", {"a": [1, 2]}, [cell], name="tuning")
    write(client, study, [cell, trial], tmp_path)
    found = read(client, "tuning")
    assert [(run.role, run.status, run.tuned) for run in found] == [("cell", "MISSING", {}), ("tuning", "FINISHED", {"lr": 0.1})]
    assert found[1].accuracy_at_t == ()


def test_requests_do_not_grow_with_the_runs(
    client: MlflowClient, requests: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs come page by page with their curves, whatever the design."""
    runs = [run_of({"a": a}, seed) for a in (1, 2, 3) for seed in range(2)]
    experiment = write(client, study_of("random", {"a": [1, 2, 3]}, runs, name="pages"), [], tmp_path)
    for run in runs:
        write_run(client, experiment, run, {run_record.CURVE: json.dumps(run.accuracy_at_t)})
    requests.clear()
    monkeypatch.setattr(mlflow_access, "PAGE_SIZE", 3)
    found = read(client, "pages")
    assert [run.accuracy_at_t for run in found] == [run.accuracy_at_t for run in runs]
    assert requests["search_runs"] <= 4  # 7 runs with the study's own, perhaps an empty page
    assert (requests["get_metric_history"], requests["get_run"]) == (0, 1)  # 1 for the study's artifact


def test_curves_of_older_runs_are_read_up_to_a_limit(
    client: MlflowClient, requests: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A curve that is a metric alone is a request; beyond the limit curves are left out, and it is said."""
    runs = [run_of({"a": a}, seed) for a in (1, 2) for seed in range(2)]
    write(client, study_of("full_factorial", {"a": [1, 2]}, runs, name="older"), runs, tmp_path)
    monkeypatch.setattr(loading, "MOST_HISTORIES", 3)
    requests.clear()
    recorded = load_recorded_study("older", client.tracking_uri)
    assert [run.accuracy_at_t for run in recorded.runs] == [run.accuracy_at_t for run in runs[:3]] + [()]
    assert requests["get_metric_history"] == 3
    assert recorded.warnings == ["Accuracy at t was read of 3 of 4 replicates that an older spikesweep wrote."]


def test_a_curve_that_was_cut_short_is_read_as_a_metric(client: MlflowClient, tmp_path: Path) -> None:
    """Some servers cut long tags, which are no JSON then."""
    run = run_of({"a": 1}, 0)
    experiment = write(client, study_of("random", {"a": [1]}, [run], name="cut"), [], tmp_path)
    write_run(client, experiment, run, {run_record.CURVE: "[0.25, 0."})
    assert read(client, "cut")[0].accuracy_at_t == (0.25, 0.5)


@pytest.mark.parametrize(
    ("words", "value", "is_of_it"),
    [
        ("0.0001 to 0.1, log", 0.1, True),
        ("0.0001 to 0.1, log", 0.2, False),
        ("1e-05 to 1e-03", 1e-5, True),
        ("-1 to 1 in steps of 0.5", -1.5, False),
        ("16 to 64 (where a is 1)", 65, False),
        ("0.333333 to 1", 1 / 3, True),
        ("0.1, 0.2, 0.3", 5.0, True),
        ("0 to 1", "odd", True),
    ],
)
def test_a_range_that_is_recorded_in_words_alone(words: str, value: Level, is_of_it: bool) -> None:
    """A record of an earlier version: its words are read, up to their rounding; words that are no range leave out nothing."""
    study = study_of("adaptive_search", {"lr": []}, [], ranges={"lr": words})
    assert is_of_space(study, PlannedReplicate("i", 0, {"lr": value}, "search")) == is_of_it


@pytest.mark.parametrize(("level", "is_of_it"), [(0.1, True), (1 / 3, True), (0.0999, False), (0.334, False), (1, False)])
def test_what_is_outside_of_a_range_is_of_another_space(level: Level, is_of_it: bool) -> None:
    """A range that was made smaller leaves out what was proposed before; its bounds count, and not its words."""
    bounds = {"lr": {"low": 0.1, "high": 1 / 3, "log": False, "step": None, "integer": False}}
    study = study_of("adaptive_search", {"lr": []}, [], ranges={"lr": "0 to 1"}, bounds=bounds)
    assert is_of_space(study, PlannedReplicate("i", 0, {"lr": level}, "search")) == is_of_it


@pytest.mark.parametrize("bounds", [{}, {"lr": {"low": 0.1, "high": 1, "log": True, "step": None, "integer": False}}])
def test_tuned_values_of_another_space_are_left_out(bounds: dict[str, dict[str, Any]]) -> None:
    """Of parameters that are tuned no more, or outside of their ranges now; also in a record that has ranges in words alone."""
    asked = {"tuning": {"parameters": {"lr": "0.1 to 1, log"}}, "tuning_bounds": bounds}
    study = study_of("one_factor_at_a_time", {"a": [1, 2]}, [], **asked)
    found = [
        is_of_space(study, PlannedReplicate("i", 0, {"a": 1}, "tuning", tuned)) for tuned in ({"lr": 0.5}, {"lr": 5}, {"b": 1})
    ]
    assert found == [True, False, False]


def test_the_largest_number_is_infinity(client: MlflowClient, tmp_path: Path) -> None:
    """MLflow's SQL stores write it for an infinite value; NaN they keep."""
    runs = [run_of({"a": 1}, 0, float("inf")), run_of({"a": 1}, 1, float("-inf")), run_of({"a": 1}, 2, float("nan"))]
    write(client, study_of("random", {"a": [1]}, runs, name="infinite"), runs, tmp_path)
    values = [run.metrics[run_record.ACCURACY] for run in read(client, "infinite")]
    assert values[:2] == [float("inf"), float("-inf")]
    assert math.isnan(values[2])


def test_facts_and_times_come_back(client: MlflowClient, tmp_path: Path) -> None:
    """A report's facts are the tags that are none of ours; a run that has ended knows when."""
    run = run_of({"a": 1}, 0)
    experiment = write(client, study_of("random", {"a": [1]}, [run], name="facts"), [], tmp_path)
    write_run(client, experiment, run, {"spikesweep.energy_model": "45 nm", "mine": "x"})
    (found,) = read(client, "facts")
    assert found.facts == {"energy_model": "45 nm"}
    assert 0 < found.begun_at_ms <= found.ended_at_ms


@given(num_runs=st.integers(0, 60), spread=st.integers(0, 200))
def test_periods_find_every_run_once(num_runs: int, spread: int) -> None:
    """However the runs lie in time, each is of one period."""
    times = [spread * i * i % 997 for i in range(num_runs)]
    client: Any = SimpleNamespace(search_runs=lambda _, order_by, max_results: _ordered(times, order_by[0])[:max_results])
    for time in times:
        periods = mlflow_store._periods(client, "1")
        assert sum(_is_in(time, query) for query in periods) == 1


def _ordered(times: list[int], order: str) -> list[Any]:
    return [SimpleNamespace(info=SimpleNamespace(start_time=time)) for time in sorted(times, reverse=order.endswith("DESC"))]


def _is_in(time: int, query: str) -> bool:
    compare = {"<": operator.lt, ">=": operator.ge}
    conditions = [condition.split() for condition in query.split(" and ") if condition]
    return all(compare[sign](time, int(bound)) for _, sign, bound in conditions)
