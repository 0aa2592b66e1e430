"""Hypothesis strategies: study files over the response surface, with random spaces, designs, searches and tunings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from hypothesis import strategies as st

from search_spaces.language.space import Domain, Factor, Level, Levels, Range, Space, make_space
from tests.search_spaces.language.strategies import assignments, spaces

STEP = 0.1
VARIANTS = ("plain", "peaked", "steep")


def _as_surface(domain: Domain) -> Domain:
    """A domain of as many values (at least 2), all of them what a factor of the response surface may be."""
    num_values = domain.num_values()
    if num_values is None:
        assert isinstance(domain, Range)
        return Range(0.1 if domain.log else -0.7, 0.9, log=domain.log)
    number = max(2, num_values)
    if isinstance(domain, Levels):
        return Levels(tuple(round(-0.9 + 0.4 * position, 1) for position in range(number)))
    return Range(-0.9, round(-0.9 + STEP * (number - 1), 1), step=STEP)


def _as_level(domain: Domain, level: Level, ours: Domain) -> Level:
    position = domain.position(level)
    return 0.5 if position is None else ours.value_at(position)


def _entry(factor: Factor, by_name: Mapping[str, Factor], domains: Mapping[str, Domain]) -> Any:
    domain = domains[factor.name]
    if isinstance(domain, Levels):
        entry: dict[str, Any] = {"levels": list(domain.values)}
    else:
        entry = {"low": domain.low, "high": domain.high, "log": domain.log, "step": domain.step}
        entry = {key: value for key, value in entry.items() if value}
        entry |= {"low": domain.low}
    if factor.when:
        entry["when"] = {
            other: [_as_level(by_name[other].domain, level, domains[other]) for level in levels]
            for other, levels in factor.when.items()
        }
    return entry if factor.when or isinstance(domain, Range) else entry["levels"]


@st.composite
def surface_spaces(draw: st.DrawFn, *, continuous: bool) -> tuple[dict[str, Any], Space]:
    """What a study file says under ``factors``, and the space that this means."""
    drawn = draw(spaces(continuous=continuous, max_factors=4))
    by_name = {factor.name: factor for factor in drawn.factors}
    domains = {name: _as_surface(factor.domain) for name, factor in by_name.items()}
    entries = {name: _entry(factor, by_name, domains) for name, factor in by_name.items()}
    if draw(st.booleans()) or not entries:
        entries["variant"] = list(draw(st.permutations(VARIANTS)))[: draw(st.integers(2, 3))]
        domains["variant"] = Levels(tuple(entries["variant"]))
    if "peaked" in entries.get("variant", ()) and draw(st.booleans()):
        entries["peak_width"] = {"levels": [0.5, 1, 2], "when": {"variant": "peaked"}}
        domains["peak_width"] = Levels((0.5, 1.0, 2.0))
    factors = [Factor(name, domains[name], _when(entry)) for name, entry in entries.items()]
    return entries, make_space(factors)


def _when(entry: Any) -> dict[str, tuple[Level, ...]]:
    when = entry.get("when", {}) if isinstance(entry, dict) else {}
    return {other: tuple(levels) if isinstance(levels, list) else (levels,) for other, levels in when.items()}


@st.composite
def two_level_spaces(draw: st.DrawFn) -> tuple[dict[str, Any], Space]:
    """Factors of two levels, without conditions."""
    names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=7, unique=True))
    entries = {name: draw(st.permutations([-0.5, 0, 1]))[:2] for name in names}
    return entries, make_space([Factor(name, Levels(tuple(map(float, levels)))) for name, levels in entries.items()])


@dataclass(frozen=True)
class Question:
    """A study file and what it means."""

    data: dict[str, Any]
    space: Space
    baseline: dict[str, Level]
    constraint: tuple[str, float] | None
    """A factor and the largest value that it may have."""

    @property
    def text(self) -> str:
        """As YAML."""
        return yaml.safe_dump(self.data, sort_keys=False)


@st.composite
def comparisons(draw: st.DrawFn) -> Question:
    """Designs that compare with a baseline, some with a constraint, some tuned."""
    design = draw(st.sampled_from(["one_factor_at_a_time", "full_factorial", "leave_one_out", "fractional_factorial"]))
    entries, space = draw(
        surface_spaces(continuous=False) if design in ("one_factor_at_a_time", "full_factorial") else two_level_spaces()
    )
    baseline = draw(assignments(space))
    data = {"question": "?", "trainable": "response_surface", "factors": entries, "baseline": baseline, "design": design}
    if design == "fractional_factorial":
        data["design"] = {"name": design, "resolution": draw(st.integers(3, 5))}
    free = [name for name, level in baseline.items() if isinstance(level, float) and name != "peak_width"]
    constraint = None
    if (
        design in ("one_factor_at_a_time", "full_factorial")
        and free
        and not any(f.when for f in space.factors)
        and draw(st.booleans())
    ):
        name = draw(st.sampled_from(free))
        constraint = (name, max(float(baseline[name] or 0), draw(st.floats(-0.5, 0.5))))
        data["constraints"] = [f"{name} <= {constraint[1]!r}"]
    if draw(st.booleans()):
        data["tuning"] = {
            "parameters": {"noise": [0, 0.01]},
            "num_trials": 2,
            "sampler": draw(st.sampled_from(["tpe", "random"])),
        }
    return Question(_with_seeds(draw, data), space, baseline, constraint)


@st.composite
def random_designs(draw: st.DrawFn) -> Question:
    """Cells drawn at random."""
    entries, space = draw(surface_spaces(continuous=True))
    num_cells = draw(st.integers(1, min(8, space.num_cells() or 8)))
    design = {"name": "random", "num_cells": num_cells, "seed": draw(st.integers(0, 99))}
    data = {"question": "?", "trainable": "response_surface", "factors": entries, "design": design}
    return Question(_with_seeds(draw, data), space, {}, None)


@st.composite
def searches(draw: st.DrawFn) -> Question:
    """Adaptive searches, some with limits, early stopping, several objectives, finalists, a constraint."""
    entries, space = draw(surface_spaces(continuous=True))
    objectives = draw(st.sampled_from([["val/accuracy"], ["sparsity/overall", "val/accuracy"]]))
    samplers: list[Any] = [
        "tpe",
        "nsga2",
        "random",
        {"name": "tpe", "n_startup_trials": 3, "seed": 7},
        {"name": "qmc", "scramble": True},
    ]
    design = {
        "name": "adaptive_search",
        "num_trials": draw(st.integers(5, 99)),
        "sampler": draw(st.sampled_from(samplers)),
        "objectives": dict.fromkeys(objectives, "maximize"),
        "limits": draw(st.sampled_from([{}, {"ops/effective_acs": {"at_most": 1e6, "at_least": 0}}])),
        "pruner": draw(st.sampled_from([None, "median", {"name": "percentile", "percentile": 25.0}])),
        "seeds_per_trial": draw(st.integers(1, 2)),
        "finalists": draw(st.integers(0, 3)),
    }
    data = {"question": "?", "trainable": "response_surface", "factors": entries, "design": design}
    constraint = ("a", draw(st.floats(0.3, 0.6))) if "a" in entries and draw(st.booleans()) else None
    if constraint:
        data["constraints"] = [f"a <= {constraint[1]!r}"]
    return Question(_with_seeds(draw, data), space, {}, constraint)


def _with_seeds(draw: st.DrawFn, data: dict[str, Any]) -> dict[str, Any]:
    data["seeds"] = draw(st.integers(3, 9) | st.lists(st.integers(0, 99), min_size=3, max_size=4, unique=True))
    data["config"] = draw(st.sampled_from([{}, {"epochs": 3}, {"block_noise": 0}]))
    return data
