"""Ray Tune as the executor: places replicates on a laptop or a cluster, and repeats those whose process died.

Nothing of Tune's own state is kept or restored; what to do next always comes from the conductor, and so from the ledger.
"""

import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from studies.engine.problems import Problem, StudyError
from studies.engine.study_file import Resources
from studies.engine.worker import ASSIGNMENT, FAILURE, IDENTITY, REPORT, ReplicateWorker

NUM_REPEATS_AFTER_PROCESS_DEATH = 2
SECONDS_BETWEEN_CAPACITY_CHECKS = 5.0
SECONDS_TO_CONNECT = 10.0


class Conductor(Protocol):
    """Who decides what runs next and is told what happens; all calls come from the driver's one thread."""

    def next_assignment(self) -> dict[str, Any] | None:
        """What to train next; None when nothing can begin."""

    def holds_back(self) -> bool:
        """Whether something can begin once what is in flight has ended."""

    def started(self, identity: str) -> None:
        """A worker has begun this replicate."""

    def should_stop(self, identity: str, report: dict[str, Any]) -> bool:
        """Whether this replicate is to end with this report; asked before ``reported`` is told of it."""

    def reported(self, identity: str, report: dict[str, Any]) -> None:
        """An epoch of this replicate is done."""

    def failed(self, identity: str, reason: str, traceback: str = "") -> None:
        """This replicate cannot be finished."""

    def tick(self) -> None:
        """Time has passed."""


@contextmanager
def ray_session(address: str | None, num_cpus: int | None, resources: Resources) -> Iterator[None]:
    """Ray for one study: a cluster of our own, on the loopback interface alone, or the one at ``address``.

    Raises:
        StudyError: There is no cluster at ``address``, or no node that can hold one replicate.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        _bind_loopback_only()
        options |= {"num_cpus": num_cpus, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        _check_somebody_listens(address)
        ray.init(address or "local", **options)
    except (OSError, ValueError, RuntimeError) as error:
        rule = "--address must lead to a Ray cluster"
        repair = "start one with ray start --head, set RAY_AUTH_MODE=token if it asks for a token, or leave --address out"
        raise StudyError([Problem("--address", rule, f"{address} ({str(error).splitlines()[0]})", repair)]) from None
    try:
        _check_feasible(_demand(resources))
        yield
    finally:
        ray.shutdown()


def _check_somebody_listens(address: str | None) -> None:
    """Raise an OSError at once where Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_CONNECT).close()


def _bind_loopback_only() -> None:
    """Keep Ray from turning 127.0.0.1 into the machine's outer address, which its servers would then bind to."""
    from ray._private import services  # noqa: PLC0415  # private: only when it is needed

    services.resolve_ip_for_localhost = lambda host: host


def run_replicates(conductor: Conductor, resources: Resources) -> None:
    """Run what the conductor assigns until nothing is left; needs a ``ray_session``.

    A first interrupt (Ctrl-C, SIGTERM) lets it return early. What became of each replicate is the conductor's to say.
    """
    demand = _demand(resources)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    on_sigint = signal.getsignal(signal.SIGINT)  # Tune leaves its own handler behind
    on_sigterm = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        with tempfile.TemporaryDirectory(prefix="spikesweep-tune-") as scratch:
            tune.Tuner(
                tune.with_resources(ReplicateWorker, demand),
                tune_config=tune.TuneConfig(
                    search_alg=_Proposer(conductor, demand),
                    scheduler=_AsAssigned(),
                    num_samples=-1,
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    storage_path=scratch,
                    verbose=0,
                    callbacks=[_Recorder(conductor)],
                    stop=_Stopper(conductor),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    failure_config=tune.FailureConfig(max_failures=NUM_REPEATS_AFTER_PROCESS_DEATH),
                ),
            ).fit()
    finally:
        signal.signal(signal.SIGINT, on_sigint)
        signal.signal(signal.SIGTERM, on_sigterm)


