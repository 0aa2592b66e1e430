"""Models in MLflow: loaded by the lines that its UI shows, in a process that has nothing of ours; never doubled, never missed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow.exceptions
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import TrialState

from studies.engine.binding.replicates import Replicate
from studies.engine.binding.trainable_modules import load_trainable, trainable_names
from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.execution.controller import checkpoint_folder
from studies.engine.recording import write_queue
from studies.engine.recording.logged_models import has_network
from studies.engine.recording.mlflow_ui_internals import MODEL_HISTORY
from studies.engine.recording.tracker import Tracker
from tests.conftest import PATIENCE_S
from tests.new_stores import store_of
from tests.studies.servers import free_port
from trainables.training import serving
from trainables.training.epoch_report import EpochReport

FILES = {"MLmodel", "code", "data", "input_example.json", "python_env.yaml", "requirements.txt", "serving_input_example.json"}

SNIPPET = """
import mlflow
logged_model = 'runs:/{run_id}/model'

# Load model as a PyFuncModel.
loaded_model = mlflow.pyfunc.load_model(logged_model)

# Predict on a Pandas DataFrame.
import pandas as pd
predicted = loaded_model.predict(pd.DataFrame(data))
"""
"""As MLflow 3.17's UI shows it among the artifacts of a run that has a model; ``data`` is the reader's."""


@pytest.fixture(scope="module")
def study(tiny_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Of six replicates that train in a moment; every test takes others of them, in one store."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "tiny.yaml").write_text(
        f"""\
question: Can it be loaded?
trainable: bitnet
config: {{data: {tiny_npz}, validation_fraction: 0.25, epochs: 1, batch_size: 32, layout: 4 M 4}}
baseline: {{time_steps: 4}}
factors: {{time_steps: [4, 2]}}
seeds: 3
storage: {folder / "results"}
"""
    )
    return load_study(str(folder / "tiny.yaml"))


def train(study: Study, replicate: Replicate, *, keep_weights: bool = True) -> list[EpochReport]:
    """What a worker does."""
    reports = load_trainable(replicate.trainable).train(
        replicate.recipe,
        seed=replicate.seed,
        dataset=study.binder.datasets[replicate.recipe.data],
        checkpoint_folder=checkpoint_folder(study, replicate.identity),
        keep_weights=keep_weights,
    )
    return list(reports)


def deliver(study: Study, replicate: Replicate, reports: Sequence[EpochReport], state: TrialState = TrialState.COMPLETE) -> Run:
    """The replicate's run, written by a driver of its own."""
    tracker = Tracker(store_of(study), study, study.replicates, [])
    tracker.begin(replicate)
    for report in reports:
        tracker.report(replicate, report.as_dict())
    tracker.end(replicate, state)
    assert tracker.close(60) == []
    client = MlflowClient(study.stores.tracking_uri)
    experiment = client.get_experiment_by_name(study.stores.name)
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`spikesweep.identity` = '{replicate.identity}'")
    return run


def files(study: Study, run: Run) -> set[str]:
    """What there is of a run's model."""
    listed = MlflowClient(study.stores.tracking_uri).list_artifacts(run.info.run_id, "model")
    return {Path(file.path).name for file in listed}


@pytest.mark.slow
def test_the_lines_of_the_ui_load_a_model(study: Study, tmp_path: Path) -> None:
    """In a fresh process, with the code that the model brings, its predictions are as accurate as the run's metric says."""
    replicate = study.replicates[0]
    run = deliver(study, replicate, train(study, replicate))
    dataset = study.binder.datasets[replicate.recipe.data]
    np.savez(tmp_path / "test.npz", images=dataset.test_images, labels=dataset.test_labels)
    code = f"""\
import json, numpy
arrays = numpy.load({str(tmp_path / "test.npz")!r})
data = {{"images": list(arrays["images"])}}
{SNIPPET.format(run_id=run.info.run_id)}
import trainables
example = loaded_model.predict(loaded_model.input_example)
print(json.dumps({{
    "accuracy": float((predicted.argmax(axis=1) == arrays["labels"]).mean()),
    "shapes": [predicted.shape, example.shape],
    "params": loaded_model.metadata.get_params_schema().to_dict(),
    "identity": loaded_model.metadata.metadata["spikesweep.identity"],
    "code": trainables.__path__[0],
}}))
"""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": study.stores.tracking_uri}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-c", code]
    fresh = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert fresh.returncode == 0, fresh.stderr
    seen: dict[str, Any] = json.loads(fresh.stdout.splitlines()[-1])
    assert seen["accuracy"] == run.data.metrics["test/accuracy"]
    assert seen["shapes"] == [[32, 2], [1, 2]]
    assert [(param["name"], param["default"]) for param in seen["params"]] == [("time_steps", 4)]
    assert seen["identity"] == replicate.identity
    assert seen["code"].endswith("model/code/trainables.zip/trainables")


