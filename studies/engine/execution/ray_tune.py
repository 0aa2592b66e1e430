"""Ray Tune as the executor: it places replicates on a laptop or a cluster, and tells the controller what becomes of them.

Nothing of Tune's own state is kept or restored, and Tune retries nothing by itself; what to do next always comes from the
controller, and so from the ledger.
"""

import json
import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
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
from studies.engine.execution.ray_patches import actor_id, actors_of, forget_finished_trials, let_workers_start
from studies.engine.execution.ray_session.heartbeats import Heartbeats
from studies.engine.execution.resource_requests import GIB, Node, NodeCapacity, ResourceRequest
from studies.engine.execution.worker import ASSIGNMENT, FAILURE, IDENTITY, REPORT, STORAGE_ERRORS, ReplicateWorker
from studies.process_folders import temporary_folder

SECONDS_BETWEEN_LOOKS_AT_NODES = 5.0
SECONDS_BETWEEN_LOOKS_AT_RAY = 0.5
SECONDS_TO_LEAVE = 5.0
"""How long Tune may take to end once it was told to."""
SECONDS_TO_ASK_GPUS = 20.0
_LEFT_BEHIND: list[Any] = []
"""What holds Tune's own controller of a Ray that is lost; it would ask that Ray for a minute before it is forgotten."""
LEAST = {"CPU": 0.01}
"""Nothing can begin unless some node has this much to spare."""


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


def run_replicates(controller: StudyController, look: Callable[[], StopReason | None]) -> None:
    """Train what the controller assigns until nothing is left; needs a ``ray_session``.

    After a first interrupt (Ctrl-C, SIGTERM) replicates in training stop after their current epoch; a second one ends them at
    once. What became of each replicate, the controller knows.

    Tune runs in a thread of its own, so that this one can leave it behind when a call of Ray never returns.

    Args:
        controller: Of the study.
        look: Called twice a second: why the study cannot go on, if it cannot. Tune is then left as it is.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are in the ledger, with their reasons
    let_workers_start()
    leave, errors, reason = threading.Event(), list[BaseException](), None
    with temporary_folder("tune") as scratch:
        scheduler = _FifoScheduler()
        tuner = _tuner(controller, scheduler, scratch, leave)

        def fit() -> None:
            try:
                tuner.fit()
            except _LeftError:
                pass
            except BaseException as error:  # noqa: BLE001  # raised again in the main thread
                errors.append(error)

        thread = threading.Thread(target=fit, name="tune", daemon=True)
        with _interruptible(controller):
            thread.start()
            while thread.is_alive() and not (reason := look()):
                thread.join(SECONDS_BETWEEN_LOOKS_AT_RAY)
            until = time.monotonic() + SECONDS_TO_LEAVE
            while errors and not reason and time.monotonic() < until:  # Tune may feel sooner than we see that Ray is lost
                time.sleep(SECONDS_BETWEEN_LOOKS_AT_RAY)
                reason = look()
            if errors and not reason and isinstance(errors[0], OSError) and errors[0].errno in STORAGE_ERRORS:
                words = f"the temporary folder {scratch} cannot be written ({errors[0].strerror})"
                reason = StopReason("storage", words)
            if reason:
                controller.stop(reason)
                controller.tell_why_stopped()
                _LEFT_BEHIND.append(scheduler)
        leave.set()  # after a second interrupt too
        thread.join(SECONDS_TO_LEAVE)
    if errors and not reason:
        raise errors[0]


class _LeftError(BaseException):
    """Ends Tune at once; at an Exception it would wait for the workers."""


def _tuner(controller: StudyController, scheduler: "_FifoScheduler", scratch: Path, leave: threading.Event) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(ReplicateWorker, _resources_of),
        tune_config=tune.TuneConfig(
            search_alg=_Proposer(controller),
            scheduler=scheduler,
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            storage_path=str(scratch),
            verbose=0,
            callbacks=[_ControllerCallback(controller, scheduler, leave)],
            stop=_Stopper(controller),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )


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


def check_feasible(resources: Resources) -> None:
    """Check that a node has what the study file asks for; what the file leaves open is requested only as far as nodes have it.

    Needs a ``ray_session``.

    Raises:
        StudyError: No node has it.
    """
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

    tune_controller: Any = None
    """Tune's own controller, once it has a trial."""

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """No trial in particular: Tune starts pending trials in their order."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tune has the trial among the pending ones; its controller is known from now on."""
        self.tune_controller = tune_controller

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

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler when it starts; the copy is never used."""
        return {}


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

    def __init__(self, controller: StudyController, scheduler: _FifoScheduler, leave: threading.Event) -> None:
        self._controller, self._scheduler, self._leave = controller, scheduler, leave
        self._heartbeats = Heartbeats(controller.deadline_s)
        self._ended: dict[str, str] = {}
        """Why we have ended a trial's process, by the trial's id."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._controller.started(_identity(trial))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        if REPORT in result:
            self._controller.reported(_identity(trial), json.loads(result[REPORT]))
        elif FAILURE in result:
            self._controller.failed(_identity(trial), **result[FAILURE])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        file = Path(trial.error_file)  # trial.get_error() reads a copy that Tune makes with snapshots, which are off
        error = (file.read_text() if file.exists() else "its process died").strip()
        self._controller.process_died(_identity(trial), self._ended.pop(trial.trial_id, error))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Nothing to do: its last report said so."""

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._leave.is_set():
            raise _LeftError
        self._controller.tick()
        self._end_frozen_processes(trials)

    def _end_frozen_processes(self, trials: list[Any]) -> None:
        """Kill the processes that send no heartbeats, or are late without having ended themselves; their trials then fail."""
        actors = actors_of(self._scheduler.tune_controller) if self._scheduler.tune_controller else {}
        silent = self._heartbeats.silent(map(actor_id, actors.values()))
        for trial in trials:
            actor = actors.get(trial.trial_id)
            if actor is None or trial.trial_id in self._ended:
                continue
            if actor_id(actor) in silent:
                words = f"its process was frozen, and gave no sign of life for {self._heartbeats.patience_s:g} s"
            elif self._controller.is_overdue(_identity(trial)):
                words = "its process did not end itself after the deadline"
            else:
                continue
            self._ended[trial.trial_id] = words
            ray.kill(actor)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks when it starts; the copy is never used."""
        return {}


def _identity(trial: Any) -> str:
    identity: str = trial.config[ASSIGNMENT]["identity"]
    return identity
