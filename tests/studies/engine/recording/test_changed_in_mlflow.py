"""Whatever a person does in MLflow's pages between two runs of a study, no run is made twice, and none is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from analysis.records.loading import load_recorded_study
from studies import run_record
from studies.engine.errors import StudyError
from studies.engine.recording.replicate_runs import PARENT
from studies.stores.store_uris import sqlite_uri
from tests.studies.engine.recording.finished_study import client_runs, record, study_at

Change = Callable[[MlflowClient, Run, Run], object]
"""What is done, given the study's run and that of a replicate."""

FOUND_BY = (run_record.IDENTITY, run_record.KIND, run_record.STUDY, PARENT)


def without(tag: str) -> Change:
    return lambda client, _, run: client.delete_tag(run.info.run_id, tag)


def edited(tag: str) -> Change:
    return lambda client, _, run: client.set_tag(run.info.run_id, tag, "edited")


def study_without(tag: str) -> Change:
    return lambda client, study, _: client.delete_tag(study.info.run_id, tag)


CHANGES: dict[str, Change] = {
    "a run is deleted": lambda client, _, run: client.delete_run(run.info.run_id),
    "the study's run is deleted": lambda client, study, _: client.delete_run(study.info.run_id),
    "both are deleted": lambda client, study, run: [client.delete_run(each.info.run_id) for each in (study, run)],
    "the experiment is renamed": lambda client, study, _: client.rename_experiment(study.info.experiment_id, "mine"),
    "a run is renamed": lambda client, _, run: client.update_run(run.info.run_id, name="the best one"),
    "the study's run is renamed": lambda client, study, _: client.update_run(study.info.run_id, name="the study"),
    "a tag is added": lambda client, _, run: client.set_tag(run.info.run_id, "mine", "yes"),
    **{f"{tag} is deleted": without(tag) for tag in (*FOUND_BY, run_record.CONFIG, run_record.LEVELS)},
    **{f"{tag} is edited": edited(tag) for tag in FOUND_BY},
    **{f"{tag} of the study's run is deleted": study_without(tag) for tag in (run_record.KIND, run_record.STUDY)},
    "its identity is deleted, then the run": lambda client, study, run: [
        without(run_record.IDENTITY)(client, study, run),
        client.delete_run(run.info.run_id),
    ],
}


def ids_in(client: MlflowClient, view: int) -> set[str]:
    everywhere = [experiment.experiment_id for experiment in client.search_experiments(ViewType.ALL)]
    return {run.info.run_id for run in client.search_runs(everywhere, run_view_type=view)}


QUICK = ("both are deleted", "the experiment is renamed", f"{run_record.IDENTITY} is edited", f"{run_record.KIND} is deleted")
"""What the default suite looks at: one change of each kind."""


@pytest.mark.parametrize("change", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CHANGES])
def test_nothing_is_doubled_or_lost(change: str, original: Path) -> None:
    """The next driver goes on in the same runs, and the report has the same four replicates with the same values."""
    study = study_at(original)
    client = MlflowClient(study.stores.tracking_uri)
    study_run, run, *_ = sorted(client_runs(study), key=lambda run: run.data.tags[run_record.KIND] == "replicate")
    before = ids_in(client, ViewType.ALL)
    CHANGES[change](client, study_run, run)
    record(study)
    assert ids_in(client, ViewType.ACTIVE_ONLY) == before
    assert ids_in(client, ViewType.ALL) == before
    assert len(client.search_experiments(ViewType.ALL)) == 2
    recorded = load_recorded_study("moved", study.stores.tracking_uri)
    assert list(recorded.warnings) == []
    assert [run.status for run in recorded.runs] == ["FINISHED"] * 4
    assert [run.metrics["val/accuracy"] for run in recorded.runs] == [0.3] * 4
    assert [run.identity for run in recorded.runs] == [replicate.identity for replicate in study.replicates]


def test_a_deleted_run_is_called_deleted(original: Path) -> None:
    """The report says so, with the command that restores it; once it is restored, the report is as it was."""
    uri = sqlite_uri(original / "mlflow.db")
    client = MlflowClient(uri)
    lost = load_recorded_study("moved", uri).runs[1]
    client.delete_run(lost.run_id)
    recorded = load_recorded_study("moved", uri)
    assert recorded.runs[1].status == "MISSING"
    assert f"mlflow runs restore --run-id {lost.run_id}" in recorded.runs[1].reason
    assert recorded.warnings[0].startswith("1 replicate (a=0.25 · seed 0) was deleted in MLflow")
    client.restore_run(lost.run_id)
    again = load_recorded_study("moved", uri)
    assert (again.runs[1].run_id, list(again.warnings)) == (lost.run_id, [])


def test_a_deleted_experiment(original: Path) -> None:
    """A driver refuses to make another one; once it is restored, with its runs, all is as it was."""
    study = study_at(original)
    client = MlflowClient(study.stores.tracking_uri)
    before = ids_in(client, ViewType.ALL)
    experiment = client.get_experiment_by_name("moved").experiment_id
    client.delete_experiment(experiment)
    with pytest.raises(StudyError, match="must not be deleted in MLflow"):
        record(study)
    client.restore_experiment(experiment)
    record(study)
    assert ids_in(client, ViewType.ACTIVE_ONLY) == before
