"""A study called ``moved``, of four replicates without images, and what a driver that finished it leaves in its stores."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.tracking._tracking_service import utils
from optuna.trial import TrialState

from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.ledger.ledger import open_ledger
from studies.engine.recording.tracker import Tracker
from studies.stores.mlflow_access import search_runs
from tests.new_stores import store_of
from tests.studies.engine.recording.test_tracker import report_of

FILE = """\
question: Does it move?
trainable: response_surface
baseline: {a: 0.5}
factors: {a: [0.25, 0.5]}
seeds: 2
"""


def study_at(storage: Path, *overrides: str) -> Study:
    """The study ``moved`` with this storage."""
    file = storage.parent / "moved.yaml"
    file.write_text(FILE)
    return load_study(str(file), [f"storage={json.dumps(str(storage))}", *overrides])


def record(study: Study, epochs: Sequence[int] = (1, 2, 3), name: str = "found") -> None:
    """What a driver leaves in the stores: every replicate is finished, and a report is attached."""
    utils._artifact_repos_cache.clear()  # MLflow keeps them by the ids of runs, which are the same in a copy
    ledger = open_ledger(study.stores.ledger, study.stores.name, study.space)
    tracker = Tracker(store_of(study), study, study.replicates, [], ledger_id=ledger.id)
    for replicate in study.replicates:
        for epoch in epochs:
            tracker.report(replicate, report_of(epoch, final=epoch == 3))
        tracker.end(replicate, TrialState.COMPLETE)
        if not ledger.entries().get(replicate.identity):
            ledger.begin(replicate)
            ledger.complete(replicate.identity, {"val/accuracy": 0.3, "sparsity/overall": 0.9})
    report = study.stores.storage / "reports"
    report.mkdir(exist_ok=True)
    (report / "summary.html").write_text(name)
    tracker.end_study(study.replicates, [], "FINISHED")
    tracker.attach_report(report, f"- {name}")
    assert tracker.close(60) == []


def digests(folder: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def client_runs(study: Study) -> list[Run]:
    client = MlflowClient(study.stores.tracking_uri)
    return list(search_runs(client, client.get_experiment_by_name(study.stores.experiment).experiment_id))
