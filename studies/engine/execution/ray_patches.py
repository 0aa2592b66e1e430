"""What a study needs of Ray's internals, because Ray has no public way to it; no other module touches them.

The private parts are looked at when this module is imported; a warning names those that the installed Ray lacks or has changed.
Every function here then looks for those that it needs before it relies on them, and says what follows: an error where a study
must not run without them, else a warning of what becomes slower. The parts were read in the sources of the versions in
``CHECKED_FOR``.
"""

import functools
import inspect
import logging
import warnings
from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from typing import Any

import ray
from ray.job_config import JobConfig

from studies.engine.errors import Problem, StudyError

CHECKED_FOR = "ray[default,tune]>=2.60,<2.61"
"""The requirement in pyproject.toml. Before its bound is raised, ``check`` must pass, and Ray's sources must be read."""

_INIT = "ray._private.worker:init"
_SERVICES = "ray._private.services"
_CONTROLLER = "ray.tune.execution.tune_controller:TuneController"
_ACTOR_MANAGER = "ray.air.execution._internal:RayActorManager"
_TRIALS = ("_trials", "_live_trials", "_stopped_trials", "_failed_trials", "_trials_to_cache")
_FROZEN = "a process that trains and is frozen will hold its replicate for ever"
_JOB_CONFIG = "ray.job_config:JobConfig"
_NOTES = "ray.experimental.internal_kv"
_JOB_CLIENT = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging")


def check() -> None:
    """Look whether the installed Ray has all private parts that this module uses, as it expects them.

    Raises:
        RuntimeError: Parts are missing or different; the message names them and the installed version.
    """
    missing = [
        *_missing_for_loopback(),
        *_missing_for_starting_workers(),
        *_missing_for_forgetting(),
        *_missing_for_worker_path(),
        *_missing_for_actors(),
        *_missing_for_notes(),
        *(module for module in _JOB_CLIENT if _part(module) is None),
    ]
    if missing:
        raise RuntimeError(f"{_lacks(missing)}; install {CHECKED_FOR}, or adapt studies/engine/execution/ray_patches.py")


def _check_at_import() -> None:
    """Other than the parts of Optuna these can be missed, so that ``--address`` and slower studies still work."""
    try:
        check()
    except RuntimeError as error:
        warnings.warn(str(error), RuntimeWarning, stacklevel=3)


def loopback_options() -> dict[str, Any]:
    """Options of ``ray.init`` with which a Ray that is started on this machine cannot be reached from another one.

    Ray turns 127.0.0.1 into the machine's outer address, which its servers would then bind to. In this process it no longer does.

    Raises:
        StudyError: The installed Ray finds its address in another way, so that its servers might be open to others.
    """
    if missing := _missing_for_loopback():
        rule = "a Ray that is started on this machine must listen on the loopback interface alone"
        repair = f"install {CHECKED_FOR}, or start Ray yourself and give its --address"
        raise StudyError([Problem("ray", rule, _lacks(missing), repair)])
    resolve_name(_SERVICES).resolve_ip_for_localhost = lambda host: host
    return {"_node_ip_address": "127.0.0.1"}


class _JobConfig(JobConfig):  # type: ignore[misc]  # Ray ships no types
    """Ray puts the driver's current folder in front of what workers search, unless the job brings a folder of its own."""

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def without_current_folder(search_path: Sequence[str]) -> Any:
    """The ``job_config`` of ``ray.init`` with which workers search these folders first, but not the driver's current one.

    A file called ``json.py``, or a folder called ``studies``, that lies there would hide what workers need. Where Ray lacks the
    private parts, this warns, and workers search the current folder.
    """
    if missing := _missing_for_worker_path():
        _warn(missing, "files in the current folder may hide modules from the workers")
        return None
    return _JobConfig(_py_driver_sys_path=list(search_path))


def actors_of(controller: Any) -> dict[str, Any]:
    """The actors that run the trials of a ``TuneController``, by the trials' ids; empty where Ray lacks the private parts."""
    if not _can_name_actors():
        return {}
    live = controller._actor_manager._live_actors_to_ray_actors_resources  # noqa: SLF001
    tracked = {trial.trial_id: actor for trial, actor in controller._trial_to_actor.items()}  # noqa: SLF001
    return {trial_id: live[actor][0] for trial_id, actor in tracked.items() if actor in live}


def actor_id(actor: Any) -> str:
    """The id of an actor, as the actor itself knows it."""
    name: str = actor._actor_id.hex()  # noqa: SLF001
    return name


def write_note(key: str, value: str) -> None:
    """Keep a short text on the head of the cluster, where every process of Ray can read it; nothing where Ray cannot do that."""
    if _can_keep_notes():
        resolve_name(_NOTES)._internal_kv_put(key, value)  # noqa: SLF001


def read_note(key: str) -> bytes | None:
    """A text that ``write_note`` wrote; None if there is none."""
    if not _can_keep_notes():
        return None
    note: bytes | None = resolve_name(_NOTES)._internal_kv_get(key)  # noqa: SLF001
    return note


