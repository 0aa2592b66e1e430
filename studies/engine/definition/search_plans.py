"""What a study searches for and what it tunes, checked, with every argument of samplers and pruners."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.language.rules import RuleError
from search_spaces.language.space import Space
from studies.engine.binding.samplers import PRUNERS, SAMPLERS, with_all_arguments
from studies.engine.definition.file_model import AdaptiveSearch, FileSection, NamedChoice, RandomDesign, Tuning
from studies.engine.errors import ProblemCollector, closest
from studies.run_record import ACCURACY, OBJECTIVES, TEST_ACCURACY, Direction

METRICS = (
    "val/accuracy",
    "val/mean_accuracy_over_t",
    "val/steps_to_within_one_point",
    "sparsity/overall",
    "spike_rate/overall",
    "spikes_per_neuron/overall",
    "dead_neurons/overall",
    "ops/effective_acs",
    "ops/effective_macs",
    "ops/dense_operations",
    "ops/ac_mac_ratio",
    "ops/operations_per_dense_mac",
    "ops/energy_pj",
    "ops_input_each_step/effective_acs",
    "ops_input_each_step/effective_macs",
    "ops_input_each_step/dense_operations",
    "ops_input_each_step/energy_pj",
    "footprint_bytes",
    "train/loss",
    "train/accuracy",
)
"""The metrics that may be an objective or a limit. None of them looks at the test images."""
OUTCOMES = (*METRICS, TEST_ACCURACY)
"""The metrics that a study may be about."""
MORE_IS_BETTER = ("val/accuracy", "val/mean_accuracy_over_t", "sparsity/overall", "train/accuracy", TEST_ACCURACY)


@dataclass(frozen=True)
class Limit:
    """A bound of a metric: at most, or at least, so much."""

    metric: str
    bound: float
    is_upper: bool

    def __str__(self) -> str:
        return f"{self.metric} {'at most' if self.is_upper else 'at least'} {self.bound:g}"

    def violation(self, value: float) -> float:
        """By how much a value is beyond the bound; at most 0 where it is kept."""
        return value - self.bound if self.is_upper else self.bound - value


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """An adaptive search, with every argument of its sampler and pruner."""

    num_trials: int
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any] | None
    objectives: Mapping[str, Direction]
    """Primary first."""
    limits: Sequence[Limit]
    seeds_per_trial: int
    finalists: int
    converged_after: int | None
    warm_start: Sequence[str]

    @property
    def primary(self) -> str:
        """The objective that decides on stopping early and ranks first."""
        return next(iter(self.objectives))


@dataclass(frozen=True, kw_only=True)
class TuningPlan:
    """The search for nuisance hyperparameters that every cell has to itself."""

    space: Space
    num_trials: int
    sampler: Mapping[str, Any]
    seed: int


def search_plan(design: AdaptiveSearch, seeds: Sequence[int] | None, collector: ProblemCollector) -> SearchPlan:
    """The plan of a search; problems go to ``collector``. Without seeds, what depends on them is not checked."""
    for part, metrics in (("objectives", design.objectives), ("limits", design.limits)):
        for metric in metrics:
            if metric not in METRICS:
                rule = "an objective or limit must be a metric of the validation images that trainables report"
                collector.add(f"design.{part}.{metric}", rule, metric, closest(metric, METRICS))
    if seeds is not None and design.seeds_per_trial > len(seeds):
        rule = f"seeds_per_trial must be at most the number of seeds ({len(seeds)})"
        collector.add("design.seeds_per_trial", rule, design.seeds_per_trial, "lower it, or raise seeds")
    elif seeds is not None and design.finalists and design.seeds_per_trial == len(seeds):
        rule = "finalists need seeds that did not select them"
        value = f"{len(seeds)} seed{'s, all of them' if len(seeds) > 1 else ''} for every trial"
        collector.add("design.finalists", rule, value, "raise seeds, or leave out finalists")
    if design.finalists > design.num_trials:
        rule = f"finalists must be at most the number of trials ({design.num_trials})"
        collector.add("design.finalists", rule, design.finalists, "lower it, or raise num_trials")
    if len(design.objectives) > 1 and design.sampler.name == "cma_es":
        rule = "sampler cma_es must have one objective"
        collector.add("design.sampler", rule, ", ".join(design.objectives), "keep one objective, or choose another: e.g. nsga2")
    return SearchPlan(
        num_trials=design.num_trials,
        sampler=_complete("sampler", SAMPLERS, design.sampler, "design.sampler", collector),
        pruner=_complete("pruner", PRUNERS, design.pruner, "design.pruner", collector) if design.pruner else None,
        objectives=design.objectives,
        limits=_limits(design, collector),
        seeds_per_trial=design.seeds_per_trial,
        finalists=design.finalists,
        converged_after=design.converged_after,
        warm_start=design.warm_start,
    )


def check_primary_outcome(primary: str | None, design: FileSection, collector: ProblemCollector) -> None:
    """Check that a metric may be what a study of this design is about; problems go to ``collector``."""
    path = "primary_outcome"
    if primary is None:
        return
    if primary not in OUTCOMES:
        collector.add(path, "primary_outcome must be a metric that trainables report", primary, closest(primary, OUTCOMES))
    elif isinstance(design, AdaptiveSearch) and primary != (first := next(iter(design.objectives))):
        rule, repair = "the primary outcome of an adaptive search is its first objective", f"write {first}, or leave it out"
        collector.add(path, rule, primary, repair)
    elif isinstance(design, RandomDesign) and primary == TEST_ACCURACY:
        rule = "a design that ranks its cells must not select on the test images"
        collector.add(path, rule, primary, "write val/accuracy, or choose a design that compares levels")


def objectives_about(primary: str) -> dict[str, Direction]:
    """What the cells of a study are judged on that is no search, the primary outcome first: accuracy and sparsity, or accuracy
    beside any other outcome.
    """
    direction: Direction = "maximize" if primary in MORE_IS_BETTER else "minimize"
    others = OBJECTIVES if primary in OBJECTIVES else {ACCURACY: OBJECTIVES[ACCURACY]}
    return {primary: direction, **{metric: others[metric] for metric in others if metric != primary}}


def _limits(design: AdaptiveSearch, collector: ProblemCollector) -> list[Limit]:
    limits = []
    for metric, limit in design.limits.items():
        path = f"design.limits.{metric}"
        if limit.at_most is None and limit.at_least is None:
            collector.add(path, "a limit must have a bound", "none", "e.g. {at_most: 1}")
        elif limit.at_most is not None and limit.at_least is not None and limit.at_most < limit.at_least:
            value = f"(at_most={limit.at_most:g}, at_least={limit.at_least:g})"
            collector.add(path, "at_least must not be larger than at_most", value, "swap the two, or keep one")
        limits += [Limit(metric, limit.at_most, is_upper=True)] if limit.at_most is not None else []
        limits += [Limit(metric, limit.at_least, is_upper=False)] if limit.at_least is not None else []
    return limits


def tuning_plan(
    tuning: Tuning, space: Space | None, seeds: Sequence[int] | None, collector: ProblemCollector
) -> TuningPlan | None:
    """The plan of a tuning over a space of nuisance hyperparameters, None without a space; problems go to ``collector``."""
    if seeds is not None and tuning.seed in seeds:
        rule, repair = "the seed of the tuning must be none of the study's seeds", "choose another, e.g. 1000"
        collector.add("tuning.seed", rule, tuning.seed, repair)
    sampler = _complete("sampler", SAMPLERS, tuning.sampler, "tuning.sampler", collector)
    return TuningPlan(space=space, num_trials=tuning.num_trials, sampler=sampler, seed=tuning.seed) if space else None


def _complete(
    kind: str, known: Mapping[str, type[Any]], chosen: NamedChoice, path: str, collector: ProblemCollector
) -> Mapping[str, Any]:
    """The sampler or pruner with all its arguments; each that is wrong is told, and left out."""
    arguments = dict(chosen.model_extra or {})
    while True:
        try:
            return with_all_arguments(kind, known, chosen.name, arguments)
        except RuleError as broken:
            place = f"{path}.{broken.field}" if broken.field else path
            collector.add_broken(place, broken, repair=f"change {place}")
            if broken.field not in arguments:
                return {"name": chosen.name, "seed": 0}
            del arguments[broken.field]
