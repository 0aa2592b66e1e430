"""Arguments of samplers and pruners: every one can be set and is recorded; what cannot be is refused when the study is read."""

import inspect
from pathlib import Path
from typing import Any

import pytest

from search_spaces.language.rules import RuleError
from studies.engine.binding.samplers import PRUNERS, SAMPLERS, argument_schemas, with_all_arguments
from studies.engine.errors import StudyError
from tests.studies.simulated_driver import surface_study

NEEDED: dict[str, dict[str, Any]] = {
    "percentile": {"percentile": 25.0},
    "threshold": {"lower": 0.1},
    "patient": {"wrapped_pruner": "median", "patience": 2},
}
KINDS = [("sampler", SAMPLERS, name) for name in SAMPLERS] + [("pruner", PRUNERS, name) for name in PRUNERS]


@pytest.mark.parametrize(("kind", "known", "name"), KINDS)
def test_what_is_pinned_is_everything(kind: str, known: dict[str, type], name: str, recwarn: pytest.WarningsRecorder) -> None:
    """Every plain argument that Optuna does not deprecate has its value in the record, and the record means itself."""
    pinned = with_all_arguments(kind, known, name, NEEDED.get(name, {}))
    assert set(pinned) == {"name", *argument_schemas(known[name])}
    assert (
        with_all_arguments(kind, known, name, {argument: value for argument, value in pinned.items() if argument != "name"})
        == pinned
    )
    takes = set(inspect.signature(known[name]).parameters)
    assert set(pinned) - {"name"} <= takes
    assert not recwarn.list


