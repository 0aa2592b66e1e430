"""What a study will cost, said before it runs.

Time and memory are predicted for every configuration, calibrated by timing a few of them.

A few distinct configurations of every trainable are timed for a few training steps on their own data; the others lie between
them by their operations. What a search will propose is not known; random configurations of its space stand for it.
"""

import dataclasses
import multiprocessing
import os
import random
import resource
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from search_spaces.language.space import Cell
from studies.engine.binding.configurations import Configuration
from studies.engine.binding.trainable_modules import load_trainable, make_config
from studies.engine.definition.replicate_counts import replicates_of_cells, replicates_of_search
from studies.engine.definition.study import Study
from studies.engine.execution.resource_requests import GIB, runs_on_gpu
from studies.own_packages import safe_children
from trainables.costs.footprint import Footprint
from trainables.data.datasets import default_data_folder, prepare
from trainables.training.configs import without_inactive

NUM_TIMED = 3
"""How many configurations of each trainable are timed: the cheapest, the most expensive, and one between."""
MOST_PROCESSES = 4
"""How many processes are timed at once: enough to see how much they slow each other down."""
NUM_SAMPLED = 24
"""How many random configurations stand for those that a search will propose."""
SECONDS_TO_START = 8.0
"""How long Ray and the first workers take to start."""
SECONDS_PER_REPLICATE = 0.03
"""What scheduling and recording add to each replicate."""


