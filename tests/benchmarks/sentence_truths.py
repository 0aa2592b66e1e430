"""Studies with planted truths for ``sentences``: what is true of every cell, and the replicates that a study would have recorded.

Every world is one way in which a report may be led astray. Accuracies are of 359 validation images, so they come in steps; the
spikes of a network follow the share of outputs that are not 0. What is true is meant over all seeds that there could be, those
that failed among them.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import optuna

from analysis.reporting import formatting
from studies.engine.binding.samplers import SAMPLERS, make_sampler, with_all_arguments
from studies.run_record import ACCURACY, SPARSITY, TEST_ACCURACY, Level, Role, RunRecord, StudyRecord
from tests.benchmarks.simulated_studies import NOISES, SHARE_MISSING, SPREADS, Cells, FloatArray, cells_of, study_of

NUM_IMAGES = 359
BEST_ACCURACY = 0.9
CHANCE = 0.1
NUM_CLASSES = 10
TEST_LOSS, TEST_SD = 0.01, 0.005
FACTS = {"num_validation_images": str(NUM_IMAGES), "num_test_images": str(NUM_IMAGES), "num_classes": str(NUM_CLASSES)}
SPIKES, ADDITIONS, ENERGY = "spikes_per_neuron/overall", "ops/effective_acs", "ops/energy_pj"
STEPS, NEURONS, PICOJOULES = 8, 1e4, 0.9
ACTIVITY = 0.1
"""The share of outputs that are spikes."""
FIVE_LEVELS: Mapping[str, Sequence[Level]] = {"time_steps": [8, 2, 4, 16], "layout": ["64 M", "64 A", "32 M"]}
TWO_BY_THREE: Mapping[str, Sequence[Level]] = {"time_steps": [8, 16], "layout": ["64 M", "64 A", "32 M"]}
THREE_SWITCHES: Mapping[str, Sequence[Level]] = {"a": [0, 1], "b": [0, 1], "c": [0, 1]}
SIXTY: Mapping[str, Sequence[Level]] = {"time_steps": [8, 4, 16], "width": [4, 8, 16, 32], "layout": ["M", "A", "S", "G", "L"]}


@dataclass(frozen=True)
class Drawn:
    """What a world draws: the accuracy and the activity of every cell and seed (NaN: failed), and their true means by cell."""

    accuracy_CS: FloatArray
    activity_CS: FloatArray
    accuracy_C: FloatArray
    activity_C: FloatArray
    accuracy_noise: float
    """The mean variance of what differs from replicate to replicate of one cell."""
    activity_noise: float
    is_at_chance: bool = False


@dataclass(frozen=True)
class Planted:
    """A study, its replicates, and what is true of its cells.

    ``grid`` has all combinations of a factorial's levels, of which a fraction trains some; elsewhere it has the cells.
    """

    study: StudyRecord
    runs: Sequence[RunRecord]
    grid: Cells
    means: Mapping[str, FloatArray]
    """By metric, of the cells of the grid."""
    noise: Mapping[str, float]
    is_at_chance: bool = False
    inert: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Of a search: the factors that do nothing to a metric."""
    most: Mapping[str, str] = field(default_factory=dict)
    """Of a search: the factor with the largest main effect."""

    @cached_property
    def _place_of(self) -> dict[frozenset[tuple[str, Level]], int]:
        return {frozenset(cell.items()): place for place, cell in enumerate(self.grid)}

    def mean(self, metric: str, levels: Mapping[str, Level]) -> float:
        """The true mean of a cell."""
        return float(self.means[metric][self._place_of[frozenset(levels.items())]])

    def level_means(self, metric: str, factor: str, *, are_trained: bool = False) -> dict[Level, float]:
        """Of every level the true mean: of its cell beside the baseline, or over all cells of a factorial that have it.

        ``are_trained``: over those alone that a fraction trains, which is what its table is of.
        """
        study = self.study
        if "factorial" in study.design:
            cells = list(self.configurations("cell").values()) if are_trained else self.grid
            return {
                level: float(np.mean([self.mean(metric, cell) for cell in cells if cell[factor] == level]))
                for level in study.factors[factor]
            }
        return {level: self.mean(metric, {**study.baseline, factor: level}) for level in study.factors[factor]}

    def difference(self, metric: str, factor: str, level: Level) -> float:
        """The level's true mean minus that of the factor's baseline level."""
        means = self.level_means(metric, factor)
        return means[level] - means[self.study.baseline[factor]]

    def component(self, metric: str, term: Sequence[str]) -> FloatArray:
        """The part of a factorial's true means that is of one term alone, in every cell that was trained."""
        factors = list(self.study.factors)
        shape = [len(levels) for levels in self.study.factors.values()]
        part = self.means[metric].reshape(shape)
        for axis, name in enumerate(factors):
            mean = part.mean(axis=axis, keepdims=True)
            part = part - mean if name in term else np.broadcast_to(mean, part.shape)
        trained = {frozenset(run.levels.items()) for run in self.runs}
        places = [place for cell, place in self._place_of.items() if cell in trained]
        of_cells: FloatArray = part.reshape(-1)[places]
        return of_cells

    def configurations(self, role: str) -> dict[str, Mapping[str, Level]]:
        """The cells (or trials, or finalists) that have a replicate, by the words that a report has for them."""
        found = {frozenset(run.levels.items()): run.levels for run in self.runs if run.role == role}
        return {formatting.configuration_in_words(self.study, levels): levels for levels in found.values()}


