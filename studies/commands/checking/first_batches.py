"""Will the networks of a study spike? One batch in each of them before any training, and warnings where it dies out on the way.

Only networks that start from random weights are looked at: what starts from a source network is known once that is trained.
Configurations of fewer time steps come first. A network of more time steps does the same in these, so that it is silent for
fewer images, if any.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from analysis.statistics.data.level_cells import AROUND_A_BASELINE
from search_spaces.language.space import Cell
from studies.commands.checking.forecast import probed_cells
from studies.engine.binding.configurations import Configuration
from studies.engine.definition.study import Study
from studies.plain_text import first_line
from studies.run_record import levels_in_words
from trainables.data.datasets import Splits
from trainables.diagnosis.first_batch import FirstBatch, at_the_start, extent_of, first_batch
from trainables.training.configs import identity_of
from trainables.training.loop import splits_of
from trainables.training.recipe import Recipe
from trainables.training.task import Task

MOST_CONFIGURATIONS = 24
"""Of a study that are looked at; small networks take some hundredths of a second each."""
MOST_OPERATIONS = 4.5e11
"""Of all of them together: some ten seconds on two cores."""
MOST_SILENT = 0.2
"""Share of silent images above which there is a warning."""
MOST_DEAD = 0.5
"""Share of dead units in a hidden layer above which there is a warning."""
HALF = 0.5
"""The initial membrane potential at which the first spikes come without delay, and with a gradient."""


@dataclass(frozen=True)
class Start:
    """The first batch of one configuration.

    Attributes:
        levels: Its cell.
        trainable: Its trainable.
        config: Its config.
        found: What its first batch does.
    """

    levels: Cell
    trainable: str
    config: Any
    found: FirstBatch

    @property
    def is_whole(self) -> bool:
        """Whether all of its time steps were run, and not only the first ones."""
        return bool(self.found.time_steps == self.config.time_steps)


@dataclass(frozen=True)
class Starts:
    """The first batches of a study's configurations.

    Attributes:
        seed: The study's first, whose first weights and first batch they are.
        num_configurations: How many of the study's configurations are spiking networks that start from random weights; those
            that do the same in their first batch count once.
        num_after_source_networks: How many start from a source network: what they do is known once that is trained.
        looked_at: What was found, fewest time steps first.
        failures: Why others could not be looked at, a sentence each.
    """

    seed: int
    num_configurations: int
    num_after_source_networks: int
    looked_at: Sequence[Start]
    failures: Sequence[str]


def starts_of(study: Study) -> Starts | None:
    """Look at the first batches of a study's configurations, or of some that its search may propose; None if no network spikes.

    It takes seconds whatever the study is: images, time steps, operations and configurations are bounded. What goes wrong is
    told in ``failures``.
    """
    seed = study.seeds[0]
    distinct: dict[str, tuple[Cell, Configuration]] = {}
    after_source_networks: set[str] = set()
    for cell in probed_cells(study)[0]:
        configuration = study.binder.configuration(cell)
        if not hasattr(configuration.config, "time_steps"):
            continue
        start = at_the_start(configuration.config)
        identity = identity_of(configuration.trainable, start, data_digest=configuration.dataset.digest, seed=seed)
        if configuration.source_network:
            after_source_networks.add(identity)
        else:
            distinct.setdefault(identity, (cell, configuration))
    if not distinct and not after_source_networks:
        return None
    looked_at, failures = _look_at_all(study, list(distinct.values()))
    return Starts(seed, len(distinct), len(after_source_networks), looked_at, failures)


def _look_at_all(study: Study, cells: Sequence[tuple[Cell, Configuration]]) -> tuple[list[Start], list[str]]:
    """As many as the bounds allow, fewest time steps first."""
    looked_at: list[Start] = []
    failures: list[str] = []
    splits: dict[tuple[Any, ...], Splits] = {}
    operations = 0.0
    for levels, configuration in sorted(cells, key=_time_steps)[:MOST_CONFIGURATIONS]:
        try:
            input_shape = configuration.config.input_shape(configuration.dataset.image_shape)
            extent = extent_of(_task(configuration, configuration.config, study.seeds[0]), input_shape)
            if extent is None:
                failures.append(f"{named_cell(study, levels)}: its network is too large to be looked at in seconds")
            elif not looked_at or operations + extent.operations <= MOST_OPERATIONS:
                operations += extent.operations
                steps: Any = {"time_steps": extent.time_steps, "eval_time_steps": None}
                task = _task(configuration, dataclasses.replace(configuration.config, **steps), study.seeds[0])
                found = first_batch(task, configuration.config, _splits(configuration, splits), extent.num_images)
                looked_at.append(Start(levels, configuration.trainable, configuration.config, found))
        except Exception as error:  # noqa: BLE001  # nothing here may end the command: the study is valid
            failures.append(f"{named_cell(study, levels)}: {type(error).__name__}: {first_line(error)}")
    return looked_at, failures


def _time_steps(cell: tuple[Cell, Configuration]) -> int:
    config: Any = cell[1].config
    return int(config.time_steps)


def _task(configuration: Configuration, config: Recipe, seed: int) -> Task:
    module: Any = configuration.module
    dataset = configuration.dataset
    task: Task = module.task_of(config, dataset.image_shape, dataset.num_classes, seed)
    return task


def _splits(configuration: Configuration, known: dict[tuple[Any, ...], Splits]) -> Splits:
    """The parts of the configuration's data, made once: normalising them takes a pass over all images."""
    config = configuration.config
    fields = (config.validation_fraction, config.split_seed, config.num_train_images, config.image_downscale)
    key = (configuration.dataset.digest, *fields, config.mean_per_pixel)
    if key not in known:
        known[key] = splits_of(config, configuration.dataset, torch.device("cpu"))
    return known[key]


