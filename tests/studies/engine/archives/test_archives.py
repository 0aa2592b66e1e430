"""A study written by the tracker is exported and imported again: into files, servers, and half-imported stores."""

import dataclasses
import json
import math
import os
import resource
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric, Run
from mlflow.exceptions import MlflowException
from optuna.trial import TrialState
from typer.testing import CliRunner, Result

from analysis.records.loading import load_recorded_study
from studies.cli import app
from studies.engine.archives import archived_run, writing
from studies.engine.archives.archived_run import ArchivedRun
from studies.engine.archives.metric_histories import read_histories
from studies.engine.archives.zip_format import is_safe
from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.ledger.ledger import ReplicateEnd
from studies.engine.recording.mlflow_ui_internals import MODEL_HISTORY
from studies.engine.recording.tracker import Tracker
from studies.stores.artifact_locations import artifacts_at
from studies.stores.mlflow_access import search_runs
from tests.conftest import PATIENCE_S, SPIKESWEEP
from tests.new_stores import new_store, store_of
from tests.studies.engine.recording.test_tracker import report_of
from tests.studies.postgresql import mlflow_on, needs_postgresql, postgresql
from tests.studies.servers import free_port, mlflow_server

PASSWORD = "xyzzy-8-plugh"
NUM_RUNS = 7


@pytest.fixture(scope="module")
def source(tiny_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of 6 replicates in a store of its own: four finished with a table, one with a model; one pruned; one failed."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "moved.yaml").write_text(
        f"""\
question: Does it move?
trainable: bitnet
config: {{data: {tiny_npz}, validation_fraction: 0.25, epochs: 3, batch_size: 32, layout: 64 M 64}}
baseline: {{time_steps: 4, feature_scale: 0.0625}}
factors: {{time_steps: [2, 4], feature_scale: [0.0625, 0.125]}}
seeds: 2
storage: {folder / "results"}
"""
    )
    study = load_study(str(folder / "moved.yaml"))
    client = store_of(study)
    tracker = Tracker(client, study, study.replicates, [])
    pruned, failed, *complete = study.replicates
    for replicate in study.replicates:
        for epoch in (1,) if replicate is pruned else (1, 2, 3):
            tracker.report(replicate, report_of(epoch, final=epoch == 3))
    tracker.end(pruned, TrialState.PRUNED, "stopped after epoch 1 of 3")
    tracker.end(failed, TrialState.FAIL, "epoch 3: broken", ReplicateEnd.now(traceback="Traceback: broken"))
    for replicate in complete:
        tracker.end(replicate, TrialState.COMPLETE, details=ReplicateEnd.now({"cost/hours": 0.5}))
    tracker.end_study(study.replicates, [], "FINISHED")
    assert tracker.close(60) == []
    add_model(client, runs_in(study.stores.tracking_uri)[complete[0].identity], folder)
    return study


def add_model(client: MlflowClient, run: Run, folder: Path) -> None:
    """As MLflow's own ``log_model`` leaves one; with metrics that no decimal number writes."""
    run_id = run.info.run_id
    model = client.create_logged_model(run.info.experiment_id, "net", run_id, {"a": "b"}, {"p": "1"}, "pyfunc")
    files = folder / "model"
    (files / "data").mkdir(parents=True)
    (files / "MLmodel").write_text(f"model_id: {model.model_id}\nrun_id: {run_id}\n")
    (files / "data" / "weights.pt").write_bytes(bytes(range(256)))
    client.log_model_artifacts(model.model_id, str(files))
    odd = [Metric("odd", value, 1_700_000_000_000, step) for step, value in enumerate((math.nan, math.inf, 1 / 3))]
    client.log_batch(run_id, metrics=[*odd, Metric("val/score", 0.5, 1_700_000_000_000, 3, model_id=model.model_id)])
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 3)])
    client.set_tag(run_id, MODEL_HISTORY, json.dumps([{"run_id": run_id, "artifact_path": "model"}]))