def test_a_model_that_is_logged_again_takes_its_own_place(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the store went away behind the upload, or a driver died before the run had ended: the run has one model."""
    monkeypatch.setattr(write_queue, "SECONDS_BETWEEN_TRIES", 0.0)
    replicate = study.replicates[1]
    reports = train(study, replicate)
    really, outages = MlflowClient.log_batch, [1]

    def log_batch(client: MlflowClient, run_id: str, **given: Any) -> None:
        if any(tag.key == MODEL_HISTORY for tag in given.get("tags", ())) and outages:
            outages.pop()
            raise mlflow.exceptions.MlflowException("gone", mlflow.exceptions.TEMPORARILY_UNAVAILABLE)
        really(client, run_id, **given)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    for _ in range(2):
        run = deliver(study, replicate, reports)
        assert outages == []
        assert run.info.status == "FINISHED"
        (model,) = json.loads(run.data.tags[MODEL_HISTORY])
        assert (model["artifact_path"], set(model["flavors"])) == ("model", {"python_function", "bitnet"})
        assert files(study, run) == FILES


def test_runs_without_a_model(study: Study) -> None:
    """Weights that are gone are no loss: the run is FINISHED and says so. A study may want no models; what failed has none."""
    kept, not_kept, failed, unwanted = study.replicates[2:]
    reports = train(study, kept)
    (Path(checkpoint_folder(study, kept.identity)) / "weights.pt").unlink()
    for run in (deliver(study, kept, reports), deliver(study, not_kept, train(study, not_kept, keep_weights=False))):
        assert run.info.status == "FINISHED"
        assert run.data.tags["spikesweep.no_model"] == "the replicate's weights were not kept, or are gone"
        assert files(study, run) == set()
    without = dataclasses.replace(study, content=study.content.model_copy(update={"log_models": False}))
    for run in (
        deliver(study, failed, [], TrialState.FAIL),
        deliver(without, unwanted, train(without, unwanted)),
    ):
        assert not {MODEL_HISTORY, "spikesweep.no_model"} & run.data.tags.keys()
        assert files(study, run) == set()


def test_what_has_a_network() -> None:
    """Every trainable but the response surface."""
    assert [name for name in trainable_names() if not has_network(name)] == ["response_surface"]


@pytest.mark.slow
def test_a_model_is_served(study: Study, tmp_path: Path) -> None:
    """``mlflow models serve`` answers the example that a model brings as the loaded model does, with other time steps too."""
    replicate = study.replicates[0]
    run = deliver(study, replicate, train(study, replicate))
    client = MlflowClient(study.stores.tracking_uri)
    folder = Path(client.download_artifacts(run.info.run_id, "model", str(tmp_path)))
    example = json.loads((folder / "serving_input_example.json").read_text())
    classifier = serving._load_pyfunc(str(folder / "data"))
    images = np.array(example["inputs"]["images"], dtype=np.uint8)
    port, variables = free_port(), {"MLFLOW_TRACKING_URI": study.stores.tracking_uri}
    variables |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # where MLflow looks for uvicorn
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"runs:/{run.info.run_id}/model"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, env={**os.environ, **variables}, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for_answer(f"http://127.0.0.1:{port}/ping")
        for params in ({}, {"time_steps": 9}):
            body = json.dumps({**example, "params": params}).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/invocations", data=body, headers={"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request) as answer:
                assert json.load(answer)["predictions"] == classifier.predict(images, params).tolist()
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # a session of its own
        server.wait()


def wait_for_answer(address: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(address, timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            return
