"""What the engine costs beside the training: seconds a trial, against Ray Tune on the same work.

    python -m tests.benchmarks.overhead [--short] [--json]

Every side trains the response surface (about a millisecond a trial, which is measured and taken off) for one report, on random
values of the same seven-parameter space from Optuna, two at a time, in a fresh process of its own, with Ray up before the clock
starts. The clock runs from the first finished trial, so that no side pays for its first worker, until everything is where it
belongs: with logging on, in an MLflow store in an SQLite file.

- *spikesweep*: ``run_study`` with its ledger (a record before and after every trial, on disk), checkpoints (reports on disk
  before they are sent) and MLflow.
- *tune default*: a function trainable, OptunaSearch, MLflowLoggerCallback; a process a trial, as Ray Tune does.
- *tune reuse_actors*: a class trainable whose processes are kept; with MLflowLoggerCallback, and (``…_without_logging``) with
  no record of any kind.

Requests are counted over a study whose epochs take a tenth of a second: those that carry reports, and all (a run is made, is
given its parameters, and is ended).

The floor is what MLflow's own store takes to make, fill and end one run, in one process: ``mlflow_floor_s``.

Machine of the figures in docs/log.md: 2 virtual cores, Python 3.11, Ray 2.60, Optuna 5.0, MLflow 3.17.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import studies.library_settings

import optuna
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch
from rich.console import Console

from studies.engine.definition.loading import load_study
from studies.engine.execution import runner
from studies.engine.execution.controller import StudyController
from studies.engine.execution.ray_session.ray_session import ray_session
from studies.engine.execution.ray_session.ray_watch import RayWatch
from studies.engine.execution.runner import run_study
from trainables import response_surface
from trainables.data.datasets import default_data_folder, prepare

optuna.logging.set_verbosity(optuna.logging.ERROR)

REQUESTS = ("create_run", "log_batch", "update_run", "set_terminated", "set_tag", "search_runs", "log_text", "log_artifacts")
AT_ONCE = 2
SPACE = dict.fromkeys("abcdefg", (-1.0, 1.0))
STUDY = """\
question: What does the engine cost?
trainable: response_surface
config: {{epochs: {num_reports}, seconds_per_epoch: {seconds_per_report}}}
factors: {{{factors}}}
design: {{name: adaptive_search, sampler: random, num_trials: {num_trials}}}
seeds: 1
storage: {folder}
"""


class Clock:
    """Runs from the first finished trial on."""

    def __init__(self) -> None:
        self.started_at: float | None = None
        self.num_ended = 0

    def ended(self) -> None:
        self.num_ended += 1
        if self.started_at is None:
            self.started_at = time.perf_counter()

    def seconds_per_trial(self) -> float:
        assert self.started_at is not None
        return (time.perf_counter() - self.started_at) / (self.num_ended - 1)


def ours(num_trials: int, folder: Path, num_reports: int = 1, seconds_per_report: float = 0.0) -> dict[str, float]:
    """One study, as ``spikesweep run`` runs it."""
    factors = ", ".join(f"{name}: {{low: {low}, high: {high}}}" for name, (low, high) in SPACE.items())
    options = {"num_trials": num_trials, "num_reports": num_reports, "seconds_per_report": seconds_per_report}
    file = folder / "overhead.yaml"
    file.write_text(STUDY.format(folder=folder, factors=factors, **options))
    report = folder / "report"
    report.mkdir()
    study, clock, requests = load_study(str(file)), Clock(), Counter[str]()
    counted = [_counted(MlflowClient, name, requests) for name in REQUESTS]
    with ExitStack() as stack:
        for patch in [
            *counted,
            _ticking(StudyController, "_finish", clock),
            mock.patch.object(runner, "ray_session", _ray_is_up),
        ]:
            stack.enter_context(patch)
        console = Console(quiet=True)
        outcome = run_study(study, console, address=None, num_cpus=AT_ONCE, retry_failed=False, write_report=lambda: (report, ""))
    seconds = clock.seconds_per_trial()
    assert outcome.num_complete == num_trials, outcome
    assert not outcome.undelivered, outcome
    num_reports *= num_trials
    return {
        "seconds_per_trial": seconds,
        "requests_per_report": requests["with reports"] / num_reports,
        "all_requests_per_report": requests.total() / num_reports,
    }


def _ray_is_up(*_: Any) -> Any:
    return closing(RayWatch())


def _ticking(owner: type, name: str, clock: Clock) -> Any:
    original = getattr(owner, name)

    def end(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        clock.ended()

    return mock.patch.object(owner, name, end)


def _counted(owner: type, name: str, counts: Counter[str]) -> Any:
    """Each of these calls is a request where the store is a server."""
    original = getattr(owner, name)

    def counting(self: Any, *arguments: Any, **options: Any) -> Any:
        counts["with reports" if any(metric.key == "epoch" for metric in options.get("metrics", ())) else name] += 1
        return original(self, *arguments, **options)

    return mock.patch.object(owner, name, counting)


def tune_side(num_trials: int, folder: Path, *, reuse: bool, logging: bool) -> dict[str, float]:
    """The same trials as anybody would run them with Ray Tune."""
    clock = Clock()
    space = {name: tune.uniform(low, high) for name, (low, high) in SPACE.items()}
    sampler = optuna.samplers.RandomSampler(seed=0)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    callbacks: list[tune.Callback] = [_Ended(clock)]
    if logging:
        callbacks.append(MLflowLoggerCallback(tracking_uri=uri, experiment_name="overhead"))
    trainable = tune.with_resources(_Class if reuse else _function, {"cpu": 1})
    tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(metric="val/accuracy", mode="max", sampler=sampler),
            num_samples=num_trials,
            max_concurrent_trials=AT_ONCE,
            reuse_actors=reuse,
        ),
        run_config=tune.RunConfig(storage_path=str(folder), callbacks=callbacks, verbose=0),
    ).fit()
    seconds = clock.seconds_per_trial()
    assert clock.num_ended == num_trials
    return {"seconds_per_trial": seconds}


def _metrics(config: dict[str, Any]) -> dict[str, float]:
    (report,) = response_surface.train(
        response_surface.Config(epochs=1, **config), seed=0, dataset=prepare("none", default_data_folder())
    )
    return report.metrics


def _function(config: dict[str, Any]) -> None:
    tune.report(_metrics(config))


class _Class(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    def setup(self, config: dict[str, Any]) -> None:
        self._config = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._config = new_config
        return True

    def step(self) -> dict[str, Any]:
        return {**_metrics(self._config), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing."""


