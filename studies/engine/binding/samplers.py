"""Optuna's samplers and pruners by name, with every argument that a study file can give.

Optuna's defaults change between versions. So the value of every argument is recorded when the study is read, whether the study
gave it or not.
"""

import hashlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Union

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from pydantic import ConfigDict, TypeAdapter, ValidationError

from search_spaces.language.rules import RuleError
from studies.engine.binding.optuna_internals import generation_note
from studies.engine.errors import closest, rule_of, shown


class OrderedNSGAIISampler(optuna.samplers.NSGAIISampler):
    """NSGA-II that sees the parents of a generation in the order in which they were proposed.

    Optuna's own NSGA-II sees them in another order the first time, and so its proposals depend on whether it was interrupted.
    """

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The trials that a generation descends from, in the order in which they were proposed."""
        return sorted(super().get_parent_population(study, generation), key=lambda trial: trial.number)


SAMPLERS: Mapping[str, type[BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "nsga2": OrderedNSGAIISampler,
    "gp": optuna.samplers.GPSampler,
    "cma_es": optuna.samplers.CmaEsSampler,
    "random": optuna.samplers.RandomSampler,
    "qmc": optuna.samplers.QMCSampler,
}

PRUNERS: Mapping[str, type[BasePruner]] = {
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "threshold": optuna.pruners.ThresholdPruner,
    "patient": optuna.pruners.PatientPruner,
}

GENERATION = generation_note(OrderedNSGAIISampler)
"""The name of the note in which NSGA-II keeps a trial's generation. It is in ledgers, and so the class keeps its name."""

_OUR_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "tpe": {"multivariate": True, "group": True},  # group: it knows conditions
    "gp": {"warn_independent_sampling": False},
    "cma_es": {"warn_independent_sampling": False},
    "qmc": {"warn_independent_sampling": False, "warn_asynchronous_seeding": False},
}
_BY_NAME: Mapping[str, Mapping[str, Callable[[], object]]] = {
    "independent_sampler": SAMPLERS,
    "wrapped_pruner": {name: PRUNERS[name] for name in ("median", "successive_halving", "hyperband")},
    "crossover": {
        name: getattr(optuna.samplers.nsgaii, f"{name}Crossover")
        for name in ("Uniform", "BLXAlpha", "SPX", "SBX", "VSBX", "UNDX")
    },
    "mutation": {"Polynomial": optuna.samplers.nsgaii.PolynomialMutation},
}
"""Arguments that Optuna takes as objects: a study names them, and they are made with Optuna's own settings."""
_PLAIN: Mapping[str, type | None] = {"int": int, "float": float, "bool": bool, "str": str, "None": None}
_DEPRECATED: Mapping[str, Sequence[str]] = {
    "TPESampler": "consider_prior prior_weight consider_magic_clip consider_endpoints warn_independent_sampling".split(),
    "CmaEsSampler": "sigma0 restart_strategy inc_popsize".split(),
}
_LOWEST: Mapping[str, int] = {
    "seed": 0,
    "n_startup_trials": 0,
    "n_ei_candidates": 1,
    "popsize": 2,
    "min_resource": 1,
    "max_resource": 1,
    "reduction_factor": 2,
    "bootstrap_count": 0,
}
"""Bounds of whole numbers that Optuna does not check, or only when it is too late."""
_LARGEST_SEED = 2**32 - 1
_ENOUGH: Mapping[str, int] = {"n_startup_trials": 2, "population_size": 4, "popsize": 4, "n_ei_candidates": 8}
"""Larger values of these arguments are tried out as these ones, as the tiny study would take long with them."""
_NUM_TRIED_OUT, _NUM_EPOCHS_TRIED_OUT = 7, 4


