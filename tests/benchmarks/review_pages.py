"""How long MLflow's pages take in a browser: a study as spikesweep logs it, and the same logged by Ray's own callback.

    python -m tests.benchmarks.review_pages [--short] [--json]

500 replicates (10 cells × 50 seeds) of 50 epochs with the metrics of a real small BITnet, in two SQLite stores, each behind an
MLflow server with one worker; headless Chromium, the two stores by turns. A page is ready when what one came for is on it: rows
in a table, a run's metrics, two charts drawn. *Cold* is a browser that has never been here, *warm* its second visit; both are
medians. The pages:

- runs_table: the experiment's address. spikesweep's shows the study with its replicates folded away, Ray's 100 runs.
- runs_view: all replicates, best first, with their columns: spikesweep's saved view; of Ray's, the same order by an address.
- runs_charts: the same in charts.
- parent: the study's run. Ray's callback has none, so that any run of it stands in.
- child, child_charts: a replicate's page, and its charts.

The stores: the real writers log the first replicates (spikesweep's Tracker one of every cell; Ray's MLflowLoggerCallback, in a
real Tune run, two trials, because it makes a request for every metric), and their rows are copied by SQL under new names and
with other values. Ray's has what Tune adds to every result, and no curves over t. Short is 40 replicates of 10 epochs.

Criterion: the ratios (spikesweep / Ray) of the last line, all at most 1.5; they hold on a busy machine, seconds do not.
"""

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import studies.library_settings

from mlflow import MlflowClient
from optuna.trial import TrialState
from playwright.sync_api import Browser, Page
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback

from studies import run_record
from studies.engine.binding.replicates import Replicate
from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.execution.ray_session.ray_session import ray_session
from studies.engine.ledger.ledger import ReplicateEnd
from studies.engine.recording.mlflow_store import connect
from studies.engine.recording.mlflow_ui_internals import VIEW_ADDRESS
from studies.engine.recording.saved_views import replicates_key, saved_views
from studies.engine.recording.study_record import study_record
from studies.engine.recording.tracker import Tracker
from tests.studies.engine.recording.browser import headless_browser, new_page
from tests.studies.servers import free_port, mlflow_server
from trainables import bitnet
from trainables.data.datasets import default_data_folder, prepare

NAME = "pages"
NUM_CELLS = 10
NUM_RAY_TRIALS = 2
STUDY = """\
question: How long do the pages take?
trainable: bitnet
config: {{data: digits, num_train_images: 128, epochs: 1, layout: 64 M 64 128 M 256}}
baseline: {{time_steps: 1, feature_scale: 0.0625}}
factors: {{time_steps: [1, 2, 4, 6, 8], feature_scale: [0.0625, 0.125]}}
design: full_factorial
seeds: {num_seeds}
"""
BY_ACCURACY = "orderByKey=metrics.%60val%2Faccuracy%60&orderByAsc=false"
ROWS = "() => document.querySelectorAll('.ag-center-cols-container [role=row]').length > {at_least}"
METRICS = "() => /Metrics \\(\\d\\d+\\)/.test(document.body.innerText) && document.body.innerText.includes('val/accuracy')"
FINISHED = "() => document.body.innerText.includes('About this run') && document.body.innerText.includes('Finished')"
CHARTS = "() => [...document.querySelectorAll('.js-plotly-plot')].filter(plot => plot.querySelector('.main-svg')).length >= 2"


@dataclass(frozen=True)
class Store:
    """A server on one of the two stores, and the addresses of its pages."""

    name: str
    address: str
    experiment: str
    parent: str
    child: str
    view: str
    """The query that lists all replicates by accuracy."""

    def pages(self) -> dict[str, tuple[str, str]]:
        """Address and what must be true of a page that is ready, by name."""
        runs, model_training = f"{self.address}/#/experiments/{self.experiment}/runs", "workflowType=machine_learning"
        nested = self.parent != self.child
        return {
            "runs_table": (f"{runs}?{model_training}", ROWS.format(at_least=0 if nested else 10)),
            "runs_view": (f"{runs}?{self.view}", ROWS.format(at_least=10)),
            "runs_charts": (f"{runs}?{self.view}&compareRunsMode=CHART", CHARTS),
            "parent": (f"{runs}/{self.parent}?{model_training}", FINISHED),
            "child": (f"{runs}/{self.child}?{model_training}", METRICS),
            "child_charts": (f"{runs}/{self.child}/model-metrics?{model_training}", CHARTS),
        }


def recorded_report(folder: Path, study: Study) -> dict[str, Any]:
    """What a real replicate of the study's last cell reports: the names of all metrics, its curves and facts."""
    replicate = study.replicates[NUM_CELLS - 1]
    config = bitnet.Config(**replicate.config)
    reports = bitnet.train(config, seed=0, dataset=prepare("digits", default_data_folder()), checkpoint_folder=folder / "one")
    return list(reports)[-1].as_dict()