Trouble = Literal["silent", "no gradient", "dead"]
"""What keeps a network from learning, the most serious first."""


def trouble_of(start: Start) -> Trouble | None:
    """The most serious trouble of a network; None where it has none, or only its first steps were run."""
    if not start.is_whole:
        return None
    if start.found.silent_images > MOST_SILENT:
        return "silent"
    if start.found.output_gradient == 0:
        return "no gradient"
    return "dead" if start.found.dead_units > MOST_DEAD else None


def by_trouble(starts: Starts) -> list[Start]:
    """All that were looked at, those that will learn least first."""
    order: list[Trouble | None] = [*get_args(Trouble), None]
    return sorted(
        starts.looked_at,
        key=lambda each: (order.index(trouble_of(each)), -each.found.silent_images, each.found.output_gradient),
    )


def start_warnings(study: Study, starts: Starts | None) -> list[str]:
    """For each kind of trouble: the configuration that has most of it, what it means, and the cure, on one line."""
    warnings: list[str] = []
    if starts is None:
        return warnings
    for trouble in get_args(Trouble):
        troubled = [start for start in by_trouble(starts) if trouble_of(start) == trouble]
        if troubled:
            worst = troubled[0]
            warnings.append(
                f"before training ({named_cell(study, worst.levels)}), {_in_words(trouble, worst.found)}. "
                f"{_how_many(len(troubled), len(starts.looked_at))}{_cure(study, worst)}"
            )
    return warnings


def _how_many(num: int, num_looked_at: int) -> str:
    have = "has" if num == 2 else "have"
    return f"{num - 1} more of {num_looked_at} configurations {have} the same trouble. " if num > 1 else ""


def _in_words(trouble: Trouble, found: FirstBatch) -> str:
    if trouble == "silent":
        steps = "its only time step" if found.time_steps == 1 else f"any of the {found.time_steps} time steps"
        silent = f"{percentage(found.silent_images)} of the images send no spike to the output layer at {steps}"
        return f"{silent}: it cannot tell these images apart, and its weights learn nothing from them"
    if trouble == "no gradient":
        return "the weights of the output layer get no gradient at all: they cannot learn"
    dead = max(found.layers[:-1], key=lambda layer: layer.dead_units or 0.0)
    share = percentage(dead.dead_units or 0.0)
    return f"{share} of the units of {dead.layer} never spike: the layers behind them hear nothing of what these see"


def _cure(study: Study, start: Start) -> str:
    """What can be written into the study file, the first that is not done yet."""
    potential = getattr(start.config, "initial_membrane_potential", None)
    cures = {}
    if isinstance(potential, float) and potential < HALF:
        cures["initial_membrane_potential"] = f"{HALF}"
    if getattr(start.config, "normalisation", None) == "none":
        cures["normalisation"] = "weight_standardisation"
    for field, value in cures.items():
        if field not in study.space.names():
            return f"One cure is {field}: {value} under config"
    return f"A cure is among the levels of {' and '.join(cures)}" if cures else "More time steps (time_steps) may help"


def percentage(share: float) -> str:
    """A share as a whole number of per cent; one that is neither none nor all does not look as if it were."""
    if 0 < share < 0.005:
        return "< 1 %"
    return "> 99 %" if 0.995 < share < 1 else f"{100 * share:.0f} %"


def named_cell(study: Study, cell: Cell) -> str:
    """A cell in words: what it has other than the baseline, where a design compares with one, else all of its levels."""
    if study.design not in AROUND_A_BASELINE:
        return levels_in_words(cell) or "the only cell"
    baseline = study.cells[0]
    others = {name: level for name, level in cell.items() if name not in baseline or baseline[name] != level}
    return levels_in_words(others) or "baseline"