def with_all_arguments(kind: str, known: Mapping[str, type[Any]], name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The name of a sampler or pruner and the value of every argument, whether the study gave it or not.

    The arguments have been tried out in a tiny study, as Optuna looks at many of them only when it is too late.

    Args:
        kind: What a message calls it: ``sampler`` or ``pruner``.
        known: ``SAMPLERS`` or ``PRUNERS``.
        name: One of the known names.
        arguments: The arguments that the study gives.

    Raises:
        RuleError: There is no such sampler or pruner, argument, or value; the error's field is the argument.
    """
    if name not in known:
        raise RuleError(f"{kind} must be one of Optuna's", name, closest(name, known))
    parameters = dict(_settable(known[name]))
    for argument, value in arguments.items():
        text = value if isinstance(value, str) else shown(value)
        if argument not in parameters:
            possible = closest(argument, parameters)
            raise RuleError(f"an argument of {kind} {name} must be one that it has", text, possible, argument)
        if rule := _broken_rule(parameters[argument], value):
            repair = closest(value, _BY_NAME[argument]) if argument in _BY_NAME else ""
            raise RuleError(f"{argument} {rule}", text, repair, argument)
    defaults = {parameter.name: parameter.default for parameter in parameters.values()}
    given = {**defaults, **({"seed": 0} if "seed" in parameters else {}), **_OUR_DEFAULTS.get(name, {}), **arguments}
    if missing := [argument for argument, value in given.items() if value is inspect.Parameter.empty]:
        raise RuleError(f"{kind} {name} needs its argument {missing[0]}", "nothing", field=missing[0])
    try:
        _try_out(known[name], given)
    except Exception as error:  # noqa: BLE001  # whatever Optuna, numpy or scipy raise, they would raise in mid-study
        blamed = next((argument for argument in arguments if argument in str(error)), "")  # Optuna names it, if at all, in words
        value = shown(arguments[blamed]) if blamed else name
        raise RuleError(f"{kind} {name} refuses its arguments: {error}", value, field=blamed) from None
    return {"name": name, **given}


def argument_schemas(made: type[Any]) -> dict[str, Any]:
    """The JSON Schema of every argument of a sampler or pruner that a study file can give."""
    schemas: dict[str, Any] = {}
    for name, parameter in _settable(made):
        known = list(_BY_NAME.get(name, {}))
        schemas[name] = {"enum": [*known, None]} if known else TypeAdapter(_union(parameter)).json_schema()
        schemas[name] |= {"minimum": _LOWEST[name]} if name in _LOWEST else {}
    return schemas


def make_sampler(described: Mapping[str, Any], *, num_asked: int) -> BaseSampler:
    """A sampler for the next proposal, with random numbers of its own.

    Samplers that keep nothing but random numbers and caches propose the same whether or not they were made anew in between.
    CMA-ES keeps its distribution with the trials of one process: in another it starts anew, from the middle of the space.

    Args:
        described: What ``with_all_arguments`` returned.
        num_asked: How many proposals there were before.
    """
    arguments = {name: value for name, value in described.items() if name != "name"}
    digest = hashlib.sha256(f"{arguments['seed']}/{num_asked}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    if "independent_sampler" in arguments:
        arguments["independent_sampler"] = _make(SAMPLERS[arguments["independent_sampler"] or "random"], {"seed": seed})
    if described["name"] != "qmc":  # its seed is that of the whole sequence
        arguments["seed"] = seed
    sampler: BaseSampler = _make(SAMPLERS[described["name"]], arguments)
    return sampler


def make_pruner(described: Mapping[str, Any]) -> BasePruner:
    """The pruner that ``with_all_arguments`` described."""
    pruner: BasePruner = _make(PRUNERS[described["name"]], {name: value for name, value in described.items() if name != "name"})
    return pruner


def _make(made: type[Any], arguments: Mapping[str, Any]) -> Any:
    with warnings.catch_warnings(action="ignore"):  # what is experimental has been chosen
        return made(
            **{
                name: _BY_NAME[name][value]() if name in _BY_NAME and value in _BY_NAME[name] else value
                for name, value in arguments.items()
            }
        )


def _try_out(made: type[Any], arguments: Mapping[str, Any]) -> None:
    """Use a sampler or pruner in a tiny study: many values are only looked at when it is too late."""
    _make(made, arguments)
    few = {name: min(value, _ENOUGH[name]) if value and name in _ENOUGH else value for name, value in arguments.items()}
    tried = {"pruner" if issubclass(made, BasePruner) else "sampler": _make(made, few)}
    study = optuna.create_study(**{"sampler": optuna.samplers.RandomSampler(seed=0), **tried})
    with warnings.catch_warnings(action="ignore"):
        for _ in range(_NUM_TRIED_OUT):
            trial = study.ask()
            value = trial.suggest_float("x", 0, 1) + trial.suggest_int("n", 1, 9) + trial.suggest_categorical("c", [0, 1])
            for epoch in range(1, _NUM_EPOCHS_TRIED_OUT + 1):
                trial.report(value / epoch, epoch)
                trial.should_prune()
            study.tell(trial, value)


def _settable(made: type[Any]) -> Iterator[tuple[str, inspect.Parameter]]:
    for name, parameter in list(inspect.signature(made.__init__).parameters.items())[1:]:
        if (_types(parameter) or name in _BY_NAME) and name not in _DEPRECATED.get(made.__name__, ()):
            yield name, parameter


def _types(parameter: inspect.Parameter) -> list[type | None]:
    """The types that a plain value of an argument may have; empty for an argument that takes objects."""
    names = inspect.formatannotation(parameter.annotation).strip("'").replace(" ", "").split("|")
    if parameter.name == "seed":
        names.remove("None")  # drawn from nowhere, it could not be told to the next driver
    return [_PLAIN[name] for name in names] if set(names) <= set(_PLAIN) else []


def _union(parameter: inspect.Parameter) -> Any:
    return Union[tuple(_types(parameter))]  # noqa: UP007  # made at run time


def _broken_rule(parameter: inspect.Parameter, value: Any) -> str | None:
    if parameter.name in _BY_NAME:
        known = value is None or (isinstance(value, str) and value in _BY_NAME[parameter.name])
        return None if known else "must be the name of one that Optuna has"
    try:
        TypeAdapter(_union(parameter), config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        return " or ".join(dict.fromkeys(rule_of(dict(entry)) for entry in error.errors()))
    lowest = _LOWEST.get(parameter.name)
    if lowest is not None and isinstance(value, int) and value < lowest:
        return f"must be at least {lowest}"
    if parameter.name == "seed" and value > _LARGEST_SEED:
        return f"must be at most {_LARGEST_SEED}"
    return None
