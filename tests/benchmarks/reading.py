"""How long a report takes of a large study: 10,000 runs of 50 epochs, from a SQLite file and from a real MLflow server.

    python -m tests.benchmarks.reading [--runs 10000] [--short] [--older] [--json]

The store is made outside the timing, by rows: a full factorial (10 × 5 × 5 cells) whose runs have what a BITnet's have (40
metrics, 35 params, 16 tags, a config of 1.2 kB, a curve of 8 steps), and 8 of the metrics at every epoch. ``load`` is from the
name of the study to its records, ``report`` from the records to all files of the summary. ``requests`` counts a server's HTTP
requests, and for a file the calls of MLflow's client. ``CPU`` is ours and the server's (which has MLflow's four workers).
``--older``: the curves are only there as a metric's history, as older versions wrote them. ``--short``: 500 runs of 5 epochs.

Criterion: load and report in under 60 s for 10,000 runs. What must be paid: MLflow makes an object of each of the million
values, in its store.
"""

import argparse
import json
import os
import resource
import sqlite3
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import studies.library_settings

from mlflow import MlflowClient
from mlflow.utils import rest_utils

from analysis.ablation_summary import write_summary
from analysis.records.loading import load_recorded_study
from studies import run_record
from studies.run_record import Level, PlannedReplicate, StudyRecord
from tests.conftest import descendants, read_if_there
from tests.studies.servers import free_port, mlflow_server

NAME = "large"
HTTP = "HTTP"
FACTORS: dict[str, list[Level]] = {
    "time_steps": list(range(1, 11)),
    "feature_scale": [0.1, 0.2, 0.3, 0.4, 0.5],
    "layout": list("ABCDE"),
}
NUM_METRICS, NUM_PARAMS, NUM_EVERY_EPOCH, NUM_STEPS = 40, 35, 8, 8
METRICS = [run_record.ACCURACY, run_record.SPARSITY, run_record.TEST_ACCURACY]
METRICS += [f"sparsity/layer{i}" for i in range(NUM_METRICS - len(METRICS) - 2)] + ["cost/seconds", run_record.ACCURACY_AT_T]
CONFIG = {f"field_{i}": "a value of some length" for i in range(32)}
BEGUN_MS = 1_700_000_000_000
TABLES = {
    "runs": "run_uuid, name, status, start_time, end_time, lifecycle_stage, artifact_uri, experiment_id, user_id",
    "tags": "key, value, run_uuid",
    "params": "key, value, run_uuid",
    "latest_metrics": "key, value, timestamp, step, is_nan, run_uuid",
    "metrics": "key, value, timestamp, step, is_nan, run_uuid",
}
"""With their columns."""


