"""A whole study whose checkpoints lie in an object store, with a driver that dies; its ledger and its runs are elsewhere."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import PATIENCE_S, Start, run, s3_uri
from tests.studies.stage import list_ledger
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.files import inside

KEYS = ("somebody", "pass%2Fword", "pass/word")


@pytest.mark.slow
def test_a_study_in_an_object_store(tiny_study: Path, s3_endpoint: str, start: Start) -> None:
    """kill -9 of the driver, and the same command again: every replicate is finished in the store, its keys are shown nowhere."""
    folder = tiny_study.parent
    storage, ledger, runs = s3_uri(s3_endpoint), folder / "ledger.journal", f"sqlite:///{folder / 'mlflow.db'}"
    options = ("--storage", storage, "--tracking-uri", runs, "--set", f"ledger={ledger}", "--set", "config.epochs=4")
    driver = start(tiny_study, *options)
    while not (ledger.exists() and "COMPLETE" in list_ledger(str(ledger)).get("tiny", {})):
        assert driver.poll() is None, driver.communicate()[0]
    driver.kill()
    killed, _ = driver.communicate(timeout=PATIENCE_S)
    last = run(tiny_study, *options, "--json")
    assert last.returncode == 0, last.stdout + last.stderr
    assert list_ledger(str(ledger)) == {"tiny": {"COMPLETE": 6}}

    client = MlflowClient(runs)
    found = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    identities = [one.data.tags["spikesweep.identity"] for one in found if "mlflow.parentRunId" in one.data.tags]
    assert len(identities) == len(set(identities)) == 6
    for identity in identities:
        reports = CheckpointFolder(inside(inside(storage, "checkpoints"), identity)).finished_reports()
        assert [report.epoch for report in reports] == list(range(1, 5))
    assert all("mlflow.log-model.history" in one.data.tags for one in found if "mlflow.parentRunId" in one.data.tags)
    shown = [killed, last.stdout, last.stderr, ledger.read_text(), *(str(one) for one in found)]
    assert not [text for text in shown for key in KEYS if key in text]