@dataclass(frozen=True)
class ConfigurationForecast:
    """One configuration: its levels, its footprint, and the memory (bytes) and time (seconds) of one replicate here."""

    levels: Cell
    trainable: str
    footprint: Footprint
    memory_bytes: int
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """What a whole study will cost.

    Attributes:
        configurations: Every distinct configuration, or a sample of those that a search may propose.
        sampled: Whether they are a sample.
        num_replicates: How many will be trained, source networks not counted.
        num_source_networks: How many distinct source networks they start from; of a search, at most.
        replicate_seconds: Of all replicates and source networks together, as if one after another.
        at_once: How many run at the same time on the given resources.
        wall_seconds: From beginning to end.
        memory_bytes: Of the replicate that needs most, with its process.
        available_bytes: Memory of this machine.
    """

    configurations: Sequence[ConfigurationForecast]
    sampled: bool
    num_replicates: int
    num_source_networks: int
    replicate_seconds: float
    at_once: int
    wall_seconds: float
    memory_bytes: int
    available_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the memory holds what runs at once."""
        return self.memory_bytes * self.at_once <= self.available_bytes


def forecast(study: Study, num_cpus: int | None = None) -> Forecast:
    """Time a few configurations of a study, and say what all of it will cost on this machine.

    ``num_cpus`` are the cores that the study may use; all of them unless given.
    """
    cells, sampled = probed_cells(study)
    bound = [study.binder.configuration(cell) for cell in cells]
    sources = [configuration.source_network for configuration in bound]
    at_once = _num_at_once(study, num_cpus)
    on_gpu = runs_on_gpu(study.resources, has_gpu=torch.cuda.is_available())
    with _Clock(at_once, study.resources.cpus) as clock:
        seconds = _predicted_seconds([*bound, *(source for source in sources if source)], clock)
    configurations = [
        ConfigurationForecast(
            cell,
            configuration.trainable,
            configuration.footprint,
            configuration.footprint.memory_on(gpu=on_gpu),
            seconds[configuration.identity],
        )
        for cell, configuration in zip(cells, bound, strict=True)
    ]
    per_replicate = float(np.mean([configuration.seconds for configuration in configurations]))
    num_replicates = num_planned(study)
    source_seconds = {source.identity: seconds[source.identity] for source in sources if source}
    num_source_networks = _num_source_networks(study, num_replicates, len(source_seconds))
    total = num_replicates * per_replicate + num_source_networks * float(np.mean(list(source_seconds.values()) or [0.0]))
    footprints = [each.footprint for each in [*bound, *(source for source in sources if source)]]
    memory = max(footprint.memory_on(gpu=on_gpu) for footprint in footprints) + _process_bytes()
    overhead = num_replicates * SECONDS_PER_REPLICATE
    return Forecast(
        configurations=configurations,
        sampled=sampled,
        num_replicates=num_replicates,
        num_source_networks=num_source_networks,
        replicate_seconds=total,
        at_once=at_once,
        wall_seconds=SECONDS_TO_START + overhead + total / min(at_once, max(1, num_replicates)),
        memory_bytes=memory,
        available_bytes=_machine_bytes(),
    )


def num_planned(study: Study) -> int:
    """How many replicates a study will train at most, those of nested searches and finalists among them."""
    search, num_seeds = study.search, len(study.seeds)
    if search:
        return replicates_of_search(search.num_trials, search.seeds_per_trial, search.finalists, num_seeds)
    return replicates_of_cells(len(study.cells), num_seeds, study.tuning.num_trials if study.tuning else 0)


def probed_cells(study: Study) -> tuple[list[Cell], bool]:
    """The cells of a study, or some that its search may propose; and whether they are such a sample."""
    if not study.search:
        return list(study.cells), False
    generator = random.Random(0)  # noqa: S311  # nothing secret
    drawn = (study.space.random_cell(generator) for _ in range(100 * NUM_SAMPLED))
    accepted = (cell for cell in drawn if study.binder.accepts(cell))
    return [cell for cell, _ in zip(accepted, range(NUM_SAMPLED), strict=False)], True


def _num_source_networks(study: Study, num_replicates: int, num_distinct: int) -> int:
    """Distinct source networks: one for every seed and distinct config; of a study that proposes on the way, at most."""
    if study.search:
        return num_replicates if num_distinct else 0
    tuning = num_distinct * study.tuning.num_trials if study.tuning else 0
    return len(study.source_networks) if study.replicates else num_distinct * len(study.seeds) + tuning


def _num_at_once(study: Study, num_cpus: int | None) -> int:
    """How many replicates this machine holds at a time, by its cores and, where it has some, its GPUs."""
    by_cores = (num_cpus or os.cpu_count() or 1) / study.resources.cpus
    if study.resources.gpus and torch.cuda.is_available():
        by_cores = min(by_cores, torch.cuda.device_count() / study.resources.gpus)
    return max(1, int(by_cores))


class _Clock:
    """Times configurations as the study will run them: the same number at once, each with the same number of threads."""

    def __init__(self, at_once: int, cpus: float) -> None:
        self._num_processes = min(at_once, MOST_PROCESSES)
        with safe_children():  # Python starts a process that counts semaphores at once
            self._pool = ProcessPoolExecutor(
                self._num_processes,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=torch.set_num_threads,
                initargs=(max(1, int(cpus)),),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def __call__(self, configuration: Configuration) -> float:
        """Seconds of one replicate, while as many others train."""
        what = (configuration.trainable, dataclasses.asdict(configuration.config), str(default_data_folder()))
        with safe_children():
            return float(np.mean(list(self._pool.map(_time, [what] * self._num_processes))))


def _time(what: tuple[str, dict[str, Any], str]) -> float:
    name, values, data_folder = what
    trainable = load_trainable(name)
    config = make_config(trainable.Config, values)
    return trainable.timing(config, seed=0, dataset=prepare(config.data, Path(data_folder))).total_s


def _predicted_seconds(configurations: Iterable[Configuration], clock: Callable[[Configuration], float]) -> dict[str, float]:
    """Seconds of one replicate of every configuration, by key: timed, or between those that are."""
    distinct = {configuration.identity: configuration for configuration in configurations}
    seconds: dict[str, float] = {}
    for trainable in dict.fromkeys(configuration.trainable for configuration in distinct.values()):
        ours = {key: configuration for key, configuration in distinct.items() if configuration.trainable == trainable}
        work = {key: _work(configuration) for key, configuration in ours.items()}
        ordered = sorted(work, key=lambda key: work[key])
        positions = np.unique(np.linspace(0, len(ordered) - 1, NUM_TIMED).round().astype(int))
        timed = [ordered[position] for position in positions]
        known = [clock(ours[key]) - _budget_s(ours[key]) for key in timed]
        for key in ordered:
            seconds[key] = _budget_s(ours[key]) + float(np.interp(work[key], [work[each] for each in timed], known))
    return seconds


def _budget_s(configuration: Configuration) -> float:
    """The seconds of training that a configuration is given; 0 where the number of epochs says how long it is."""
    return without_inactive(configuration.config).time_budget_s or 0.0


def _work(configuration: Configuration) -> float:
    """What the time of a replicate beyond its time budget grows with: operations of all its passes, backward ones as two more."""
    config, footprint, num_images = configuration.config, configuration.footprint, len(configuration.dataset.train_labels)
    num_validation = config.validation_fraction * num_images
    num_train = min(num_images - num_validation, config.num_train_images or num_images)
    epochs = 1 if _budget_s(configuration) else config.epochs
    return epochs * (3 * footprint.training_operations * num_train + footprint.operations_per_image * num_validation)


def _process_bytes() -> int:
    """What a process with all libraries needs, by this one."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _machine_bytes() -> int:
    """The memory of this machine, or of the container that it is."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(whole, int(text)) if text.isdigit() else whole


def memory_warnings(forecast: Forecast | None) -> list[str]:
    """That what runs at once may not fit into the memory, where that is so."""
    if forecast is None or forecast.fits:
        return []
    return [
        f"{forecast.at_once} replicates at once may need {forecast.at_once * forecast.memory_bytes / GIB:.1f} GiB, and this "
        f"machine has {forecast.available_bytes / GIB:.1f}: raise resources.cpus, or lower --num-cpus"
    ]
