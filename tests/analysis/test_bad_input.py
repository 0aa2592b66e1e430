"""What can be wrong with a study in MLflow: each gets a clear sentence from the real script, and the rest of the report."""

import json
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis import ablation_summary, compare_studies, study_summary
from analysis.records.loading import load_recorded_study
from studies import run_record
from studies.run_record import ACCURACY, SPARSITY, RunRecord
from tests.analysis.examples import run_of, study_of
from tests.analysis.mlflow_stores import write, write_run
from tests.new_stores import new_client
from tests.studies.servers import free_port

LEVELS = ({"a": 1}, {"a": 2})
Say = Callable[[str, str], tuple[int, str]]
Build = Callable[[MlflowClient, Path, str], None]
Place = Callable[[MlflowClient, Path], str]
"""Makes what is there, and gives its URI."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """A store of its own for all tests of the module; a study is an experiment."""
    return new_client(tmp_path_factory.mktemp("store"))


@pytest.fixture
def say(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """Runs the ablation summary's script; its exit code, and what it and its Markdown say, on one line."""

    def run_script(name: str, uri: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["ablation_summary", name, "--tracking-uri", uri, "--output", str(tmp_path / "out")])
        code = ablation_summary.main()
        shown = capsys.readouterr()
        file = tmp_path / "out" / name / "summary.md"
        return code, " ".join((shown.out + shown.err + (file.read_text() if file.exists() else "")).split())

    return run_script


def whole(num_seeds: int = 6) -> list[RunRecord]:
    """Two cells, the second 10 points better; with a wobble."""
    return [
        run_of(levels, seed, 0.5 + 0.1 * (levels["a"] - 1) + 0.001 * seed * levels["a"])
        for levels in LEVELS
        for seed in range(num_seeds)
    ]


def write_runs(client: MlflowClient, folder: Path, runs: list[RunRecord], name: str, **others: object) -> str:
    study = study_of("one_factor_at_a_time", {"a": [1, 2]}, runs, name=name, **others)
    return write(client, study, runs, folder)


def write_with(change: Callable[[RunRecord], RunRecord], num_seeds: int = 6) -> Build:
    def build(client: MlflowClient, folder: Path, name: str) -> None:
        write_runs(client, folder, [change(run) for run in whole(num_seeds)], name)

    return build


def with_metric(run: RunRecord, metric: str, value: float) -> RunRecord:
    return replace(run, metrics={**run.metrics, metric: value})


def without_metric(run: RunRecord, metric: str) -> RunRecord:
    return replace(run, metrics={name: value for name, value in run.metrics.items() if name != metric})


def one_level(client: MlflowClient, folder: Path, name: str) -> None:
    runs = [run for run in whole() if run.levels == {"a": 1}]
    write(client, study_of("one_factor_at_a_time", {"a": [1]}, runs, name=name), runs, folder)


def added_by_hand(client: MlflowClient, folder: Path, name: str) -> None:
    """One without any tag of ours, one whose levels nobody can read, one that repeats an identity after it."""
    runs = whole()
    experiment = write_runs(client, folder, runs, name)
    client.create_run(experiment, run_name="my own try")
    write_run(client, experiment, replace(runs[0], identity="x"), {run_record.LEVELS: "a is 2"})
    write_run(client, experiment, with_metric(runs[0], ACCURACY, 0.99))


def two_study_runs(client: MlflowClient, folder: Path, name: str) -> None:
    experiment = write_runs(client, folder, whole(), name)
    parent = client.create_run(experiment, tags={run_record.KIND: run_record.KIND_STUDY}, start_time=2**45).info.run_id
    study = study_of("one_factor_at_a_time", {"a": [1, 2]}, whole(), name=name, question="The second?")
    client.log_text(parent, json.dumps(study.as_dict()), run_record.STUDY_ARTIFACT)


def uri_of(client: MlflowClient) -> str:
    uri: str = client.tracking_uri
    return uri


def parent_of(client: MlflowClient, experiment: str) -> str:
    (parent,) = client.search_runs([experiment], f"tags.`{run_record.KIND}` = '{run_record.KIND_STUDY}'")
    run_id: str = parent.info.run_id
    return run_id


def deleted_study_run(client: MlflowClient, folder: Path, name: str) -> None:
    client.delete_run(parent_of(client, write_runs(client, folder, whole(), name)))


def wrong_artifacts(client: MlflowClient, folder: Path, name: str) -> None:
    """The artifacts lie on a colleague's machine; the study run has the design."""
    runs = [run for run in whole() if (run.levels["a"], run.seed) != (2, 5)]
    experiment = write_runs(client, folder, runs, name)
    design = study_of("one_factor_at_a_time", {"a": [1, 2]}, [], name=name, seeds=list(range(6))).as_dict()
    client.set_tag(parent_of(client, experiment), run_record.DESIGN, json.dumps(design))
    shutil.rmtree(folder)


