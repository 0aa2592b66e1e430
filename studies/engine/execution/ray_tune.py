"""Ray Tune as the executor: it places replicates on a laptop or a cluster, and tells the controller what becomes of them.

Nothing of Tune's own state is kept or restored, and Tune retries nothing by itself; what to do next always comes from the
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
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from studies.engine.definition.file_model import Resources
from studies.engine.errors import Problem, StudyError
from studies.engine.execution.budget import StopReason
from studies.engine.execution.controller import StudyController
from studies.engine.execution.ray_patches import forget_finished_trials, let_workers_start, loopback_options
from studies.engine.execution.resource_requests import GIB, Node, NodeCapacity, ResourceRequest
from studies.engine.execution.worker import ASSIGNMENT, FAILURE, IDENTITY, REPORT, ReplicateWorker

SECONDS_BETWEEN_LOOKS_AT_NODES = 5.0
SECONDS_TO_CONNECT = 10.0
SECONDS_TO_ASK_GPUS = 20.0
LEAST = {"CPU": 0.01}
"""Nothing can begin unless some node has this much to spare."""


@contextmanager
def ray_session(address: str | None, num_cpus: int | None, resources: Resources) -> Iterator[None]:
    """A connection to Ray for one study: to a Ray of its own, on the loopback interface alone, or to the cluster at ``address``.

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
    """Raise an OSError at once if nobody listens at the address; Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_CONNECT).close()


def nodes() -> list[dict[str, Any]]:
    """The host and the resources of every node of the cluster; needs a ``ray_session``."""
    return [{"host": node["NodeManagerHostname"], **_plain(node["Resources"])} for node in ray.nodes() if node["Alive"]]


def _plain(resources: dict[str, float]) -> dict[str, float]:
    """Without the resources by which Ray marks nodes."""
    return {name: amount for name, amount in resources.items() if not name.startswith("node:")}


def largest_node() -> Node:
    """The most that a node of the cluster has; needs a ``ray_session``."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    with_gpu = [node for node in alive if node["Resources"].get("GPU")]
    memory = max(node["Resources"].get("memory", 0.0) for node in alive)
    return Node(memory, gpu_bytes=min(map(_gpu_bytes, with_gpu), default=0), has_gpu=bool(with_gpu))


def _gpu_bytes(node: dict[str, Any]) -> int:
    """The memory of the smallest GPU of a node; 0 if its driver does not tell."""
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


def run_replicates(controller: StudyController) -> None:
    """Train what the controller assigns until nothing is left; needs a ``ray_session``.

    After a first interrupt (Ctrl-C, SIGTERM) replicates in training stop after their current epoch; a second one ends them at
    once. What became of each replicate, the controller knows.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are in the ledger, with their reasons
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
                callbacks=[_ControllerCallback(controller)],
                stop=_Stopper(controller),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        ).fit()


@contextmanager
def _interruptible(controller: StudyController) -> Iterator[None]:
    """The first signal asks the controller to stop; the second one ends the block."""
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
    return tune.PlacementGroupFactory([config[ASSIGNMENT]["resources"]])


def _check_feasible(resources: Resources) -> None:
    """Whether a node has what the study file asks for; what the file leaves open is requested only as far as nodes have it."""
    asked = ResourceRequest(resources.cpus, resources.gpus or 0.0, int((resources.memory_gib or 0) * GIB)).as_ray()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in nodes):
        has = "; ".join(", ".join(f"{name} {node.get(name, 0):g}" for name in asked) for node in nodes)
        wants = ", ".join(f"{name} {amount:g}" for name, amount in asked.items())
        rule, repair = "some node must have what one replicate asks for", "lower resources, or add a node that has them"
        raise StudyError([Problem("resources", rule, f"{wants}, but the nodes have: {has}", repair)])


@dataclass
class _Proposer(Searcher):  # type: ignore[misc]  # Ray ships no types
    """Hands the controller's assignments to Tune, as a searcher does, as many at a time as the cluster has room for."""

    controller: StudyController
    _capacity: NodeCapacity = field(default_factory=NodeCapacity)
    _waiting: dict[str, Any] | None = None
    """An assignment for which there was no room yet."""
    _looked_at: float = -SECONDS_BETWEEN_LOOKS_AT_NODES

    def __post_init__(self) -> None:
        super().__init__()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of Tune's next trial; None if there is none now, FINISHED if there will be none."""
        self._look_at_nodes()
        if self._waiting is None and not self._capacity.has_any(LEAST):
            return None
        assignment = self._waiting or self.controller.next_assignment()
        if assignment is None:
            finished: str = Searcher.FINISHED
            return None if self.controller.is_waiting() else finished
        if not self._capacity.place(trial_id, assignment["resources"]):
            self._waiting = assignment
            return None
        self._waiting = None
        return {ASSIGNMENT: assignment}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune's trial is over, whether it failed or not: its resources are free."""
        self._capacity.release(trial_id)

    def _look_at_nodes(self) -> None:
        """Learn now and then which nodes have come or gone."""
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
    """First in, first out. Tune's own such scheduler looks through all trials at every step; Tune needs no help to start them."""

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """No trial in particular: Tune starts pending trials in their order."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Nothing to do: Tune has it among the pending ones."""

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Nothing to do: the controller is told by the callback."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Always go on: the stopper has been asked before."""
        goes_on: str = TrialScheduler.CONTINUE
        return goes_on

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Drop the trials that finished before this one, which Tune would keep."""
        forget_finished_trials(tune_controller)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Nothing to do: the controller is told by the callback."""


class _Stopper(tune.Stopper):  # type: ignore[misc]  # Ray ships no types
    """Asks the controller after every report whether the replicate is to stop."""

    def __init__(self, controller: StudyController) -> None:
        self._controller = controller

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return REPORT in result and self._controller.should_stop(result[IDENTITY], json.loads(result[REPORT]))

    def stop_all(self) -> bool:
        """Never: each replicate stops by itself."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its stopper when it starts; the copy is never used."""
        return {}


class _ControllerCallback(TrialProgressCallback):  # type: ignore[misc]  # Ray ships no types
    """Tells the controller what happens to Tune's trials.

    A ``TrialProgressCallback``, so that Tune does not add its own, which prints and keeps every trial.
    """

    def __init__(self, controller: StudyController) -> None:
        self._controller = controller

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._controller.started(_identity(trial))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        if REPORT in result:
            self._controller.reported(_identity(trial), json.loads(result[REPORT]))
        elif FAILURE in result:
            self._controller.failed(_identity(trial), **result[FAILURE])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        error = Path(trial.error_file)  # trial.get_error() reads a copy that Tune makes with snapshots, which are off
        self._controller.process_died(_identity(trial), (error.read_text() if error.exists() else "its process died").strip())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Nothing to do: its last report said so."""

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._controller.tick()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks when it starts; the copy is never used."""
        return {}


def _identity(trial: Any) -> str:
    identity: str = trial.config[ASSIGNMENT]["identity"]
    return identity
