"""Runs that do not count: which of the data, the config, the levels or the seeds has changed since."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from analysis.records.loading import load_recorded_study
from studies import run_record
from studies.run_record import RunRecord, StudyRecord
from tests.analysis.examples import run_of, study_of
from tests.analysis.mlflow_stores import write, write_run
from tests.new_stores import new_client

OLD, NEW = "1" * 64, "2" * 64
NOW = {"data": "mine.npz", "epochs": 5}


def add(client: MlflowClient, experiment: str, run: RunRecord, digest: str, config: dict[str, Any]) -> None:
    """A run as the engine writes it, with its data and config."""
    write_run(client, experiment, run, {run_record.DATA_DIGEST: digest, run_record.CONFIG: json.dumps(config)})


def stored(client: MlflowClient, folder: Path, study: StudyRecord) -> str:
    return write(client, study, [], folder)


def test_what_has_changed_is_named(tmp_path: Path) -> None:
    """Other data with both digests, other fields with both values, other levels: a sentence for each."""
    client = new_client(tmp_path)
    runs = [run_of({"a": a}, seed, 0.5) for a in (1, 2) for seed in (0, 1)]
    study = study_of("one_factor_at_a_time", {"a": [1, 2]}, runs, name="changed", data={"mine.npz": NEW})
    experiment = stored(client, tmp_path / "artifacts", study)
    for run in runs:
        add(client, experiment, run, NEW, NOW)
        add(client, experiment, replace(run, identity=f"data {run.identity}"), OLD, NOW)
    add(client, experiment, replace(runs[0], identity="config"), NEW, {"data": "mine.npz", "epochs": 3, "gone": True})
    add(client, experiment, run_of({"a": 3}, 0), NEW, NOW)
    add(client, experiment, replace(runs[0], identity="elsewhere"), OLD, {**NOW, "data": "other.npz"})
    recorded = load_recorded_study("changed", client.tracking_uri)
    assert len(recorded.runs) == 4
    said = " ".join(recorded.warnings)
    data = "of other data than the study has now: the digest of mine.npz was 11111111, and is 22222222 now"
    assert f"4 replicates are {data}" in said
    assert "of other data than the study has now: the digest of other.npz was 11111111 (" in said
    assert "1 replicate is of a config that the study no longer asks for: epochs (3, now 5), gone (true, no longer there)" in said
    assert "1 replicate is of levels or seeds that the study no longer asks for" in said


def test_a_search_counts_no_trial_on_other_data(tmp_path: Path) -> None:
    """Trials that the record does not name yet count where their data are the study's; of an older record all do."""
    client = new_client(tmp_path)
    runs = [run_of({"a": a}, 0, 0.5, role="search") for a in (1, 2)]
    for name, data, num in (("search", {"mine.npz": NEW}, 1), ("older", {}, 2)):
        study = study_of("adaptive_search", {"a": [1, 2]}, [], name=name, data=data)
        experiment = stored(client, tmp_path / name, study)
        for run, digest in zip(runs, (OLD, NEW), strict=True):
            add(client, experiment, run, digest, NOW)
        assert len(load_recorded_study(name, client.tracking_uri).runs) == num


def test_trials_that_the_record_does_not_count_are_left_out(tmp_path: Path) -> None:
    """Their levels are of the factors, but the study's file has changed since."""
    client = new_client(tmp_path)
    runs = [run_of({"a": a}, 0, 0.5, role="search") for a in (1, 2)]
    study = study_of("adaptive_search", {"a": [1, 2]}, [], name="changed")
    experiment = stored(client, tmp_path / "artifacts", replace(study, not_counted=[runs[0].identity]))
    for run in runs:
        add(client, experiment, run, NEW, NOW)
    recorded = load_recorded_study("changed", client.tracking_uri)
    assert [run.identity for run in recorded.runs] == [runs[1].identity]
    assert "1 replicate is" in " ".join(recorded.warnings)