def let_workers_start() -> None:
    """Keep Tune from stopping workers that are still starting.

    When a replicate finishes, Tune gives its worker to a trial that waits for another worker to start, and stops that one. Where
    replicates are shorter than the seconds of a start, no second worker ever gets ready, and a study trains one replicate at a
    time. The change lasts as long as the process. Where Ray lacks the private parts, this warns and changes nothing.
    """
    if missing := _missing_for_starting_workers():
        _warn(missing, "replicates that train for only a few seconds will run one at a time")
        return
    controller_class = resolve_name(_CONTROLLER)
    reuse: Callable[[Any, Any], bool] = controller_class._maybe_reuse_cached_actor  # noqa: SLF001
    if getattr(reuse, "lets_workers_start", False):
        return

    def reuse_unless_one_starts(self: Any, trial: Any) -> bool:
        worker = self._trial_to_actor.get(trial)  # it may also wait for resources that a free worker holds: take that one then
        is_starting = worker in self._actor_manager._live_actors_to_ray_actors_resources  # noqa: SLF001
        return not is_starting and bool(reuse(self, trial))

    reuse_unless_one_starts.lets_workers_start = True  # type: ignore[attr-defined]
    controller_class._maybe_reuse_cached_actor = reuse_unless_one_starts  # noqa: SLF001


def forget_finished_trials(controller: Any) -> None:
    """Remove finished trials from a ``TuneController``, which keeps all of them, some 40 KiB each, and looks through them often.

    Where Ray lacks the private parts, this warns once and removes none.
    """
    if not _can_forget():
        return
    for trial in controller._stopped_trials | controller._failed_trials:  # noqa: SLF001
        controller._trials.remove(trial)  # noqa: SLF001
        controller._live_trials.discard(trial)  # noqa: SLF001
        controller._trials_to_cache.discard(trial)  # noqa: SLF001
    controller._stopped_trials.clear()  # noqa: SLF001
    controller._failed_trials.clear()  # noqa: SLF001


def silence_job_client() -> None:
    """Keep Ray's job client from logging every upload. If its modules get other names it logs again, and nothing else changes."""
    for module in _JOB_CLIENT:
        logging.getLogger(module).setLevel(logging.ERROR)


@functools.cache
def _can_forget() -> bool:
    missing = _missing_for_forgetting()
    if missing:
        _warn(missing, "a study of many thousands of replicates will need more memory and slow down as it goes on")
    return not missing


@functools.cache
def _can_name_actors() -> bool:
    missing = _missing_for_actors()
    if missing:
        _warn(missing, _FROZEN)
    return not missing


@functools.cache
def _can_keep_notes() -> bool:
    missing = _missing_for_notes()
    if missing:
        _warn(missing, _FROZEN)
    return not missing


def _warn(missing: Sequence[str], consequence: str) -> None:
    message = f"{_lacks(missing)}: {consequence} (spikesweep was checked with {CHECKED_FOR})"
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def _lacks(missing: Sequence[str]) -> str:
    return f"ray {ray.__version__} has no {' and no '.join(missing)}"


def _missing_for_loopback() -> list[str]:
    init = _part(_INIT)
    code = inspect.unwrap(init).__code__ if init else None
    takes_address = code is not None and "_node_ip_address" in code.co_consts and "resolve_ip_for_localhost" in code.co_names
    missing = [] if takes_address else [f"{_INIT}(_node_ip_address) that calls resolve_ip_for_localhost"]
    return missing + _missing_function(f"{_SERVICES}:resolve_ip_for_localhost", ["host"])


def _missing_for_starting_workers() -> list[str]:
    return [
        *_missing_function(f"{_CONTROLLER}._maybe_reuse_cached_actor", ["self", "trial"]),
        *_missing_attributes(_CONTROLLER, "_trial_to_actor", "_actor_manager"),
        *_missing_attributes(_ACTOR_MANAGER, "_live_actors_to_ray_actors_resources"),
    ]


def _missing_for_forgetting() -> list[str]:
    return _missing_attributes(_CONTROLLER, *_TRIALS)


def _missing_for_worker_path() -> list[str]:
    connect = _part("ray._private.worker:connect")
    asks = connect is not None and "_runtime_env_has_working_dir" in inspect.unwrap(connect).__code__.co_names
    missing = [] if asks else ["ray._private.worker:connect that calls JobConfig._runtime_env_has_working_dir"]
    return [
        *missing,
        *_missing_function(f"{_JOB_CONFIG}._runtime_env_has_working_dir", ["self"]),
        *_missing_attributes(_JOB_CONFIG, "_py_driver_sys_path"),
    ]


def _missing_for_actors() -> list[str]:
    return [
        *_missing_attributes(_CONTROLLER, "_trial_to_actor", "_actor_manager"),
        *_missing_attributes(_ACTOR_MANAGER, "_live_actors_to_ray_actors_resources"),
    ]


def _missing_for_notes() -> list[str]:
    return [name for name in (f"{_NOTES}:_internal_kv_put", f"{_NOTES}:_internal_kv_get") if _part(name) is None]


def _missing_function(name: str, parameters: list[str]) -> list[str]:
    """The function with its parameters, unless Ray has exactly that."""
    function = _part(name)
    has_it = callable(function) and list(inspect.signature(function).parameters) == parameters
    return [] if has_it else [f"{name}({', '.join(parameters)})"]


def _missing_attributes(class_name: str, *attributes: str) -> list[str]:
    """Those of these attributes that the constructor of the class does not set."""
    constructor = inspect.unwrap(_part(class_name).__init__) if _part(class_name) else None
    names = constructor.__code__.co_names if constructor else ()
    return [f"{class_name}.{attribute}" for attribute in attributes if attribute not in names]


def _part(name: str) -> Any:
    """A part of Ray by ``module`` or ``module:attribute``; None if the installed Ray has none of that name."""
    try:
        return resolve_name(name)
    except (ImportError, AttributeError):
        return None


_check_at_import()