def plan_of(num_runs: int) -> StudyRecord:
    cells = [dict(zip(FACTORS, levels, strict=True)) for levels in product(*FACTORS.values())]
    seeds = range(max(1, num_runs // len(cells)))
    planned = [PlannedReplicate(f"{i}-{seed}", seed, cell) for seed in seeds for i, cell in enumerate(cells)]
    baseline = {name: levels[0] for name, levels in FACTORS.items()}
    asked: dict[str, Any] = {"question": "How large may a study be?", "trainable": "bitnet", "design": "full_factorial"}
    return StudyRecord(name=NAME, **asked, baseline=baseline, factors=FACTORS, seeds=list(seeds), replicates=planned)


def write_store(file: Path, artifacts: Path, study: StudyRecord, num_epochs: int, *, older: bool) -> None:
    """MLflow makes the tables, the experiment and the study run; the rest is inserted."""
    client = MlflowClient(f"sqlite:///{file}")
    experiment = client.create_experiment(NAME, artifact_location=artifacts.as_uri())
    parent = client.create_run(experiment, tags={run_record.KIND: run_record.KIND_STUDY}).info.run_id
    client.log_text(parent, json.dumps(study.as_dict()), run_record.STUDY_ARTIFACT)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for replicate in study.replicates:
            rows = rows_of(replicate, int(experiment), num_epochs, older=older)
            for table, columns in TABLES.items():
                places = ", ".join("?" for _ in columns.split(", "))
                connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows[table])
        connection.commit()


def rows_of(replicate: PlannedReplicate, experiment: int, num_epochs: int, *, older: bool) -> dict[str, list[tuple[Any, ...]]]:
    """One run, as the engine leaves it; its accuracy grows with its time steps, and differs by seed."""
    run = uuid.uuid5(uuid.NAMESPACE_OID, replicate.identity).hex
    accuracy = 0.5 + 0.03 * int(str(replicate.levels["time_steps"])) + 0.001 * (replicate.seed * 7919 % 13)
    curve = [accuracy * t / NUM_STEPS for t in range(1, NUM_STEPS + 1)]
    tags = {
        run_record.KIND: run_record.KIND_REPLICATE,
        run_record.STUDY: NAME,
        run_record.TRAINABLE: "bitnet",
        run_record.IDENTITY: replicate.identity,
        run_record.ROLE: "cell",
        run_record.LEVELS: json.dumps(replicate.levels),
        run_record.SEED: str(replicate.seed),
        run_record.CONFIG: json.dumps(CONFIG),
        run_record.DATA_DIGEST: "0" * 64,
        run_record.VERSIONS: json.dumps({"torch": "2.15.0", "mlflow": "3.17.2", "python": "3.11"}),
        run_record.COMMIT: "0" * 40,
        "mlflow.source.name": f"spikesweep run {NAME}",
        "mlflow.source.type": "LOCAL",
        "mlflow.parentRunId": "0" * 32,
        "spikesweep.energy_model": "45 nm",
        **({} if older else {run_record.CURVE: json.dumps(curve)}),
    }
    last = {name: accuracy if name in METRICS[:3] else 0.9 for name in METRICS}
    history = [
        (name, last[name] * epoch / num_epochs, BEGUN_MS, epoch, False, run)
        for epoch in range(1, num_epochs + 1)
        for name in METRICS[:NUM_EVERY_EPOCH]
    ]
    at_t = [(run_record.ACCURACY_AT_T, value, BEGUN_MS, t, False, run) for t, value in enumerate(curve, 1)]
    name = f"{replicate.levels} · seed {replicate.seed}"
    begun = BEGUN_MS + 1000 * replicate.seed
    return {
        "runs": [(run, name, "FINISHED", begun, begun + 1000, "active", "", experiment, "someone")],
        "tags": [(key, value, run) for key, value in tags.items()],
        "params": [(f"field_{i}", "a value", run) for i in range(NUM_PARAMS)],
        "latest_metrics": [(name, value, BEGUN_MS, num_epochs, False, run) for name, value in last.items()],
        "metrics": [*history, *at_t],
    }


def counted_requests() -> Counter[str]:
    """Counts from now on what is asked of MLflow's client, and HTTP requests, which are the client's and our own."""
    counts: Counter[str] = Counter()
    request = rest_utils.http_request

    def counted_request(*arguments: Any, **named: Any) -> Any:
        counts[HTTP] += 1
        return request(*arguments, **named)

    rest_utils.http_request = counted_request
    for name in ("get_experiment_by_name", "search_runs", "get_metric_history", "download_artifacts"):
        original = getattr(MlflowClient, name)

        def counted(self: Any, *arguments: Any, _name: str = name, _original: Any = original, **named: Any) -> Any:
            counts[_name] += 1
            return _original(self, *arguments, **named)

        setattr(MlflowClient, name, counted)
    return counts


def cpu_seconds() -> float:
    """Of this process and of those that it started (the server)."""
    seconds = time.process_time()
    for pid in descendants(os.getpid()):
        times = read_if_there(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        seconds += sum(map(int, times[11:13])) / os.sysconf("SC_CLK_TCK")
    return seconds


def measure(uri: str, folder: Path, counts: Counter[str]) -> dict[str, float]:
    counts.clear()
    begun, cpu = time.monotonic(), cpu_seconds()
    recorded = load_recorded_study(NAME, uri)
    loaded = time.monotonic()
    requests, load_cpu = counts[HTTP] or sum(counts.values()), cpu_seconds() - cpu
    write_summary(recorded, folder)
    done = time.monotonic()
    assert all(run.status == "FINISHED" and len(run.accuracy_at_t) == NUM_STEPS for run in recorded.runs)
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = {"load_s": loaded - begun, "load_cpu_s": load_cpu, "report_s": done - loaded}
    return {**seconds, "report_cpu_s": cpu_seconds() - cpu - load_cpu, "requests": requests, "peak_mib": mib}


def cases(num_runs: int, num_epochs: int, *, older: bool) -> Iterator[tuple[str, dict[str, float]]]:
    counts = counted_requests()
    with tempfile.TemporaryDirectory(prefix="spikesweep-reading-") as folder:
        file, port = Path(folder, "mlflow.db"), free_port()
        write_store(file, Path(folder, "artifacts"), plan_of(num_runs), num_epochs, older=older)
        print(f"{num_runs} runs of {num_epochs} epochs, {file.stat().st_size / 2**20:.0f} MiB", file=sys.stderr)
        yield "SQLite file", measure(f"sqlite:///{file}", Path(folder, "report"), counts)
        with mlflow_server(Path(folder), port, f"sqlite:///{file}", num_workers=4):
            yield "MLflow server", measure(f"http://127.0.0.1:{port}", Path(folder, "report"), counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--short", action="store_true", help="500 runs of 5 epochs")
    parser.add_argument("--older", action="store_true", help="curves as histories alone")
    parser.add_argument("--json", action="store_true", help="the table on standard error, one line of JSON on standard output")
    arguments = parser.parse_args()
    num_runs, num_epochs = (500, 5) if arguments.short else (arguments.runs, 50)
    found, table = {}, sys.stderr if arguments.json else sys.stdout
    titles = ("store", "load s", "CPU", "report s", "CPU", "requests", "peak MiB")
    print("{:16} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9}".format(*titles), file=table)
    for name, figures in cases(num_runs, num_epochs, older=arguments.older):
        found[name] = figures
        *seconds, requests, mib = figures.values()
        print(f"{name:16} {' '.join(f'{s:8.1f}' for s in seconds)} {requests:9.0f} {mib:9.0f}", file=table, flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
