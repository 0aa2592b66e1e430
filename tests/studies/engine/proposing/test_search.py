"""Searches and early stopping by themselves: every sampler and pruner, gone on with in the middle, on spaces of all kinds."""

import random
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from optuna.trial import TrialState

from search_spaces.language.space import Cell, Factor, Levels, Range, Space, cell_key, make_space
from studies.engine.binding.samplers import GENERATION, PRUNERS, SAMPLERS, with_all_arguments
from studies.engine.proposing.early_stopping import Curve, EarlyStopping
from studies.engine.proposing.search import NUM_RANDOM_TRIES, NUM_TRIES, Result, Search
from studies.run_record import Direction
from tests.search_spaces.language.strategies import spaces
from trainables import response_surface

MIXED = make_space(
    [
        Factor("a", Range(-1, 1)),
        Factor("e", Range(-1, 1, step=0.25)),
        Factor("n", Range(1, 64, log=True, integer=True)),
        Factor("variant", Levels(("plain", "peaked", "steep"))),
        Factor("flag", Levels((True, 1, None))),
        Factor("width", Range(0.1, 2, log=True), {"variant": ("peaked",)}),
    ]
)
SMALL: Mapping[str, Mapping[str, Any]] = {
    "tpe": {"n_startup_trials": 6},
    "nsga2": {"population_size": 5},
    "gp": {"n_startup_trials": 4},
    "cma_es": {"popsize": 4},
}
"""Arguments with which a sampler is past its beginnings after a few trials."""
Told = list[tuple[Cell, dict[str, Any], Result]]


def new_search(name: str, num_objectives: int = 1, space: Space = MIXED, accept: Callable[[Cell], bool] | None = None) -> Search:
    directions: list[Direction] = ["maximize", "minimize"]
    arguments = with_all_arguments("sampler", SAMPLERS, name, SMALL.get(name, {}))
    return Search(space, arguments, directions[:num_objectives], accept=accept or (lambda _: True))


def judged(cell: Cell, num_objectives: int = 1) -> Result:
    """A result of every kind, as the cell has it."""
    a, e = float(cell.get("a") or 0), float(cell.get("e") or 0)
    if a > 0.9:
        return Result(TrialState.FAIL)
    if a < -0.8:
        return Result(TrialState.PRUNED, intermediate={1: a, 2: e})
    return Result(TrialState.COMPLETE, [a * e - e**2, a**2][:num_objectives], {"e at most 0.8": e - 0.8}, {1: a, 2: e})


def go_on(search: Search, num: int, num_objectives: int = 1) -> Told:
    told = []
    for _ in range(num):
        proposal = search.ask()
        assert proposal is not None
        result = judged(proposal[0], num_objectives)
        search.tell(proposal[0], result)
        told.append((*proposal, result))
    return told