@pytest.fixture(scope="module")
def archive(source: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study exported, by the file's name."""
    file = tmp_path_factory.mktemp("archive") / "moved.zip"
    result = command("export", "moved", str(file), "--storage", str(source.stores.storage))
    assert result.exit_code == 0, result.output
    return file


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A folder with an empty store."""
    return new_store(tmp_path / "target" / "mlflow.db").parent


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def uri_of(storage: Path) -> str:
    return f"sqlite:///{storage / 'mlflow.db'}"


def runs_in(uri: str) -> dict[str, Run]:
    """The runs of the study by key."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("moved")
    runs = list(search_runs(client, experiment.experiment_id)) if experiment else []
    assert len({archived_run.key_of(run) for run in runs}) == len(runs)
    return {archived_run.key_of(run): run for run in runs}


def model_of(client: MlflowClient, run: Run) -> LoggedModel:
    (output,) = run.outputs.model_outputs
    assert output.step == 3
    return client.get_logged_model(output.model_id)


def described(uri: str, run: Run) -> dict[str, Any]:
    """All of a run that is the same in every store; what is no number as a text."""
    client = MlflowClient(uri)
    history = read_histories(client, {run.info.run_id: run.data.metrics})[run.info.run_id]
    own = archived_run.describe(run, history, [model for model, _ in archived_run.models_of(client, run)]).as_dict()
    elsewhere = ("mlflow.parentRunId", "mlflow.note.content", MODEL_HISTORY)  # with ids of the store
    tags = {name: text for name, text in own["tags"].items() if name not in elsewhere}
    models = [{**model, "model_id": "", "artifact_location": "", "created_at_ms": 0} for model in own["models"]]
    files = dict(archived_run.artifact_sizes(artifacts_at(client, run.info.artifact_uri)))
    return {**own, "run_id": "", "tags": tags, "models": models, "files": files, "latest": repr(sorted(run.data.metrics.items()))}


def assert_same(source: Study, uri: str) -> None:
    """Every run of the study is in this store too, and its report is the same."""
    ours, theirs = runs_in(source.stores.tracking_uri), runs_in(uri)
    assert len(ours) == NUM_RUNS
    assert ours.keys() == theirs.keys()
    for key, run in ours.items():
        assert described(uri, theirs[key]) == described(source.stores.tracking_uri, run)
        if key != "study":
            assert theirs[key].data.tags["mlflow.parentRunId"] == theirs["study"].info.run_id
    first, second = (load_recorded_study("moved", each) for each in (source.stores.tracking_uri, uri))
    assert first.study == second.study
    assert [repr(run).replace(run.run_id, "") for run in first.runs] == [repr(run).replace(run.run_id, "") for run in second.runs]
    assert first.warnings == second.warnings


def test_a_study_moves_whole(
    source: Study, archive: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statuses, times, names, parameters, tags, histories, data sets, models and files; links lead to the new store; a second
    import and a driver find every run by its identity."""
    result = command("import", str(archive), "--storage", str(storage))
    assert result.exit_code == 0, result.output
    assert "7 runs of moved were written" in result.output
    assert_same(source, uri_of(storage))
    client = MlflowClient(uri_of(storage))
    runs = runs_in(uri_of(storage))
    (with_model,) = (run for run in runs.values() if run.outputs.model_outputs)
    model = model_of(client, with_model)
    assert (str(model.status), model.source_run_id, model.metrics[0].run_id) == ("READY", *[with_model.info.run_id] * 2)
    files = Path(artifacts_at(client, model.artifact_location).download_artifacts("", str(tmp_path)))
    assert (files / "MLmodel").read_text() == f"model_id: {model.model_id}\nrun_id: {with_model.info.run_id}\n"
    assert (files / "data" / "weights.pt").read_bytes() == bytes(range(256))
    note = with_model.data.tags["mlflow.note.content"]
    experiment = client.get_experiment_by_name("moved")
    assert f"#/experiments/{experiment.experiment_id}/runs/{runs['study'].info.run_id}" in note
    assert f"--tracking-uri '{uri_of(storage)}'" in note
    assert with_model.inputs.dataset_inputs[0].dataset.name == "halves"
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"

    before = {key: as_text(run) for key, run in runs.items()}
    again = command("import", str(archive), "--storage", str(storage), "--json")
    assert json.loads(again.stdout)["num_runs"] == 0
    monkeypatch.setattr(MlflowClient, "create_run", None)  # a driver has no run to make
    moved = load_study(str(source.stores.storage.parent / "moved.yaml"), [f"storage={storage}"])
    tracker = Tracker(client, moved, moved.replicates, [])
    for replicate in moved.replicates[2:]:
        for epoch in (1, 2, 3):
            tracker.report(replicate, report_of(epoch, final=epoch == 3, loss=0.7))
        tracker.end(replicate, TrialState.COMPLETE, details=ReplicateEnd(runs[replicate.identity].info.end_time))
    assert tracker.statuses().keys() == {replicate.identity for replicate in moved.replicates}
    assert tracker.close(60) == []
    after = {key: as_text(run) for key, run in runs_in(uri_of(storage)).items() if key != "study"}
    del before["study"]
    assert after == before


def as_text(run: Run) -> str:
    return json.dumps(run.to_dictionary(), sort_keys=True)


@pytest.mark.parametrize("stage", ["log_batch", "_write_files", "set_terminated"])
def test_an_import_that_ends_early(
    stage: str, source: Study, archive: Path, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was written of a run when its store went away, the same command completes it and doubles nothing."""
    place: Any = writing if stage == "_write_files" else MlflowClient
    original: Callable[..., Any] = getattr(place, stage)
    calls = []

    def fails_later(*arguments: Any, **options: Any) -> Any:
        calls.append(0)
        if len(calls) == 5:
            raise MlflowException("the store is away: http://me:secret@host")
        return original(*arguments, **options)

    monkeypatch.setattr(place, stage, fails_later)
    first = command("import", str(archive), "--storage", str(storage))
    assert first.exit_code == 1
    assert "run the same command again to go on" in first.output
    assert "secret" not in first.output
    monkeypatch.undo()
    assert 1 < len(runs_in(uri_of(storage))) < NUM_RUNS + 1
    second = command("import", str(archive), "--storage", str(storage))
    assert second.exit_code == 0, second.output
    assert_same(source, uri_of(storage))


def test_a_run_that_differs(archive: Path, storage: Path) -> None:
    """A run of that identity whose numbers are others is named, and nothing is written; tags of the user's own are no matter."""
    assert command("import", str(archive), "--storage", str(storage)).exit_code == 0
    client = MlflowClient(uri_of(storage))
    runs = runs_in(uri_of(storage))
    first, second, *_ = (run for key, run in runs.items() if key != "study" and run.info.status == "FINISHED")
    client.set_tag(first.info.run_id, "mine", "seen")
    client.set_tag(first.info.run_id, "mlflow.note.content", "a good one")
    assert command("import", str(archive), "--storage", str(storage)).exit_code == 0
    client.log_metric(second.info.run_id, "val/accuracy", 0.125, 1, 2)
    client.set_tag(second.info.run_id, "spikesweep.seed", "9")
    before = {key: repr(run.to_dictionary()) for key, run in runs_in(uri_of(storage)).items()}
    refused = command("import", str(archive), "--storage", str(storage))
    assert refused.exit_code == 2
    shown = " ".join(refused.output.split())
    assert f"run {second.info.run_id} in {uri_of(storage)} differs in: tags spikesweep.seed; metrics val/accuracy" in shown
    assert first.info.run_id not in shown
    assert {key: repr(run.to_dictionary()) for key, run in runs_in(uri_of(storage)).items()} == before


def rewritten(archive: Path, file: Path, change: Callable[[str, bytes], tuple[str, bytes]]) -> Path:
    """The archive with every file changed as the function says."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(*change(name, old.read(name)))
    return file


def bad_archive(case: str, archive: Path, file: Path) -> Path:
    """An archive that is wrong in one way."""
    match case:
        case "no zip":
            file.write_text("hello")
        case "truncated":
            file.write_bytes(archive.read_bytes()[:-1000])
        case "flipped":
            content = bytearray(archive.read_bytes())
            content[len(content) // 2] ^= 255
            file.write_bytes(content)
        case "digest":
            rewritten(archive, file, lambda name, text: (name, text.replace(b"0.5", b"0.6") if name[:4] == "runs" else text))
        case "newer":
            rewritten(archive, file, lambda name, text: (name, text.replace(b'"format": 1', b'"format": 2')))
        case "outside":
            rewritten(archive, file, lambda name, text: ("../" + name if name[:5] == "model" else name, text))
        case "other zip":
            rewritten(archive, file, lambda name, text: ("x" + name, text))
    return file


BAD_ARCHIVES = {
    "missing": "No such file",
    "no zip": "it is no zip file",
    "truncated": "it ends before its end",
    "flipped": "an archive must be as it was written",
    "digest": "'runs/00001.jsonl' has another digest than SHA256SUMS says",
    "newer": "an archive's format must be 1 or older",
    "outside": "files in an archive must have plain paths, and be no links",
    "other zip": "it has no manifest.json of such an archive",
}


@pytest.mark.parametrize(("case", "said"), BAD_ARCHIVES.items())
def test_bad_archives(case: str, said: str, archive: Path, tmp_path: Path) -> None:
    """What is no whole archive of a known format is one problem, and no store is made for it."""
    file = bad_archive(case, archive, tmp_path / "bad.zip")
    result = command("import", str(file), "--storage", str(tmp_path / "target"))
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.output.split())
    assert "error: 1 problem" in result.output
    assert {path.name for path in tmp_path.iterdir()} <= {"bad.zip"}


def test_bad_exports(source: Study, storage: Path, tmp_path: Path) -> None:
    """No such study, no such store, a file that is there, a folder that is not: each is a problem, and leaves no file."""
    file, kept = tmp_path / "new.zip", tmp_path / "kept.zip"
    kept.write_text("mine")
    ours = ["--storage", str(source.stores.storage)]
    cases = {
        "export needs a study that MLflow has": ["moved", str(file), "--storage", str(storage)],
        "there is no such file": ["moved", str(file), "--storage", str(tmp_path / "nowhere")],
        "FILE must not exist yet": ["moved", str(kept), *ours],
        "FILE must be one that can be written": ["moved", str(tmp_path / "nowhere" / "new.zip"), *ours],
        "STUDY must be a study file": ["no study", str(file), *ours],
    }
    for said, arguments in cases.items():
        result = command("export", *arguments)
        assert result.exit_code == 2, result.output
        assert said in " ".join(result.output.split())
    assert {path.name for path in tmp_path.iterdir()} == {"kept.zip", "target"}
    assert kept.read_text() == "mine"
    assert command("export", "moved", str(kept), *ours, "--force").exit_code == 2
    assert kept.read_text() == "mine"
    with zipfile.ZipFile(kept, "w"):
        pass
    assert command("export", "moved", str(kept), *ours, "--force").exit_code == 0
    with zipfile.ZipFile(kept) as archive:
        assert archive.namelist()


def test_a_disk_that_is_full(source: Study, tmp_path: Path) -> None:
    """An export that cannot be written to its end is a problem, and leaves nothing behind."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        result = command("export", "moved", str(tmp_path / "new.zip"), "--storage", str(source.stores.storage))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 2, result.output
    assert "FILE must be one that can be written" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_server_that_asks_who_comes(source: Study, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own variables name user and password for import, export, report and run; a wrong one is an error that does not
    show it."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    there = ["--storage", str(tmp_path / "here"), "--tracking-uri", uri]
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "not-the-password")
    study = str(source.stores.storage.parent / "moved.yaml")
    with mlflow_server(tmp_path, port, login=("admin", PASSWORD)):
        for arguments in (
            ["import", str(archive)],
            ["export", "moved", str(tmp_path / "x.zip")],
            ["report", "moved"],
            ["run", study],
        ):
            refused = command(*arguments, *there)
            assert refused.exit_code == 2, refused.output
            assert "You are not authenticated" in refused.output
            assert "not-the-password" not in refused.output
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        imported = command("import", str(archive), *there)
        assert imported.exit_code == 0, imported.output
        assert_same(source, uri)
        exported = command("export", "moved", str(tmp_path / "back.zip"), *there)
        assert exported.exit_code == 0, exported.output
        moved = load_study(study, [f"tracking_uri={uri}"])
        tracker = Tracker(store_of(moved), moved, moved.replicates, [])
        tracker.end(moved.replicates[2], TrialState.COMPLETE)
        assert tracker.close(60) == []
    with zipfile.ZipFile(archive) as ours, zipfile.ZipFile(tmp_path / "back.zip") as theirs:
        assert ours.namelist() == theirs.namelist()
        assert PASSWORD.encode() not in b"".join(theirs.read(name) for name in theirs.namelist())


@pytest.mark.slow
@needs_postgresql
def test_a_server_on_postgresql(source: Study, archive: Path, storage: Path, tmp_path: Path) -> None:
    """From a file to a server on PostgreSQL, from there into a file again: nothing has changed."""
    with postgresql() as database, mlflow_on(database, tmp_path) as uri:
        result = command("import", str(archive), "--tracking-uri", uri, "--storage", str(tmp_path / "here"))
        assert result.exit_code == 0, result.output
        assert_same(source, uri)
        back = str(tmp_path / "back.zip")
        assert command("export", "moved", back, "--tracking-uri", uri, "--storage", str(tmp_path / "here")).exit_code == 0
    assert command("import", back, "--storage", str(storage)).exit_code == 0
    assert_same(source, uri_of(storage))


@pytest.mark.slow
def test_an_import_that_is_killed(source: Study, archive: Path, storage: Path) -> None:
    """kill -9 at any moment, as often as one likes: the same command goes on, and the store ends as if nothing had been."""
    words = [*SPIKESWEEP, "import", str(archive), "--storage", str(storage)]
    for num_runs in (1, 3, 6):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_S
        while len(runs_in(uri_of(storage))) < num_runs and process.poll() is None:
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    assert_same(source, uri_of(storage))


@given(st.text(alphabet="ab./\\:\n", max_size=12))
def test_safe_names_stay_inside(name: str) -> None:
    """A name that is accepted leads into the folder that it is joined to, and to a file of just that name."""
    if is_safe(name):
        assert os.path.normpath(name) == name
        assert not Path(name).is_absolute()
        assert ".." not in Path(name).parts
        assert not set("\\\n") & set(name)


numbers = st.floats(allow_nan=True, allow_infinity=True)
points = st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 2**41), numbers), max_size=3)


@settings(max_examples=30)
@given(st.dictionaries(st.from_regex(r"[a-z_ -]{1,3}(/[a-z0-9]{1,3})?", fullmatch=True), points, max_size=3))
def test_runs_survive_json(metrics: dict[str, list[tuple[int, int, float]]]) -> None:
    """A run is read back as it was written, in JSON that every program reads, whatever its numbers are."""
    run = ArchivedRun(
        key="a", run_id="b" * 32, name="c", status="FINISHED", begun_at_ms=1, ended_at_ms=2, tags={}, params={}, metrics=metrics
    )
    back = ArchivedRun.from_json(json.dumps(run.as_dict(), allow_nan=False).encode())
    assert repr(dataclasses.replace(back, datasets=(), models=())) == repr(run)
