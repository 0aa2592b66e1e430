"""Hypothesis strategies: random factors, spaces and assignments, for the tests of anything that takes a space."""

from hypothesis import assume
from hypothesis import strategies as st

from search_spaces.language.rules import RuleError
from search_spaces.language.space import Domain, Factor, Level, Levels, Range, Space, make_space

NAMES = tuple("abcdefgh")


def levels(min_size: int = 1, max_size: int = 4) -> st.SearchStrategy[Levels]:
    """Lists of levels of all types; True and 1 may stand side by side, 1 and 1.0 may not."""
    level: st.SearchStrategy[Level] = (
        st.booleans()
        | st.integers(-3, 3)
        | st.floats(allow_nan=False, allow_infinity=False, width=16)
        | st.text(max_size=3)
        | st.none()
    )
    values = st.lists(level, min_size=min_size, max_size=max_size, unique_by=lambda value: (isinstance(value, bool), value))
    return values.map(lambda chosen: Levels(tuple(chosen)))


@st.composite
def finite_ranges(draw: st.DrawFn) -> Range:
    """Ranges with a step, written in decimal, or of integers, also on a log scale."""
    num_steps = draw(st.integers(1, 6))
    if draw(st.booleans()):
        log = draw(st.booleans())
        low = draw(st.integers(1 if log else -9, 9))
        step = 1 if log else draw(st.none() | st.integers(1, 4))
        return Range(low, low + num_steps * (step or 1), log=log, step=None if log else step, integer=True)
    low, step = draw(st.integers(-9, 9)), draw(st.integers(1, 9))
    return Range(low / 10, (low + num_steps * step) / 10, step=step / 10)


@st.composite
def continuous_ranges(draw: st.DrawFn) -> Range:
    """Ranges of all floats between two bounds, also on a log scale."""
    log = draw(st.booleans())
    low = draw(st.floats(1e-6 if log else -1e3, 1e3))
    return Range(low, low + draw(st.floats(0.5, 1e3)), log=log)


@st.composite
def spaces(draw: st.DrawFn, *, continuous: bool = False, conditions: bool = True, max_factors: int = 5) -> Space:
    """Spaces with conditions nested to any depth, given in any order; finite unless ``continuous``."""
    domains: st.SearchStrategy[Domain] = st.one_of(levels(), finite_ranges(), *([continuous_ranges()] if continuous else []))
    factors: list[Factor] = []
    for name in NAMES[: draw(st.integers(0, max_factors))]:
        factor = Factor(name, draw(domains), draw(_conditions(factors)) if conditions else {})
        try:
            make_space([*factors, factor])
        except RuleError as error:
            assume("able to hold" in error.rule)
            factor = Factor(name, factor.domain)
        factors.append(factor)
    return make_space(draw(st.permutations(factors)))


@st.composite
def _conditions(draw: st.DrawFn, factors: list[Factor]) -> dict[str, tuple[Level, ...]]:
    """Conditions on up to two of these factors."""
    parents = [factor for factor in factors if draw(st.booleans())][-2:]
    return {parent.name: tuple(draw(st.lists(values(parent.domain), min_size=1, max_size=2))) for parent in parents}


def values(domain: Domain) -> st.SearchStrategy[Level]:
    """The values of a domain."""
    num_values = domain.num_values()
    if num_values is not None:
        return st.integers(0, num_values - 1).map(domain.value_at)
    assert isinstance(domain, Range)
    return st.floats(domain.low, domain.high)


def assignments(space: Space) -> st.SearchStrategy[dict[str, Level]]:
    """A value for every factor, active or not: also a baseline."""
    return st.fixed_dictionaries({factor.name: values(factor.domain) for factor in space.factors})


@st.composite
def spaces_with_baselines(
    draw: st.DrawFn, *, continuous: bool = False, conditions: bool = True, max_factors: int = 5
) -> tuple[Space, dict[str, Level]]:
    """A space and a value for each of its factors."""
    space = draw(spaces(continuous=continuous, conditions=conditions, max_factors=max_factors))
    return space, draw(assignments(space))