def older_wrong_artifacts(client: MlflowClient, folder: Path, name: str) -> None:
    write_runs(client, folder, whole(), name)
    shutil.rmtree(folder)


def damaged_record(client: MlflowClient, folder: Path, name: str) -> None:
    parent = parent_of(client, write_runs(client, folder, whole(), name))
    client.log_text(parent, '{"name": "half', run_record.STUDY_ARTIFACT)


def newer_version(client: MlflowClient, folder: Path, name: str) -> None:
    parent = parent_of(client, write_runs(client, folder, whole(), name))
    content = study_of("one_factor_at_a_time", {"a": [1, 2]}, whole(), name=name).as_dict()
    content |= {"moods": ["good"], "replicates": [{**replicate, "weight": 2} for replicate in content["replicates"]]}
    client.log_text(parent, json.dumps(content), run_record.STUDY_ARTIFACT)


def other_levels(client: MlflowClient, folder: Path, name: str) -> None:
    experiment = write_runs(client, folder, whole(), name)
    write_run(client, experiment, run_of({"a": 3}, 0))


RESULT = "+10.25"
"""The second level's difference, wherever it is shown."""
CASES: dict[str, tuple[Build, list[str]]] = {
    "empty": (
        write_with(lambda run: replace(run, status="MISSING")),
        ["No replicate has finished (12 missing): there is nothing to estimate.", "0 of 12 replicates finished"],
    ),
    "one_seed": (
        write_with(lambda run: run, 1),
        ["There is one seed: how much another seed would change is unknown", "+10.00"],
    ),
    "one_level": (one_level, ["a has one level (1): there is nothing to compare it with.", "50.25"]),
    "all_failed": (
        write_with(lambda run: replace(run, status="FAILED", reason="TrainingError: loss is nan", metrics={})),
        ["No replicate has finished (12 failed)", "The most frequent reason: TrainingError: loss is nan.", "seed 3: failed"],
    ),
    "some_lost": (
        write_with(lambda run: replace(run, status={4: "FAILED", 5: run_record.PRUNED}.get(run.seed, "FINISHED"))),
        ["8 of 12 replicates finished, 2 pruned", "a=2 · seed 4: failed"],
    ),
    "constant": (
        write_with(lambda run: with_metric(run, ACCURACY, 0.1)),
        ["validation accuracy is 0.1 in all 12 replicates that have it, so it distinguishes no cells."],
    ),
    "not_finite": (
        write_with(
            lambda run: with_metric(run, ACCURACY, {0: float("nan"), 1: float("inf")}.get(run.seed, run.metrics[ACCURACY]))
        ),
        ["validation accuracy: 4 of 12 values are not finite, and are left out (a=1 · seed 0; a=1 · seed 1;", "4 of 6"],
    ),
    "some_have_it": (
        write_with(lambda run: without_metric(run, SPARSITY) if run.seed > 3 else run),
        ["activation sparsity: 4 of 12 finished replicates have no value, and are left out.", RESULT],
    ),
    "none_has_it": (
        write_with(lambda run: without_metric(run, SPARSITY)),
        ["No finished replicate has the metric sparsity/overall, which the study is judged on.", RESULT],
    ),
    "by_hand": (
        added_by_hand,
        [
            "2 runs of the experiment (",
            "my own try",
            "were not written by spikesweep, and are left out.",
            "1 replicate has several runs in MLflow",
            "the finished one that began first counts",
            RESULT,
        ],
    ),
    "two_study_runs": (two_study_runs, ["MLflow has 2 study runs of this study; the newest (", "The second?", RESULT]),
    "deleted_study_run": (
        deleted_study_run,
        ["The study run is gone from MLflow", "replicates that were never begun are unknown", "60.50"],
    ),
    "wrong_artifacts": (
        wrong_artifacts,
        [
            "The study's record (study.json) cannot be read",
            "cells that have no run are unknown",
            "+10.20",
            "a=2 · seed 5: missing",
        ],
    ),
    "older_wrong_artifacts": (
        older_wrong_artifacts,
        ["The study's record (study.json) cannot be read", "what was asked is pieced together", "60.50"],
    ),
    "damaged_record": (damaged_record, ["The study's record (study.json) cannot be read (JSONDecodeError", "60.50"]),
    "newer_version": (
        newer_version,
        ["recorded by a newer spikesweep: moods, replicates.weight in its record mean nothing here", RESULT],
    ),
    "other_levels": (
        other_levels,
        ["1 replicate is of levels or seeds that the study no longer asks for", "and left out", RESULT],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_sentence_and_the_rest_of_the_report(name: str, store: MlflowClient, tmp_path: Path, say: Say) -> None:
    """Whatever is wrong with a study, what is wrong is said and everything else is reported."""
    build, expected = CASES[name]
    build(store, tmp_path / "artifacts", name)
    code, text = say(name, store.tracking_uri)
    assert code == 0
    for part in expected:
        assert part in text, text
    assert (tmp_path / "out" / name / "summary.html").stat().st_size > 1000


def test_a_copy_does_not_count(store: MlflowClient, tmp_path: Path) -> None:
    """Of several runs of one replicate a failed one gives way to a finished one, and a later one to the first."""
    run = run_of({"a": 1}, 0, 0.5)
    experiment = write(store, study_of("random", {"a": [1]}, [run], name="copies"), [], tmp_path)
    for status, accuracy in (("FAILED", 0.1), ("FINISHED", 0.2), ("FINISHED", 0.3)):
        write_run(store, experiment, replace(with_metric(run, ACCURACY, accuracy), status=status))
        time.sleep(0.01)  # another millisecond
    (found,) = load_recorded_study("copies", store.tracking_uri).runs
    assert found.metrics[ACCURACY] == 0.2


def deleted_experiment(client: MlflowClient, folder: Path) -> str:
    client.delete_experiment(write_runs(client, folder, whole(1), "deleted"))
    return uri_of(client)


def foreign_experiment(client: MlflowClient, _: Path) -> str:
    client.create_run(client.create_experiment("foreign"))
    return uri_of(client)


def foreign_database(_: MlflowClient, folder: Path) -> str:
    with closing(sqlite3.connect(folder / "other.db")) as connection:
        connection.execute("CREATE TABLE other (a)")
    return f"sqlite:///{folder / 'other.db'}"


def no_database(_: MlflowClient, folder: Path) -> str:
    (folder / "text.db").write_text("This is a text, and a rather long one, so that it fills a header. " * 10)
    return f"sqlite:///{folder / 'text.db'}"


HOPELESS: dict[str, tuple[Place, str]] = {
    "deleted": (deleted_experiment, "has been deleted in MLflow; mlflow experiments restore --experiment-id"),
    "foreign": (foreign_experiment, "its experiment has no run that spikesweep wrote"),
    "nobody": (lambda client, _: uri_of(client), "it has the experiments: "),
    "no_file": (lambda _, folder: f"sqlite:///{folder / 'no.db'}", "there is no such file"),
    "no_folder": (lambda _, folder: str(folder / "mlruns"), "there is no such folder"),
    "foreign_file": (foreign_database, "not one of MLflow's"),
    "text_file": (no_database, "no SQLite database"),
    "unreachable": (lambda *_: f"http://me:secret@127.0.0.1:{free_port()}", "the server does not answer"),
    "no_port": (lambda *_: "http://127.0.0.1:eighty", "the server does not answer"),
    "database": (
        lambda *_: f"postgresql+psycopg://me:secret@127.0.0.1:{free_port()}/x",
        "the database does not answer",
    ),
}


@pytest.mark.parametrize("name", HOPELESS)
def test_nothing_can_be_said(name: str, store: MlflowClient, tmp_path: Path, say: Say) -> None:
    """Where there is no study to read, one message says why within seconds, shows no password, makes nothing; exit code 2."""
    build, expected = HOPELESS[name]
    uri = build(store, tmp_path)
    before, begun = sorted(tmp_path.rglob("*")), time.monotonic()
    code, text = say(name, uri)
    assert (code, text.startswith(f"error: {name} in ")) == (2, True)
    assert expected in text
    assert "secret" not in text
    assert time.monotonic() - begun < 30
    assert sorted(tmp_path.rglob("*")) == before


def test_a_server_that_is_silent(monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    """One that takes the connection and answers nothing is given up in time."""
    monkeypatch.setattr("studies.stores.mlflow_access.SECONDS_TO_ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, text = say("silent", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert (code, "does not answer within 0.2 s" in text) == (2, True)


@pytest.mark.parametrize("script", [study_summary, compare_studies])
def test_the_other_scripts_exit_with_2(
    script: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store that is not there is one message of theirs too."""
    names = ["x", "y"] if script is compare_studies else ["x"]
    monkeypatch.setattr("sys.argv", ["script", *names, "--tracking-uri", f"sqlite:///{tmp_path / 'no.db'}"])
    assert script.main() == 2  # type: ignore[attr-defined]
    assert capsys.readouterr().err.startswith("error: x in sqlite:///")