Draw = Callable[[np.random.Generator, int, int], Drawn]
"""From a generator, the number of cells and of seeds."""


def _drawn(
    generator: np.random.Generator,
    num_seeds: int,
    accuracy_C: FloatArray,
    activity_C: FloatArray,
    *,
    kind: str = "normal",
    sd: float = 0.01,
    relative_sd: float = 0.05,
) -> Drawn:
    """Normal noise of the accuracy, log-normal noise of the activity, each with a part that all cells of a seed share."""
    num = len(accuracy_C)
    accuracy = (
        accuracy_C[:, None] + sd * NOISES[kind](generator, (1, num, num_seeds))[0] + 0.01 * generator.normal(size=num_seeds)
    )
    logs = relative_sd * generator.normal(size=(num, num_seeds)) + 0.05 * generator.normal(size=num_seeds)
    mean_factor = math.exp((relative_sd**2 + 0.05**2) / 2)
    spread = 1.0 if kind == "normal" else float(np.mean(np.array(SPREADS[:num]) ** 2))
    return Drawn(
        np.round(accuracy * NUM_IMAGES) / NUM_IMAGES,
        activity_C[:, None] * np.exp(logs) / mean_factor,
        accuracy_C,
        activity_C,
        sd**2 * spread + (1 / NUM_IMAGES) ** 2 / 12,
        float(np.mean(activity_C**2)) * relative_sd**2,
    )