def reports_of(real: Mapping[str, Any], num_epochs: int) -> Iterator[dict[str, Any]]:
    """So many epochs like the real one."""
    for epoch in range(1, num_epochs + 1):
        share = epoch / num_epochs
        metrics = {name: value * (0.5 + 0.5 * share) for name, value in real["metrics"].items()}
        timestamp = real["timestamp_ms"] + 1000 * epoch
        yield {**real, "epoch": epoch, "num_epochs": num_epochs, "timestamp_ms": timestamp, "metrics": metrics}


def log_by_spikesweep(study: Study, real: Mapping[str, Any], num_epochs: int) -> None:
    """One replicate of every cell, by the writer that a study has."""
    client = connect(study.stores.tracking_uri)
    tracker = Tracker(client, study, study.replicates, [])
    for replicate in study.replicates[:NUM_CELLS]:
        tracker.begin(replicate)
        for report in reports_of(real, num_epochs):
            tracker.report(replicate, report)
        tracker.end(replicate, TrialState.COMPLETE, details=ReplicateEnd.now({"cost/seconds": 60.0}))
    tracker.end_study(study.replicates, [], "FINISHED")
    problems = tracker.close(600)
    assert not problems, problems
    experiment = client.get_experiment_by_name(NAME).experiment_id
    for tag, text in saved_views(study_record(study, study.replicates, []), 0).items():
        client.set_experiment_tag(experiment, tag, text)


def log_by_ray(uri: str, config: Mapping[str, Any], real: Mapping[str, Any], num_epochs: int) -> None:
    """Two trials in a real Tune run, by Ray's callback."""
    results = [report["metrics"] for report in reports_of(real, num_epochs)]

    def train(_: dict[str, Any]) -> None:
        for metrics in results:
            tune.report(metrics)

    callback = MLflowLoggerCallback(tracking_uri=uri, experiment_name=NAME)
    space = {**config, "seed": tune.grid_search(list(range(NUM_RAY_TRIALS)))}
    quiet = tune.RunConfig(callbacks=[callback], verbose=0)
    ended = tune.Tuner(tune.with_resources(train, {"cpu": 1}), param_space=space, run_config=quiet).fit()
    assert not ended.errors


def copy_run(store: sqlite3.Connection, run: str, words: Mapping[str, str], number: int) -> None:
    """Another run like this one, with other words in its name, tags and params, and other values."""
    new = uuid.uuid4().hex
    factor = 0.9 + 0.1 * (number * 0.618 % 1)

    def copied(table: str, key: str, **changed: str) -> None:
        columns = [row[1] for row in store.execute(f"PRAGMA table_info({table})")]
        chosen = ", ".join("?" if name == key else changed.get(name, name) for name in columns)
        store.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {table} WHERE {key} = ?", (new, run))

    in_words = "value"
    for old, other in words.items():
        in_words = f"replace({in_words}, {quoted(old)}, {quoted(other)})"
    seed = words.get("seed", "")
    copied("runs", "run_uuid", name=in_words.replace("(value", "(name"), start_time=f"start_time + {number}")
    copied("tags", "run_uuid", value=in_words)
    copied("params", "run_uuid", value=f"CASE key WHEN 'seed' THEN {quoted(seed)} ELSE value END" if seed else "value")
    copied("inputs", "destination_id", input_uuid="lower(hex(randomblob(16)))")
    for table in ("metrics", "latest_metrics"):
        copied(table, "run_uuid", value=f"CASE WHEN key LIKE '%accuracy%' THEN value * {factor} ELSE value END")


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def copy_spikesweep(file: Path, replicates: Sequence[Replicate]) -> None:
    """The replicates of all other seeds, each like that of its cell which was logged."""
    with closing(sqlite3.connect(file)) as store:
        store.execute("PRAGMA synchronous = OFF")
        identities = f"SELECT value, run_uuid FROM tags WHERE key = '{run_record.IDENTITY}'"
        logged = dict(store.execute(identities).fetchall())
        titles = dict(store.execute(f"SELECT t.value, r.name FROM runs r JOIN ({identities}) t USING (run_uuid)").fetchall())
        for number, replicate in enumerate(replicates[NUM_CELLS:], NUM_CELLS):
            like = replicates[number % NUM_CELLS]
            assert like.cell == replicate.cell
            title = titles[like.identity]
            words = {like.identity: replicate.identity, title: title.replace(f"seed {like.seed}", f"seed {replicate.seed}")}
            copy_run(store, logged[like.identity], words, number)
            new = f"(SELECT run_uuid FROM tags WHERE key = '{run_record.IDENTITY}' AND value = '{replicate.identity}')"
            store.execute(f"UPDATE tags SET value = ? WHERE key = '{run_record.SEED}' AND run_uuid = {new}", (replicate.seed,))
            store.execute(f"UPDATE params SET value = ? WHERE key = 'seed' AND run_uuid = {new}", (replicate.seed,))
        store.commit()