class _Ended(tune.Callback):  # type: ignore[misc]
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_trial_complete(self, *_: Any, **__: Any) -> None:
        self._clock.ended()


def training_seconds() -> float:
    """Of one trial, by itself."""
    _metrics(dict.fromkeys(SPACE, 0.5))
    start = time.perf_counter()
    for i in range(200):
        _metrics(dict.fromkeys(SPACE, i / 200))
    return (time.perf_counter() - start) / 200


def mlflow_floor(num_runs: int, folder: Path) -> dict[str, float]:
    """One run made, filled with as much as ours holds, and ended, by MLflow itself, in one thread."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("floor")
    params = [Param(name, "0.5") for name in (*SPACE, "variant", "noise", "block_noise", "epochs", "data", "seed")]
    start = 0.0
    for number in range(num_runs + 1):
        start = time.perf_counter() if number == 1 else start
        run = client.create_run(experiment, tags={f"spikesweep.{i}": "x" * 60 for i in range(12)}).info.run_id
        client.log_batch(run, [Metric(f"metric{i}", 0.5, 1, 1) for i in range(14)], params)
        client.set_terminated(run)
    return {"seconds_per_trial": (time.perf_counter() - start) / num_runs}


SIDES: dict[str, Callable[..., dict[str, float]]] = {
    "ours": ours,
    "tune_default": lambda num, folder: tune_side(num, folder, reuse=False, logging=True),
    "tune_reuse_actors": lambda num, folder: tune_side(num, folder, reuse=True, logging=True),
    "tune_reuse_actors_without_logging": lambda num, folder: tune_side(num, folder, reuse=True, logging=False),
    "mlflow_floor": mlflow_floor,
}


def measured(side: str, num_trials: int, *options: float) -> dict[str, float]:
    """One side in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.overhead", "--side", side, str(num_trials), *map(str, options)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(answer.stderr)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    print(f"{side:34} {num_trials:6} trials {1e3 * found['seconds_per_trial']:8.1f} ms a trial", file=sys.stderr)
    return found


def run_side(side: str, num_trials: int, *options: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        needs_ray = side != "mlflow_floor"
        with ray_session(None, AT_ONCE) if needs_ray else nullcontext():
            found = SIDES[side](num_trials, Path(folder), *options)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer trials")
    parser.add_argument("--json", action="store_true", help="only the line of JSON on standard output")
    parser.add_argument("--side", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side, num_trials, *options = arguments.side
        run_side(side, int(num_trials), *(int(option) if option.isdigit() else float(option) for option in options))
        return
    few, many, most = (30, 200, 400) if arguments.short else (100, 1000, 2000)
    training = training_seconds()
    ours_few, ours_many, ours_most = (measured("ours", num) for num in (few, many, most))
    steady = measured("ours", 6, 20, 0.1)
    default = measured("tune_default", 12 if arguments.short else 100)
    reuse = measured("tune_reuse_actors", many if arguments.short else 1000)
    bare = measured("tune_reuse_actors_without_logging", many)
    floor = measured("mlflow_floor", 200)

    def overhead(side: dict[str, float]) -> float:
        return side["seconds_per_trial"] - training / AT_ONCE

    answer = {
        "overhead_vs_tune_default": overhead(ours_few) / overhead(default),
        "overhead_vs_tune_reuse_actors": overhead(ours_many) / overhead(reuse),
        "overhead_vs_tune_reuse_actors_without_logging": overhead(ours_many) / overhead(bare),
        "requests_per_report": steady["requests_per_report"],
        "all_requests_per_report": steady["all_requests_per_report"],
        "growth_100_to_2000": overhead(ours_most) / overhead(ours_few),
        "seconds_per_trial": {few: overhead(ours_few), many: overhead(ours_many), most: overhead(ours_most)},
        "tune_default_s": overhead(default),
        "tune_reuse_actors_s": overhead(reuse),
        "tune_reuse_actors_without_logging_s": overhead(bare),
        "mlflow_floor_s": floor["seconds_per_trial"],
        "training_s": training,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