def _demand(resources: Resources) -> dict[str, float]:
    return {"CPU": resources.cpus, "GPU": resources.gpus}


def _check_feasible(demand: dict[str, float]) -> None:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= amount for name, amount in demand.items()) for node in nodes):
        has = "; ".join(", ".join(f"{name} {node.get(name, 0):g}" for name in demand) for node in nodes)
        wants = ", ".join(f"{name} {amount:g}" for name, amount in demand.items())
        rule, repair = "some node must have what one replicate asks for", "lower resources, or add a node that has them"
        raise StudyError([Problem("resources", rule, f"{wants}, but the nodes have: {has}", repair)])


@dataclass
class _Proposer(Searcher):  # type: ignore[misc]  # Ray ships no types
    """Tune's view of the conductor: hands out as many assignments as the cluster can hold."""

    conductor: Conductor
    demand: dict[str, float]
    _in_flight: set[str] = field(default_factory=set)
    _capacity: int = 0
    _capacity_checked_at: float = -SECONDS_BETWEEN_CAPACITY_CHECKS

    def __post_init__(self) -> None:
        super().__init__()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Tune asks for the next trial: its config, None for not now, FINISHED for never."""
        if len(self._in_flight) >= self._current_capacity():
            return None
        assignment = self.conductor.next_assignment()
        if assignment is None:
            finished: str = Searcher.FINISHED
            return None if self.conductor.holds_back() else finished
        self._in_flight.add(trial_id)
        return {ASSIGNMENT: assignment}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune says that a trial has ended, in whatever way."""
        self._in_flight.discard(trial_id)

    def _current_capacity(self) -> int:
        """How many replicates all nodes hold together; nodes may come and go."""
        if time.monotonic() - self._capacity_checked_at >= SECONDS_BETWEEN_CAPACITY_CHECKS:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            wants = {name: amount for name, amount in self.demand.items() if amount}
            fits = (min(int(node.get(name, 0) / amount) for name, amount in wants.items()) for node in nodes)
            self._capacity, self._capacity_checked_at = max(1, sum(fits)), time.monotonic()
        return self._capacity

    def save(self, checkpoint_path: str) -> None:
        """Tune's own state is never restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Tune's own state is never restored."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher when it starts; the copy is never used."""
        return {}


class _AsAssigned(TrialScheduler):  # type: ignore[misc]  # Ray ships no types
    """Tune starts what is pending in its order without being told; its default looks through all trials at every step."""

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None in particular."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """It is pending."""

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """The conductor's to know."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """The stopper has been asked already."""
        goes_on: str = TrialScheduler.CONTINUE
        return goes_on

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The conductor's to know."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """The conductor's to know."""


class _Stopper(tune.Stopper):  # type: ignore[misc]  # Ray ships no types
    """Asks the conductor about every report whether it is to be a replicate's last."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return REPORT in result and self._conductor.should_stop(result[IDENTITY], result[REPORT])

    def stop_all(self) -> bool:
        """What is in flight is never ended together."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its stopper when it starts; the copy is never used."""
        return {}


class _Recorder(tune.Callback):  # type: ignore[misc]  # Ray ships no types
    """Passes on to the conductor what Tune says of its trials."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._conductor.started(_identity(trial))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        if REPORT in result:
            self._conductor.reported(_identity(trial), result[REPORT])
        elif FAILURE in result:
            self._conductor.failed(_identity(trial), **result[FAILURE])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        error = str(trial.get_error() or "its process died").strip()
        reason = f"{error.splitlines()[-1]} ({NUM_REPEATS_AFTER_PROCESS_DEATH + 1} attempts)"
        self._conductor.failed(_identity(trial), reason, error)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._conductor.tick()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks when it starts; the copy is never used."""
        return {}


def _identity(trial: Any) -> str:
    identity: str = trial.config[ASSIGNMENT]["identity"]
    return identity
