"""Ray's internals: the installed version has all that is used, and another that lacks some of it is told about in words."""

from types import SimpleNamespace

import pytest
import ray
from ray._private import services
from ray.tune.execution.tune_controller import TuneController

from studies.engine.errors import StudyError
from studies.engine.execution import ray_patches


class OtherController:
    """A controller as another version of Ray might have it."""

    def __init__(self) -> None:
        self._trials: list[object] = []

    def _maybe_reuse_cached_actor(self, trial: object, pool: object) -> bool:
        return trial is pool


def test_the_installed_ray_has_every_private_part() -> None:
    """Nothing is missing or different."""
    ray_patches.check()


def test_a_missing_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attribute that is gone, every function with other parameters, and every module that moved; what is there is not."""
    monkeypatch.setattr("ray.tune.execution.tune_controller.TuneController", OtherController)
    monkeypatch.delattr(services, "resolve_ip_for_localhost")
    monkeypatch.setattr(ray_patches, "_JOB_CLIENT", ("ray.moved",))
    with pytest.raises(RuntimeError, match=f"ray {ray.__version__} has no ") as caught:
        ray_patches.check()
    said = str(caught.value)
    gone = {"_trial_to_actor", "_actor_manager", "_live_trials", "_stopped_trials", "_failed_trials", "_trials_to_cache"}
    changed = {"_maybe_reuse_cached_actor(self, trial)", "resolve_ip_for_localhost(host)"}
    assert not {name for name in (*gone, *changed, "ray.moved", ray_patches.CHECKED_FOR) if name not in said}
    assert "TuneController._trials " not in said


def test_an_unknown_ray_is_not_started_where_others_might_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the version and what to install."""
    monkeypatch.setattr(services, "resolve_ip_for_localhost", lambda host, port: (host, port))
    with pytest.raises(StudyError, match="loopback") as caught:
        ray_patches.loopback_options()
    (problem,) = caught.value.problems
    assert ray.__version__ in problem.value
    assert ray_patches.CHECKED_FOR in problem.repair


def test_a_ray_without_the_parts_of_tune_runs_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so once, and is left as it is."""
    monkeypatch.setattr("ray.tune.execution.tune_controller.TuneController", OtherController)
    ray_patches._can_forget.cache_clear()
    untouched = OtherController._maybe_reuse_cached_actor
    with pytest.warns(RuntimeWarning, match="one at a time"):
        ray_patches.let_workers_start()
    assert OtherController._maybe_reuse_cached_actor is untouched
    with pytest.warns(RuntimeWarning, match="more memory") as told:
        any(map(ray_patches.forget_finished_trials, [OtherController(), OtherController()]))
    assert len(told) == 1
    ray_patches._can_forget.cache_clear()


def test_a_worker_that_starts_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial whose worker is starting keeps it; one whose worker still waits for resources may take a free one."""
    monkeypatch.setattr(TuneController, "_maybe_reuse_cached_actor", lambda self, trial: trial in self._trial_to_actor)
    ray_patches.let_workers_start()
    patched = TuneController._maybe_reuse_cached_actor
    ray_patches.let_workers_start()
    assert TuneController._maybe_reuse_cached_actor is patched
    actors = SimpleNamespace(_live_actors_to_ray_actors_resources={"starting": None})
    controller = SimpleNamespace(_trial_to_actor={"a": "starting", "b": "waiting"}, _actor_manager=actors)
    assert [patched(controller, trial) for trial in ("a", "b", "c")] == [False, True, False]


def test_finished_trials_are_forgotten() -> None:
    """Those that go on stay."""
    controller = SimpleNamespace(
        _trials=["a", "b", "c"], _live_trials={"c"}, _stopped_trials={"a"}, _failed_trials={"b"}, _trials_to_cache={"a", "c"}
    )
    ray_patches.forget_finished_trials(controller)
    assert (controller._trials, controller._live_trials, controller._trials_to_cache) == (["c"], {"c"}, {"c"})
    assert not controller._stopped_trials | controller._failed_trials
