"""Ray Tune as the executor: places replicates on a laptop or a cluster, and says what became of them.

Nothing of Tune's own state is kept or restored, and Tune repeats nothing by itself; what to do next always comes from the
controller, and so from the ledger.
"""

import json
import logging
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from studies.engine.definition.file_model import Resources
from studies.engine.errors import Problem, StudyError
from studies.engine.execution.budget import StopReason
from studies.engine.execution.ray_patches import forget_finished_trials, let_workers_start, loopback_options
from studies.engine.execution.resource_requests import GIB, Node, NodeCapacity, ResourceRequest
from studies.engine.execution.worker import ASSIGNMENT, FAILURE, IDENTITY, REPORT, ReplicateWorker

SECONDS_BETWEEN_LOOKS_AT_NODES = 5.0
SECONDS_TO_CONNECT = 10.0
SECONDS_TO_ASK_GPUS = 20.0
LEAST = {"CPU": 0.01}
"""Without so much of some node nothing can begin."""


class Controller(Protocol):
    """Who decides what runs next and is told what happens; all calls come from the driver's one thread."""

    def next_assignment(self) -> dict[str, Any] | None:
        """What to train next; None when nothing can begin."""

    def is_waiting(self) -> bool:
        """Whether something can begin once what is in flight has ended."""

    def started(self, identity: str) -> None:
        """A worker has begun this replicate."""

    def should_stop(self, identity: str, report: dict[str, Any]) -> bool:
        """Whether this replicate is to end with this report; asked before ``reported`` is told of it."""

    def reported(self, identity: str, report: dict[str, Any]) -> None:
        """An epoch of this replicate is done."""

    def failed(self, identity: str, kind: str, reason: str, traceback: str = "") -> None:
        """This replicate has ended without a result; kinds are the worker's."""

    def process_died(self, identity: str, error: str) -> None:
        """Its process has died, or has met an error that another process may not meet."""

    def stop(self, reason: StopReason) -> None:
        """Nothing more is to be begun."""

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
        options |= {"num_cpus": num_cpus, "include_dashboard": False, **loopback_options()}
    try:
        _check_somebody_listens(address)
        ray.init(address or "local", **options)
    except (OSError, ValueError, RuntimeError) as error:
        rule = "--address must lead to a Ray cluster"
        repair = "start one with ray start --head, set RAY_AUTH_MODE=token if it asks for a token, or leave --address out"
        raise StudyError([Problem("--address", rule, f"{address} ({str(error).splitlines()[0]})", repair)]) from None
    try:
        _check_feasible(resources)
        yield
    finally:
        ray.shutdown()


def _check_somebody_listens(address: str | None) -> None:
    """Raise an OSError at once where Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_CONNECT).close()


def nodes() -> list[dict[str, Any]]:
    """What every node of the cluster has; needs a ``ray_session``."""
    return [{"host": node["NodeManagerHostname"], **_plain(node["Resources"])} for node in ray.nodes() if node["Alive"]]


def _plain(resources: dict[str, float]) -> dict[str, float]:
    """Without Ray's own marks."""
    return {name: amount for name, amount in resources.items() if not name.startswith("node:")}


