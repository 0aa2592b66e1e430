"""Designs have exactly the promised cells."""

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution

from search_spaces.language.designs import Cell, Level, one_factor_at_a_time
from search_spaces.language.space import distributions


def test_one_factor_at_a_time() -> None:
    """The baseline comes first, then every other level alone, in the order written."""
    factors: dict[str, list[Level]] = {"time_steps": [4, 8, 16], "layout": ["a", "b"]}
    assert one_factor_at_a_time(factors, {"time_steps": 8, "layout": "a"}) == [
        {"time_steps": 8, "layout": "a"},
        {"time_steps": 4, "layout": "a"},
        {"time_steps": 16, "layout": "a"},
        {"time_steps": 8, "layout": "b"},
    ]


@given(
    st.dictionaries(st.text(min_size=1), st.lists(st.integers() | st.text(), min_size=1, unique=True), min_size=1),
    st.data(),
)
def test_one_factor_at_a_time_in_general(factors: dict[str, list[int | str]], data: st.DataObject) -> None:
    """For any factors: one cell a level beside the baseline, all distinct, none off the baseline in more than one factor."""
    baseline: Cell = {name: data.draw(st.sampled_from(levels)) for name, levels in factors.items()}
    cells = one_factor_at_a_time(factors, baseline)
    assert len(cells) == 1 + sum(len(levels) - 1 for levels in factors.values())
    assert len({tuple(cell.items()) for cell in cells}) == len(cells)
    assert all(sum(cell[name] != baseline[name] for name in factors) <= 1 for cell in cells)
    assert all(cell[name] in factors[name] for cell in cells for name in factors)


def test_distributions() -> None:
    """A factor is a categorical distribution over its levels; the seed has a range, so that seeds can be added."""
    space = distributions({"layout": ["a", "b"]})
    assert space["layout"] == CategoricalDistribution(("a", "b"))
    assert space["seed"]._contains(12_345)