def copy_ray(file: Path, num_runs: int) -> None:
    """Trials like the two that the callback logged."""
    with closing(sqlite3.connect(file)) as store:
        store.execute("PRAGMA synchronous = OFF")
        logged = store.execute("SELECT run_uuid, name FROM runs ORDER BY name").fetchall()
        for number in range(len(logged), num_runs):
            run, name = logged[number % len(logged)]
            copy_run(store, run, {name: f"{name[:-5]}{number:05}", "seed": str(number)}, number)
        store.commit()


@contextmanager
def served(name: str, file: Path, view: str) -> Iterator[Store]:
    port = free_port()
    folder = file.parent / f"{name}_server"
    folder.mkdir()
    with mlflow_server(folder, port, f"sqlite:///{file}"):
        address = f"http://127.0.0.1:{port}"
        client = MlflowClient(address)
        experiment = client.get_experiment_by_name(NAME).experiment_id
        runs = client.search_runs([experiment], order_by=["attributes.start_time"], max_results=2)
        parents = client.search_runs([experiment], f"tags.`{run_record.KIND}` = '{run_record.KIND_STUDY}'")
        child = runs[-1].info.run_id
        yield Store(name, address, experiment, parents[0].info.run_id if parents else child, child, view)


def seconds_to(page: Page, address: str, ready: str) -> float:
    begun = time.monotonic()
    page.goto(address)
    page.wait_for_function(ready)
    return time.monotonic() - begun


def visit(browser: Browser, address: str, ready: str) -> tuple[float, float]:
    """Seconds for somebody who has never been here, and for the same the second time."""
    page = new_page(browser)
    cold = seconds_to(page, address, ready)
    page.goto("about:blank")
    warm = seconds_to(page, address, ready)
    page.context.close()
    return cold, warm


def measure(stores: Sequence[Store], num_visits: int) -> dict[str, dict[str, float]]:
    """Medians by page: cold and warm of every store."""
    found: dict[str, dict[str, float]] = {}
    with headless_browser() as browser:
        for name in stores[0].pages():
            times: dict[str, list[float]] = {}
            for _ in range(num_visits):
                for store in stores:
                    for kind, seconds in zip(("cold", "warm"), visit(browser, *store.pages()[name]), strict=True):
                        times.setdefault(f"{store.name}_{kind}", []).append(seconds)
            found[name] = {kind: statistics.median(seconds) for kind, seconds in times.items()}
            print(
                f"{name}: { ({kind: round(seconds, 1) for kind, seconds in found[name].items()}) }", file=sys.stderr, flush=True
            )
    return found


def make_stores(folder: Path, num_seeds: int, num_epochs: int) -> dict[str, Path]:
    (folder / "pages.yaml").write_text(STUDY.format(num_seeds=num_seeds))
    files = {"spikesweep": folder / "mlflow.db", "ray": folder / "ray.db"}
    overrides = [f"storage={folder}", f"tracking_uri=sqlite:///{files['spikesweep']}"]
    study = load_study(str(folder / "pages.yaml"), overrides)
    real = recorded_report(folder, study)
    log_by_spikesweep(study, real, num_epochs)
    with ray_session(None, NUM_RAY_TRIALS):
        log_by_ray(f"sqlite:///{files['ray']}", study.replicates[0].config, real, num_epochs)
    copy_spikesweep(files["spikesweep"], study.replicates)
    copy_ray(files["ray"], len(study.replicates))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="40 replicates of 10 epochs, two visits of each page")
    parser.add_argument("--json", action="store_true", help="the table on standard error, one line of JSON on standard output")
    arguments = parser.parse_args()
    table = sys.stderr if arguments.json else sys.stdout
    num_seeds, num_epochs, num_visits = (4, 10, 2) if arguments.short else (50, 50, 3)
    with tempfile.TemporaryDirectory(prefix="spikesweep-pages-") as folder, ExitStack() as servers:
        files = make_stores(Path(folder), num_seeds, num_epochs)
        views = {"spikesweep": VIEW_ADDRESS + replicates_key(NAME), "ray": f"workflowType=machine_learning&{BY_ACCURACY}"}
        for name, file in files.items():
            print(f"{name}: {file.stat().st_size / 2**20:.0f} MiB", file=sys.stderr)
        stores = [servers.enter_context(served(name, file, views[name])) for name, file in files.items()]
        found = measure(stores, num_visits)
    kinds = [f"{store.name}_{kind}" for kind in ("cold", "warm") for store in stores]
    print(f"{'seconds':14}" + "".join(f"{kind:>17}" for kind in kinds), file=table)
    for name, seconds in found.items():
        print(f"{name:14}" + "".join(f"{seconds[kind]:17.2f}" for kind in kinds), file=table)
    ratios = {f"{name}_vs_ray": round(s["spikesweep_warm"] / s["ray_warm"], 2) for name, s in found.items()}
    cold = {f"{name}_vs_ray_cold": round(s["spikesweep_cold"] / s["ray_cold"], 2) for name, s in found.items()}
    print(json.dumps({**ratios, **cold, "seconds": found}))


if __name__ == "__main__":
    main()