def remembered(search: Search, told: Told) -> Search:
    for cell, notes, result in told:
        search.remember(cell, notes, result)
    return search


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("num_objectives", [1, 2])
def test_every_sampler_goes_on(name: str, num_objectives: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Mixed types, conditions, limits, failures, early stops: all cells are new and allowed, also after an interruption.

    What follows from the record is what an undisturbed search would have proposed; nothing is printed and nobody is warned.
    """
    if name == "cma_es" and num_objectives == 2:
        pytest.skip("has one objective")
    num = 8 if name == "gp" else 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        undisturbed = new_search(name, num_objectives, accept=lambda cell: cell["flag"] is not None)
        told = go_on(undisturbed, num, num_objectives)
        resumed = new_search(name, num_objectives, accept=lambda cell: cell["flag"] is not None)
        later = go_on(remembered(resumed, told[: num // 2]), num - num // 2, num_objectives)
    cells = [cell for cell, _, _ in [*told[: num // 2], *later]]
    assert len({cell_key(cell) for cell in cells}) == num
    assert all(MIXED.contains(cell) and cell["flag"] is not None for cell in cells)
    if name != "cma_es":
        assert later == told[num // 2 :]
        assert resumed.best(3) == undisturbed.best(3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["tpe", "random", "qmc"])
def test_what_is_in_flight_is_remembered_so(name: str) -> None:
    """With trials in flight, an interrupted search proposes what an undisturbed one does, and takes their results."""
    undisturbed = new_search(name)
    told = go_on(undisturbed, 10)
    open_ones = [undisturbed.ask() for _ in range(3)]
    resumed = remembered(new_search(name), told)
    for proposal in open_ones:
        assert proposal
        resumed.remember(*proposal, None)
    assert resumed.ask() == undisturbed.ask()
    for proposal in open_ones:
        assert proposal
        for search in (undisturbed, resumed):
            search.tell(proposal[0], judged(proposal[0]))
    assert resumed.ask() == undisturbed.ask()


def test_generations_go_on() -> None:
    """NSGA-II's generations have their size, across an interruption too; what is known from elsewhere is of the first one."""
    told = go_on(new_search("nsga2", 2), 12, 2)
    resumed = remembered(new_search("nsga2", 2), told)
    complete = [notes[GENERATION] for _, notes, result in [*told, *go_on(resumed, 12, 2)] if result.state == TrialState.COMPLETE]
    assert complete == sorted(complete)
    assert all(complete.count(generation) == 5 for generation in set(complete[:-5]))
    warm = new_search("nsga2", 2)
    for cell, _, _ in told:
        warm.remember(cell, {}, Result(TrialState.COMPLETE, [0.0, 0.0]))
    proposal = warm.ask()
    assert proposal
    assert proposal[1][GENERATION] == 1


def test_a_sequence_does_not_begin_again() -> None:
    """After hundreds of trials QMC goes on in its sequence instead of passing over all it has proposed."""
    space = make_space([Factor("a", Range(0, 1)), Factor("b", Range(0, 1))])
    told = go_on(new_search("qmc", space=space), 2 * NUM_TRIES + 20)
    resumed = remembered(new_search("qmc", space=space), told[: 2 * NUM_TRIES])
    assert go_on(resumed, 20) == told[2 * NUM_TRIES :]


def test_cma_es_repeats_nothing() -> None:
    """CMA-ES starts anew after an interruption, and what it proposed before is passed over."""
    space = make_space([Factor("a", Range(-1, 1, step=0.1)), Factor("e", Range(-1, 1, step=0.1))])
    told = go_on(new_search("cma_es", space=space), 30)
    later = go_on(remembered(new_search("cma_es", space=space), told), 30)
    assert len({cell_key(cell) for cell, _, _ in [*told, *later]}) == 60


@pytest.mark.parametrize("name", ["tpe", "nsga2", "cma_es", "qmc"])
def test_a_finite_space_is_gone_through(name: str) -> None:
    """Every accepted cell comes once, then none; the search knows that it is at its end, in a later driver too."""
    space = make_space(
        [Factor("a", Range(0, 1, step=0.25)), Factor("v", Levels(("x", "y"))), Factor("w", Levels((1, 2)), {"v": ("y",)})]
    )

    def accept(cell: Cell) -> bool:
        return cell["a"] != 0.5

    search = new_search(name, space=space, accept=accept)
    told: Told = []
    while proposal := search.ask():
        told.append((*proposal, Result(TrialState.COMPLETE, [0.0])))
        search.tell(proposal[0], told[-1][2])
    assert len({cell_key(cell) for cell, _, _ in told}) == len(told) == 4 * 3
    assert search.is_exhausted()
    assert remembered(new_search(name, space=space, accept=accept), told).is_exhausted()
    assert not remembered(new_search(name, space=space, accept=accept), told[:-1]).is_exhausted()


@given(space=spaces(max_factors=3))
@settings(max_examples=15)
def test_any_finite_space_is_gone_through(space: Space) -> None:
    """No cell of any finite space is missed or proposed twice."""
    num_cells = space.num_cells() or 0
    if not 0 < num_cells <= 40:
        return
    search = new_search("random", space=space)
    seen = set()
    while proposal := search.ask():
        seen.add(cell_key(proposal[0]))
        search.tell(proposal[0], Result(TrialState.COMPLETE, [0.0]))
    assert len(seen) == num_cells


def test_a_search_that_finds_nothing_ends() -> None:
    """Where next to nothing is allowed in an infinite space, it is looked for so often and no longer."""
    calls = 0

    def refuse(_: Cell) -> bool:
        nonlocal calls
        calls += 1
        return False

    search = new_search("random", accept=refuse)
    assert search.ask() is None
    assert calls == NUM_TRIES + NUM_RANDOM_TRIES
    assert not search.is_exhausted()


@pytest.mark.parametrize("num_objectives", [1, 2])
def test_the_best_are_the_best(num_objectives: int) -> None:
    """Of those that keep their limits: no other is better in everything than the first ones, and the best of each comes first."""
    search = new_search("random", num_objectives)
    told = go_on(search, 40, num_objectives)
    signs = np.array([1, -1][:num_objectives])
    kept = {
        cell_key(cell): signs * result.values
        for cell, _, result in told
        if result.state == TrialState.COMPLETE and result.violations["e at most 0.8"] <= 0
    }
    best = [cell_key(cell) for cell in search.best(4)]
    assert len(set(best)) == 4
    assert kept[best[0]][0] == max(values[0] for values in kept.values())
    front = {one for one, mine in kept.items() if not any(np.all(v >= mine) and np.any(v > mine) for v in kept.values())}
    assert len(front & set(best)) == min(4, len(front))
    assert {cell_key(cell) for cell in search.best(1000)} == set(kept)


def test_tpe_learns() -> None:
    """On the response surface TPE's best of 60 trials beats random's for at least 6 of 8 seeds, and on average by a fifth of
    the distance from random's best to the optimum."""
    factors = [Factor(name, Range(-1, 1)) for name in "abcdfg"] + [Factor("variant", Levels(("plain", "peaked", "steep")))]
    space = make_space([*factors, Factor("peak_width", Range(0.1, 2, log=True), {"variant": ("peaked",)})])
    best = {name: [_best_accuracy(space, name, seed) for seed in range(8)] for name in ("tpe", "random")}
    optimum = max(
        response_surface.expected_accuracy(response_surface.Config(a=1, b=1, c=1, d=1, f=0.5, g=1, variant=v))
        for v in ("steep", "peaked")
    )
    gains = np.subtract(best["tpe"], best["random"])
    assert np.sum(gains > 0) >= 6
    assert np.mean(gains) >= 0.2 * (optimum - np.mean(best["random"]))


def _best_accuracy(space: Space, name: str, seed: int) -> float:
    search = Search(space, with_all_arguments("sampler", SAMPLERS, name, {"seed": seed}), ["maximize"], accept=lambda _: True)
    best = 0.0
    for _ in range(60):
        proposal = search.ask()
        assert proposal
        accuracy = response_surface.expected_accuracy(response_surface.Config(**proposal[0]))  # type: ignore[arg-type]
        search.tell(proposal[0], Result(TrialState.COMPLETE, [accuracy]))
        best = max(best, accuracy)
    return best


CHOSEN: Mapping[str, Mapping[str, Any]] = {
    "median": {"n_startup_trials": 2},
    "percentile": {"percentile": 30.0, "n_startup_trials": 2},
    "successive_halving": {"reduction_factor": 2},
    "hyperband": {"reduction_factor": 2},
    "threshold": {"lower": 0.3, "n_warmup_steps": 3},
    "patient": {"wrapped_pruner": "median", "patience": 0},
}


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_stopping_goes_on(name: str, direction: Direction) -> None:
    """With every pruner: after any number of epochs a later driver decides on all that is left as the first one would have."""
    pruner = with_all_arguments("pruner", PRUNERS, name, CHOSEN[name])
    rng = random.Random(1)
    values = {f"r{i}": [rng.random() * (epoch + i % 3) for epoch in range(8)] for i in range(30)}
    undisturbed, expected, history = EarlyStopping(pruner, direction), {}, []
    for identity, epoch in _order(values):
        expected[identity, epoch] = False
        if not any(stop for (other, _), stop in expected.items() if other == identity):
            expected[identity, epoch] = undisturbed.report(identity, epoch, values[identity][epoch - 1])
            history.append((identity, epoch))
            if expected[identity, epoch] or epoch == 8:
                undisturbed.finished(identity, TrialState.PRUNED if expected[identity, epoch] else TrialState.COMPLETE)
    assert any(expected.values())
    for num_seen in range(0, len(history), 17):
        resumed = EarlyStopping(pruner, direction)
        resumed.replay(_curves(history[:num_seen], expected, values))
        for identity, epoch in history[max(0, num_seen - 1) :]:
            assert resumed.report(identity, epoch, values[identity][epoch - 1]) == expected[identity, epoch]
            if expected[identity, epoch] or epoch == 8:
                resumed.finished(identity, TrialState.PRUNED if expected[identity, epoch] else TrialState.COMPLETE)


def _order(values: Mapping[str, list[float]]) -> list[tuple[str, int]]:
    """Epochs as they come where five replicates run at once, each at its own pace."""
    rng = random.Random(2)
    waiting, order = list(values), list[tuple[str, int]]()
    running: dict[str, int] = {}
    while waiting or running:
        while waiting and len(running) < 5:
            running[waiting.pop(0)] = 0
        identity = rng.choice(list(running))
        running[identity] += 1
        order.append((identity, running[identity]))
        if running[identity] == 8:
            del running[identity]
    return order


def _curves(seen: list[tuple[str, int]], stops: Mapping[tuple[str, int], bool], values: Mapping[str, list[float]]) -> list[Curve]:
    """What is on disk; the driver died after the last report had been written and before it was heard."""
    points: dict[str, list[tuple[int, int, float]]] = {}
    for at, (identity, epoch) in enumerate(seen):
        points.setdefault(identity, []).append((at, epoch, values[identity][epoch - 1]))
    states: dict[str, TrialState] = {}
    for identity, epoch in seen[:-1]:
        if stops[identity, epoch]:
            states[identity] = TrialState.PRUNED
        elif epoch == 8:
            states[identity] = TrialState.COMPLETE
    return [Curve(identity, of_one, states.get(identity)) for identity, of_one in points.items()]


def test_a_repeated_epoch_decides_nothing() -> None:
    """A replicate whose process died says its old epochs again; none of them stops it."""
    stopping = EarlyStopping(with_all_arguments("pruner", PRUNERS, "threshold", {"lower": 0.5}), "maximize")
    assert not stopping.report("one", 1, 0.6)
    assert stopping.report("one", 2, 0.4)
    assert not stopping.report("one", 1, 0.6)
    assert stopping.report("one", 2, 0.4)
    stopping.finished("one", TrialState.PRUNED)
    stopping.finished("never seen", TrialState.FAIL)