@pytest.mark.parametrize(
    ("kind", "name", "arguments", "blamed"),
    [
        ("sampler", "tpo", {}, ""),
        ("sampler", "tpe", {"n_startup": 3}, "n_startup"),
        ("sampler", "tpe", {"constraints_func": "f"}, "constraints_func"),
        ("sampler", "tpe", {"prior_weight": 2.0}, "prior_weight"),
        ("sampler", "tpe", {"n_startup_trials": -1}, "n_startup_trials"),
        ("sampler", "tpe", {"n_startup_trials": 2.5}, "n_startup_trials"),
        ("sampler", "tpe", {"n_startup_trials": True}, "n_startup_trials"),
        ("sampler", "tpe", {"n_ei_candidates": 0}, "n_ei_candidates"),
        ("sampler", "tpe", {"multivariate": "yes"}, "multivariate"),
        ("sampler", "tpe", {"multivariate": False}, "multivariate"),  # without which there is no group
        ("sampler", "tpe", {"seed": -1}, "seed"),
        ("sampler", "tpe", {"seed": None}, "seed"),
        ("sampler", "tpe", {"seed": 2**32}, "seed"),
        ("sampler", "nsga2", {"population_size": 1}, "population_size"),
        ("sampler", "nsga2", {"mutation_prob": 1.5}, "mutation_prob"),
        ("sampler", "nsga2", {"crossover_prob": float("nan")}, "crossover_prob"),
        ("sampler", "nsga2", {"crossover": "Unifrom"}, "crossover"),
        ("sampler", "nsga2", {"crossover": ["Uniform"]}, "crossover"),
        ("sampler", "nsga2", {"crossover": "UNDX", "population_size": 2}, "population_size"),
        ("sampler", "gp", {"n_startup_trials": -3}, "n_startup_trials"),
        ("sampler", "gp", {"independent_sampler": "median"}, "independent_sampler"),
        ("sampler", "cma_es", {"popsize": 1}, "popsize"),
        ("sampler", "cma_es", {"sigma0": 0.1}, "sigma0"),
        ("sampler", "cma_es", {"lr_adapt": True, "with_margin": True}, "lr_adapt"),
        ("sampler", "qmc", {"qmc_type": "soboll"}, "qmc_type"),
        ("pruner", "median", {"n_startup_trials": -1}, "n_startup_trials"),
        ("pruner", "median", {"interval_steps": 0}, "interval_steps"),
        ("pruner", "percentile", {}, "percentile"),
        ("pruner", "percentile", {"percentile": 200.0}, "percentile"),
        ("pruner", "successive_halving", {"min_resource": 0}, "min_resource"),
        ("pruner", "successive_halving", {"min_resource": "some"}, "min_resource"),
        ("pruner", "successive_halving", {"reduction_factor": 1}, "reduction_factor"),
        ("pruner", "hyperband", {"reduction_factor": 1}, "reduction_factor"),
        ("pruner", "hyperband", {"min_resource": 0}, "min_resource"),
        ("pruner", "hyperband", {"max_resource": 0}, "max_resource"),
        ("pruner", "hyperband", {"bootstrap_count": 2}, "bootstrap_count"),
        ("pruner", "threshold", {}, ""),
        ("pruner", "threshold", {"lower": 1.0, "upper": 0.0}, "lower"),
        ("pruner", "patient", {"patience": 3}, "wrapped_pruner"),
        ("pruner", "patient", {"wrapped_pruner": "threshold", "patience": 3}, "wrapped_pruner"),
        ("pruner", "patient", {"wrapped_pruner": "median", "patience": -1}, "patience"),
    ],
)
def test_what_cannot_be_is_refused(kind: str, name: str, arguments: dict[str, Any], blamed: str) -> None:
    """Unknown names, wrong types and values that Optuna refuses at once, or only in use, are one RuleError each."""
    with pytest.raises(RuleError) as caught:
        with_all_arguments(kind, SAMPLERS if kind == "sampler" else PRUNERS, name, arguments)
    assert caught.value.field == blamed
    assert caught.value.rule


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tpe", {"n_startup_trials": 100_000, "n_ei_candidates": 10**9}),
        ("tpe", {"multivariate": False, "group": False, "constant_liar": False}),
        ("nsga2", {"crossover": "UNDX", "mutation": "Polynomial", "mutation_prob": 0.2, "population_size": 3}),
        ("cma_es", {"use_separable_cma": True, "popsize": 10**9, "independent_sampler": "tpe"}),
        ("cma_es", {"with_margin": True, "consider_pruned_trials": True}),
        ("cma_es", {"lr_adapt": True}),
        ("qmc", {"qmc_type": "halton", "scramble": True, "independent_sampler": "tpe"}),
    ],
)
def test_what_can_be_is_taken(name: str, arguments: dict[str, Any], recwarn: pytest.WarningsRecorder) -> None:
    """Rare arguments and large values are taken as they are, without a warning and without trying so many trials."""
    assert arguments.items() <= with_all_arguments("sampler", SAMPLERS, name, arguments).items()
    assert not recwarn.list


def test_the_problem_names_its_place(tmp_path: Path) -> None:
    """In a study file a wrong argument is one problem, at its line, and so is one that Optuna would refuse in mid-study."""
    wrong = "sampler: {name: tpe, n_ei_candidates: 0}, pruner: {name: hyperband, max_resource: 0}"
    design = f"{{name: adaptive_search, num_trials: 5, {wrong}}}"
    with pytest.raises(StudyError) as caught:
        surface_study(tmp_path, f"seeds: 1\nfactors: {{a: [0, 1]}}\ndesign: {design}\n")
    places = [problem.path for problem in caught.value.problems]
    assert places == ["design.sampler.n_ei_candidates", "design.pruner.max_resource"]


def test_what_was_written_down_loads_as_the_same_plan(tmp_path: Path) -> None:
    """The study file as recorded has every argument, and is the same search."""
    design = (
        "{name: adaptive_search, num_trials: 5, sampler: nsga2, pruner: {name: patient, wrapped_pruner: median, patience: 3}}"
    )
    study = surface_study(tmp_path, f"seeds: 1\nfactors: {{a: [0, 1]}}\ndesign: {design}\n")
    assert "population_size: 50" in study.text
    (tmp_path / "again").mkdir()
    text = "\n".join(line for line in study.text.splitlines() if not line.startswith(("question:", "trainable:", "storage:")))
    assert surface_study(tmp_path / "again", text).search == study.search