def nothing(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """All cells are equal."""
    return _drawn(generator, num_seeds, np.full(num_cells, BEST_ACCURACY), np.full(num_cells, ACTIVITY))


def effects(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """Effects of about one point, of a tenth of the spikes."""
    accuracy = BEST_ACCURACY + 0.01 * generator.normal(size=num_cells)
    return _drawn(generator, num_seeds, accuracy, ACTIVITY * np.exp(0.1 * generator.normal(size=num_cells)))


def unordered(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """Time steps matter, and not in one direction; one of two patterns, or its mirror image."""
    pattern = [(0, -0.03, 0.006, -0.006), (0, -0.015, -0.03, 0.0)][generator.integers(2)]
    steps = np.array(pattern) * generator.choice([-1, 1])
    accuracy = np.full(num_cells, BEST_ACCURACY)
    accuracy[: len(steps)] += steps
    activity = np.full(num_cells, ACTIVITY)
    activity[: len(steps)] *= np.exp(10 * steps)
    return _drawn(generator, num_seeds, accuracy, activity)


def half_a_point(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """Differences of just half a point, and of 1 % of the spikes, with little noise."""
    signs = generator.choice([-1.0, 1.0], size=num_cells)
    signs[0] = 0
    activity = ACTIVITY * np.where(signs, 1 + 0.01 * signs, 1.0)
    return _drawn(generator, num_seeds, BEST_ACCURACY + 0.005 * signs, activity, sd=0.002, relative_sd=0.005)


def small(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """Effects of a tenth of a point and of 0.2 % of the spikes, with little noise."""
    accuracy = BEST_ACCURACY + 0.001 * generator.normal(size=num_cells)
    activity = ACTIVITY * np.exp(0.002 * generator.normal(size=num_cells))
    return _drawn(generator, num_seeds, accuracy, activity, sd=0.002, relative_sd=0.004)


def sparse(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """Levels have 40 % fewer spikes, which is 0.4 points of sparsity."""
    activity = np.full(num_cells, 0.006)
    activity[0] = 0.01
    return _drawn(generator, num_seeds, np.full(num_cells, BEST_ACCURACY), activity)


def unequal_spread(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """All cells are equal, but some levels are noisier."""
    accuracy, activity = np.full(num_cells, BEST_ACCURACY), np.full(num_cells, ACTIVITY)
    return _drawn(generator, num_seeds, accuracy, activity, kind="differs by level")


def skewed(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """Cells are equal in the mean; the errors of some levels, about 3 %, are log-normal with a long tail."""
    sigma = np.where(np.arange(num_cells) % 2, 0.4, 0.15)
    logs = sigma[:, None] * generator.normal(size=(num_cells, num_seeds)) + 0.1 * generator.normal(size=num_seeds)
    errors = 0.03 * np.exp(logs - (sigma[:, None] ** 2 + 0.01) / 2)
    spikes = ACTIVITY * np.exp(0.2 * logs - 0.2**2 * (sigma[:, None] ** 2 + 0.01) / 2)
    accuracy = np.round((1 - errors) * NUM_IMAGES) / NUM_IMAGES
    noise = float(np.mean(np.expm1(sigma**2)))
    activity = np.full(num_cells, ACTIVITY)
    return Drawn(accuracy, spikes, np.full(num_cells, 0.97), activity, noise * 0.03**2, noise * (0.2 * ACTIVITY) ** 2)


def collapsing(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """One in five seeds of each level but the baseline ends at chance; the others are a point better."""
    drawn = _drawn(generator, num_seeds, np.full(num_cells, BEST_ACCURACY + 0.01), np.full(num_cells, ACTIVITY))
    return _collapsed(generator, drawn, np.arange(num_cells) > 0)


def collapsing_everywhere(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """One in five seeds of every cell ends at chance, and there is no other difference."""
    drawn = nothing(generator, num_cells, num_seeds)
    return _collapsed(generator, drawn, np.ones(num_cells, dtype=np.bool_))


def _collapsed(generator: np.random.Generator, drawn: Drawn, can: Any) -> Drawn:
    falls = (generator.random(drawn.accuracy_CS.shape) < 0.2) & can[:, None]
    low = np.round((CHANCE + 0.01 * generator.normal(size=falls.shape)) * NUM_IMAGES) / NUM_IMAGES
    means = np.where(can, 0.8 * drawn.accuracy_C + 0.2 * CHANCE, drawn.accuracy_C)
    between = float(np.mean(can * 0.16 * (drawn.accuracy_C - CHANCE) ** 2))
    return replace(
        drawn,
        accuracy_CS=np.where(falls, low, drawn.accuracy_CS),
        accuracy_C=means,
        accuracy_noise=drawn.accuracy_noise + between,
    )


def missing(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """Effects, and a tenth of the replicates is missing at random."""
    drawn = effects(generator, num_cells, num_seeds)
    return replace(
        drawn, accuracy_CS=np.where(generator.random(drawn.accuracy_CS.shape) < SHARE_MISSING, np.nan, drawn.accuracy_CS)
    )


def failing(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """All cells are equal; of the levels but the baseline, half of the replicates that are a standard deviation bad failed."""
    drawn = nothing(generator, num_cells, num_seeds)
    is_bad = drawn.accuracy_CS - drawn.accuracy_CS[:1] < -0.0142
    failed = is_bad & (generator.random(is_bad.shape) < 0.5)
    return replace(drawn, accuracy_CS=np.where(failed, np.nan, drawn.accuracy_CS))


def at_chance(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """No network has learnt anything: 10 % of 10 classes."""
    drawn = _drawn(generator, num_seeds, np.full(num_cells, CHANCE), np.full(num_cells, ACTIVITY), sd=0.002)
    return replace(drawn, is_at_chance=True)


def cancelling(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """c adds a point and a × b takes it away, so that a fraction with c = a × b sees nothing of either."""
    signs = np.array(list(itertools.product((-1, 1), repeat=3)))
    accuracy = BEST_ACCURACY + 0.005 * signs[:, 2] - 0.005 * signs[:, 0] * signs[:, 1]
    logs = 0.01 * (signs[:, 2] - signs[:, 0] * signs[:, 1])
    del num_cells
    return _drawn(generator, num_seeds, accuracy, ACTIVITY * np.exp(logs), sd=0.002, relative_sd=0.005)


@dataclass(frozen=True)
class World:
    """One way in which a report may be led astray."""

    design: str
    factors: Mapping[str, Sequence[Level]]
    draw: Draw

    def plant(self, generator: np.random.Generator, num_seeds: int) -> Planted:
        """A study of this world."""
        grid = cells_of(self.design if "fraction" not in self.design else "full_factorial", self.factors)
        drawn = self.draw(generator, len(grid), num_seeds)
        study = replace(
            study_of(self.design, self.factors, num_seeds), trainable="bitnet", options=_options(self.design), name="planted"
        )
        tests = drawn.accuracy_CS - TEST_LOSS + TEST_SD * generator.normal(size=drawn.accuracy_CS.shape)
        kept = [place for place, cell in enumerate(grid) if self.design != "fractional_factorial" or _is_in_fraction(cell)]
        runs = [
            run_of(grid[place], seed, drawn.accuracy_CS[place, seed], drawn.activity_CS[place, seed], tests[place, seed])
            for place in kept
            for seed in range(num_seeds)
        ]
        return Planted(
            study, runs, grid, _means(drawn.accuracy_C, drawn.activity_C), _noises(drawn), is_at_chance=drawn.is_at_chance
        )


def _options(design: str) -> dict[str, Any]:
    return {"resolution": 3} if design == "fractional_factorial" else {}


def _is_in_fraction(cell: Mapping[str, Level]) -> bool:
    """Whether c = a × b."""
    signs = [1 if cell[name] else -1 for name in ("a", "b", "c")]
    return signs[0] * signs[1] == signs[2]


def _means(accuracy: FloatArray, activity: FloatArray) -> dict[str, FloatArray]:
    spikes = STEPS * activity
    return {
        ACCURACY: accuracy,
        TEST_ACCURACY: accuracy - TEST_LOSS,
        SPARSITY: 1 - activity,
        SPIKES: spikes,
        ADDITIONS: NEURONS * spikes,
        ENERGY: PICOJOULES * NEURONS * spikes,
    }


def _noises(drawn: Drawn) -> dict[str, float]:
    return {
        ACCURACY: drawn.accuracy_noise,
        SPARSITY: drawn.activity_noise,
        SPIKES: STEPS**2 * drawn.activity_noise,
        ADDITIONS: (NEURONS * STEPS) ** 2 * drawn.activity_noise,
        ENERGY: (PICOJOULES * NEURONS * STEPS) ** 2 * drawn.activity_noise,
    }


def run_of(
    levels: Mapping[str, Level], seed: int, accuracy: float, activity: float, test: float = math.nan, role: Role = "cell"
) -> RunRecord:
    """A replicate as MLflow would have it; failed where it has no accuracy. Without one, its test accuracy is a point lower."""
    is_known = math.isfinite(accuracy)
    measured = _means(np.float64(accuracy), np.float64(activity)) if is_known else {}  # type: ignore[arg-type]
    metrics = {name: float(value) for name, value in measured.items()} | ({"ops/effective_macs": 0.0} if is_known else {})
    if is_known and math.isfinite(test):
        metrics[TEST_ACCURACY] = round(test * NUM_IMAGES) / NUM_IMAGES
    return RunRecord(
        f"{role} {levels} {seed}",
        seed,
        levels,
        "FINISHED" if is_known else "FAILED",
        role=role,
        run_id="planted",
        metrics=metrics,
        facts=FACTS if is_known else {},
    )


AROUND, FULL = "one_factor_at_a_time", "full_factorial"
WORLDS: Mapping[str, World] = {
    "no effect": World(AROUND, FIVE_LEVELS, nothing),
    "effects": World(AROUND, FIVE_LEVELS, effects),
    "no order among the levels": World(AROUND, FIVE_LEVELS, unordered),
    "half a point": World(AROUND, FIVE_LEVELS, half_a_point),
    "small effects": World(AROUND, FIVE_LEVELS, small),
    "40 % fewer spikes": World(AROUND, FIVE_LEVELS, sparse),
    "unequal spread": World(AROUND, FIVE_LEVELS, unequal_spread),
    "skewed levels": World(AROUND, FIVE_LEVELS, skewed),
    "collapsing levels": World(AROUND, FIVE_LEVELS, collapsing),
    "all collapse alike": World(AROUND, FIVE_LEVELS, collapsing_everywhere),
    "missing at random": World(AROUND, FIVE_LEVELS, missing),
    "missing because of failure": World(AROUND, FIVE_LEVELS, failing),
    "at chance": World(AROUND, FIVE_LEVELS, at_chance),
    "factorial, no effect": World(FULL, TWO_BY_THREE, nothing),
    "factorial, effects": World(FULL, TWO_BY_THREE, effects),
    "cancelling aliases": World("fractional_factorial", THREE_SWITCHES, cancelling),
    "60 equal cells": World(FULL, SIXTY, nothing),
}
SEARCHES: Mapping[str, str] = {"search by TPE": "tpe", "search at random": "random"}
"""Worlds of an adaptive search, and its sampler."""
NUM_TRIALS, NUM_FINALISTS = 40, 4
SEARCHED: Mapping[str, Sequence[Level]] = {"lr": [], "layout": ["M", "A"], "width": [], "dropout": [], "depth": [1, 2, 3]}
BOUNDS: Mapping[str, Mapping[str, Any]] = {
    "lr": {"low": 1e-4, "high": 1e-1, "log": True, "step": None, "integer": False},
    "width": {"low": 0.25, "high": 1.0, "log": False, "step": None, "integer": False},
    "dropout": {"low": 0.0, "high": 0.5, "log": False, "step": None, "integer": False},
}


def searched_truth(levels: Mapping[str, Level]) -> tuple[float, float]:
    """The true accuracy and activity of a configuration: lr matters most for the one, width for the other."""
    place = (math.log10(float(levels["lr"] or 0)) + 4) / 3
    accuracy = BEST_ACCURACY - 0.15 * (place - 0.6) ** 2 - (0.01 if levels["layout"] == "A" else 0.0)
    return accuracy, ACTIVITY * (0.5 + float(levels["width"] or 0)) * (1.1 if levels["layout"] == "A" else 1.0)


def plant_search(name: str, generator: np.random.Generator, num_seeds: int) -> Planted:
    """An adaptive search with two objectives by one of Optuna's samplers, and finalists with fresh seeds.

    Args:
        name: Of the world, see ``SEARCHES``.
        generator: Draws the noise and the sampler's seed.
        num_seeds: Of the finalists.
    """
    sampler = _described(SEARCHES[name]) | {"seed": int(generator.integers(2**31))}
    search = optuna.create_study(directions=["maximize", "maximize"], sampler=make_sampler(sampler, num_asked=NUM_TRIALS))
    runs, grid = [], []

    def tried(levels: Mapping[str, Level], seed: int, role: Role) -> RunRecord:
        accuracy, activity = searched_truth(levels)
        noisy = accuracy + 0.01 * generator.normal(), activity * math.exp(0.05 * generator.normal() - 0.05**2 / 2)
        return run_of(levels, seed, round(noisy[0] * NUM_IMAGES) / NUM_IMAGES, noisy[1], role=role)

    for _ in range(NUM_TRIALS):
        trial = search.ask()
        levels: dict[str, Level] = {
            "lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True),
            "layout": trial.suggest_categorical("layout", ["M", "A"]),
            "width": trial.suggest_float("width", 0.25, 1.0),
            "dropout": trial.suggest_float("dropout", 0.0, 0.5),
            "depth": trial.suggest_categorical("depth", [1, 2, 3]),
        }
        run = tried(levels, 0, "search")
        search.tell(trial, [run.metrics[ACCURACY], run.metrics[SPARSITY]])
        runs.append(run)
        grid.append(levels)
    chosen = sorted(runs, key=lambda run: -run.metrics[ACCURACY])[:NUM_FINALISTS]
    runs += [tried(run.levels, seed, "finalist") for run in chosen for seed in range(1, num_seeds + 1)]
    truths = np.array([searched_truth(levels) for levels in grid])
    study = replace(
        study_of("adaptive_search", {"lr": [0.0]}, 1),
        baseline={},
        factors=SEARCHED,
        trainable="bitnet",
        ranges={factor: f"{bounds['low']} to {bounds['high']}{', log' * bounds['log']}" for factor, bounds in BOUNDS.items()},
        bounds=BOUNDS,
        options={"num_trials": NUM_TRIALS, "sampler": sampler, "finalists": NUM_FINALISTS},
    )
    nothing_for = {ACCURACY: frozenset({"width", "dropout", "depth"}), SPARSITY: frozenset({"lr", "dropout", "depth"})}
    return Planted(
        study,
        runs,
        grid,
        _means(truths[:, 0], truths[:, 1]),
        {},
        inert=nothing_for,
        most={ACCURACY: "lr", SPARSITY: "width"},
    )


@cache
def _described(sampler: str) -> dict[str, Any]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return with_all_arguments("sampler", SAMPLERS, sampler, {})