def largest_node() -> Node:
    """The most that a node of the cluster has; needs a ``ray_session``."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    with_gpu = [node for node in alive if node["Resources"].get("GPU")]
    memory = max(node["Resources"].get("memory", 0.0) for node in alive)
    return Node(memory, gpu_bytes=min(map(_gpu_bytes, with_gpu), default=0), has_gpu=bool(with_gpu))


def _gpu_bytes(node: dict[str, Any]) -> int:
    """Of the smallest GPU of a node; 0 where its driver does not say."""
    on_node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    try:
        sizes: list[int] = ray.get(_ask_gpus.options(scheduling_strategy=on_node).remote(), timeout=SECONDS_TO_ASK_GPUS)
    except ray.exceptions.RayError:
        return 0
    return min(sizes, default=0)


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
def _ask_gpus() -> list[int]:
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS_TO_ASK_GPUS / 2)
    except (OSError, subprocess.SubprocessError):
        return []
    return [int(line) * 2**20 for line in answer.stdout.split() if line.isdigit()]


def run_replicates(controller: Controller) -> None:
    """Run what the controller assigns until nothing is left; needs a ``ray_session``.

    After a first interrupt (Ctrl-C, SIGTERM) what is in training ends with its epoch; a second one ends it at once. What
    became of each replicate is the controller's to say.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what goes wrong is in the ledger, with its reason
    let_workers_start()
    with _interruptible(controller), tempfile.TemporaryDirectory(prefix="spikesweep-tune-") as scratch:
        tune.Tuner(
            tune.with_resources(ReplicateWorker, _resources_of),
            tune_config=tune.TuneConfig(
                search_alg=_Proposer(controller),
                scheduler=_FifoScheduler(),
                num_samples=-1,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=0,
                callbacks=[_Recorder(controller)],
                stop=_Stopper(controller),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        ).fit()


@contextmanager
def _interruptible(controller: Controller) -> Iterator[None]:
    """The first signal asks the controller to stop; the second one ends what is in here."""
    asked = False

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        controller.stop(StopReason("interrupted", f"interrupted ({signal.Signals(number).name})"))

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        if not asked:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _resources_of(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    return tune.PlacementGroupFactory([config[ASSIGNMENT]["demand"]])


def _check_feasible(resources: Resources) -> None:
    """What the study file asks for by itself; what is left to us is asked for only as far as there is any."""
    asked = ResourceRequest(resources.cpus, resources.gpus or 0.0, int((resources.memory_gib or 0) * GIB)).as_ray()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in nodes):
        has = "; ".join(", ".join(f"{name} {node.get(name, 0):g}" for name in asked) for node in nodes)
        wants = ", ".join(f"{name} {amount:g}" for name, amount in asked.items())
        rule, repair = "some node must have what one replicate asks for", "lower resources, or add a node that has them"
        raise StudyError([Problem("resources", rule, f"{wants}, but the nodes have: {has}", repair)])


@dataclass
class _Proposer(Searcher):  # type: ignore[misc]  # Ray ships no types
    """Tune's view of the controller: hands out as many assignments as the cluster can hold."""

    controller: Controller
    _capacity: NodeCapacity = field(default_factory=NodeCapacity)
    _waiting: dict[str, Any] | None = None
    """An assignment for which there was no room."""
    _looked_at: float = -SECONDS_BETWEEN_LOOKS_AT_NODES

    def __post_init__(self) -> None:
        super().__init__()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Tune asks for the next trial: its config, None for not now, FINISHED for never."""
        self._look_at_nodes()
        if self._waiting is None and not self._capacity.has_any(LEAST):
            return None
        assignment = self._waiting or self.controller.next_assignment()
        if assignment is None:
            finished: str = Searcher.FINISHED
            return None if self.controller.is_waiting() else finished
        if not self._capacity.place(trial_id, assignment["demand"]):
            self._waiting = assignment
            return None
        self._waiting = None
        return {ASSIGNMENT: assignment}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune says that a trial has ended, in whatever way."""
        self._capacity.release(trial_id)

    def _look_at_nodes(self) -> None:
        """Nodes may come and go."""
        if time.monotonic() - self._looked_at >= SECONDS_BETWEEN_LOOKS_AT_NODES:
            self._capacity.update({node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]})
            self._looked_at = time.monotonic()

    def save(self, checkpoint_path: str) -> None:
        """Tune's own state is never restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Tune's own state is never restored."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher when it starts; the copy is never used."""
        return {}


class _FifoScheduler(TrialScheduler):  # type: ignore[misc]  # Ray ships no types
    """Tune starts what is pending in its order without being told; its default looks through all trials at every step."""

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None in particular."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """It is pending."""

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """The controller's to know."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """The stopper has been asked already."""
        goes_on: str = TrialScheduler.CONTINUE
        return goes_on

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The controller's to know; Tune needs to know no more of those that ended before this one."""
        forget_finished_trials(tune_controller)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """The controller's to know."""


class _Stopper(tune.Stopper):  # type: ignore[misc]  # Ray ships no types
    """Asks the controller about every report whether it is to be a replicate's last."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return REPORT in result and self._controller.should_stop(result[IDENTITY], json.loads(result[REPORT]))

    def stop_all(self) -> bool:
        """What is in flight is never ended together."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its stopper when it starts; the copy is never used."""
        return {}


class _Recorder(TrialProgressCallback):  # type: ignore[misc]  # Ray ships no types
    """Passes on to the controller what Tune says of its trials; in the place of Tune's own printer, which keeps all of them."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._controller.started(_identity(trial))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        if REPORT in result:
            self._controller.reported(_identity(trial), json.loads(result[REPORT]))
        elif FAILURE in result:
            self._controller.failed(_identity(trial), **result[FAILURE])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        error = Path(trial.error_file)  # Tune's own copy of it comes with its snapshots, which there are none of
        self._controller.process_died(_identity(trial), (error.read_text() if error.exists() else "its process died").strip())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its last report has said so."""

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._controller.tick()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks when it starts; the copy is never used."""
        return {}


def _identity(trial: Any) -> str:
    identity: str = trial.config[ASSIGNMENT]["identity"]
    return identity
