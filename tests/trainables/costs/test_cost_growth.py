"""How cost grows: the fits, the page's block, and the benchmark's smallest form."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.cost_growth import measure
from tests.benchmarks.growth_analysis import SERIES
from tests.benchmarks.growth_figure import growth_figure
from tests.benchmarks.growth_fits import cost_model, fixed_and_growing, power_law
from tests.benchmarks.growth_page import tables
from tests.benchmarks.growth_subject import Point, subject_of
from tests.benchmarks.page_blocks import replace_block
from tests.benchmarks.spike_rates import RATES, set_rates
from trainables.spiking.neurons import SpikingNeuron

LEVELS = st.lists(st.floats(0.1, 1e6), min_size=3, max_size=8, unique_by=lambda x: round(math.log(x), 1))


@given(LEVELS, st.floats(-3, 3), st.floats(1e-9, 1e3))
def test_exponents_are_recovered(levels: list[float], exponent: float, factor: float) -> None:
    """Of an exact power law the exponent and the factor are found, with no error."""
    law = power_law(levels, [factor * x**exponent for x in levels])
    assert law.exponent == pytest.approx(exponent, abs=1e-6)
    assert law.factor == pytest.approx(factor, rel=1e-4)
    assert law.error == pytest.approx(0, abs=1e-6)


def test_error_covers_noise() -> None:
    """If noise is log-normal, an exponent's 68 % interval covers the true one in 68 % of samples, within four points."""
    rng, levels = np.random.default_rng(0), np.array([1.0, 2, 4, 8, 16, 32])
    times = levels * np.exp(0.1 * rng.standard_normal((2000, len(levels))))
    laws = [power_law(levels.tolist(), row.tolist()) for row in times]
    within = np.mean([abs(law.exponent - 1) <= 1.142 * (law.error or 0) for law in laws])  # t(0.84, 4 degrees of freedom)
    assert within == pytest.approx(0.683, abs=0.04)


def test_two_points_have_no_error() -> None:
    """An exponent of two points has no error, and of one there is none."""
    assert power_law([1, 2], [3, 6]).error is None
    with pytest.raises(ValueError, match="at least two different x"):
        power_law([2, 2], [3, 6])


@given(LEVELS, st.floats(1e-6, 1e3), st.floats(1e-6, 1e3))
def test_fixed_costs_are_recovered(work: list[float], fixed: float, slope: float) -> None:
    """Of a fixed cost and one that grows, the times and the fixed share are found."""
    line = fixed_and_growing(work, [fixed + slope * x for x in work])
    largest = max(work)
    assert line.fixed + line.slope * largest == pytest.approx(fixed + slope * largest, rel=1e-6)
    assert line.fixed_share(largest) == pytest.approx(fixed / (fixed + slope * largest), abs=1e-4)


@given(st.lists(st.floats(1e-9, 1), min_size=2, max_size=2))
def test_costs_are_recovered(costs: list[float]) -> None:
    """Of times that are sums of known quantities, what each costs is found, and never less than is known."""
    rows = [{"call": 1.0, "addition": float(x)} for x in (1, 3, 10, 40)]
    seconds = [costs[0] + costs[1] * row["addition"] for row in rows]
    model = cost_model(rows, seconds, {})
    assert [model.seconds_per_unit[name] for name in ("call", "addition")] == pytest.approx(
        costs, rel=1e-2, abs=1e-3 * max(costs)
    )
    assert sum(model.shares(rows[2]).values()) == pytest.approx(1)
    bounded = cost_model(rows, seconds, {"addition": 2 * costs[1]})
    assert bounded.seconds_per_unit["addition"] >= 2 * costs[1] * (1 - 1e-9)


def test_block_is_replaced(tmp_path: Path) -> None:
    """What stands between the markers is replaced, twice over with the same result, and nothing else."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- growth -->\nold\n<!-- /growth -->\nafter\n")
    replace_block(page, "growth", "| new |")
    once = page.read_text()
    assert once == "before\n<!-- growth -->\n\n| new |\n\n<!-- /growth -->\nafter\n"
    replace_block(page, "growth", "| new |")
    assert page.read_text() == once


@pytest.mark.parametrize(
    "text", ["", "<!-- growth -->", "<!-- /growth --> <!-- growth -->", "<!-- growth -->" * 2 + "<!-- /growth -->"]
)
def test_markers_must_be_there(text: str, tmp_path: Path) -> None:
    """A page without both markers, each once and in their order, is refused and left as it is."""
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="each once"):
        replace_block(page, "growth", "new")
    assert page.read_text() == text


def test_page_has_its_blocks(tmp_path: Path) -> None:
    """The page on speed has a place for what both benchmarks write."""
    page = tmp_path / "speed.md"
    page.write_text((Path(__file__).parents[3] / "docs" / "speed.md").read_text())
    for name in ("cost_growth", "backends_learn_alike"):
        replace_block(page, name, f"new {name}")
        assert f"new {name}" in page.read_text()


def test_rates_are_held() -> None:
    """Whatever T and the network's width, layers spike at the stated rates."""
    for point in (Point(time_steps=4, feature_scale=0.125, side=16), Point(time_steps=12, feature_scale=0.25, side=8)):
        subject = subject_of(point)
        rates: list[float] = []
        outputs_TBK = subject.images_BCHW[:8][None]
        for operation in subject.network.operations:
            outputs_TBK = subject.network.run_operation(operation, [outputs_TBK], point.time_steps, None)[0]
            if subject.network.is_a(operation, SpikingNeuron):
                rates.append(float(outputs_TBK.detach().mean()))
        assert rates == pytest.approx(RATES, abs=0.01)
        assert len(set_rates(subject.network, subject.images_BCHW[:8], point.time_steps)) == len(RATES)


def test_smallest_form_runs(tmp_path: Path) -> None:
    """A few small points are measured, tabled and drawn; points that are known are not measured again."""
    levels, results = {"time_steps": (2, 4), "batch_size": (1, 2)}, tmp_path / "points.json"
    baseline = Point(time_steps=2, feature_scale=0.125, side=8, batch_size=2)
    rows = measure(levels, baseline, turns=1, results=results)
    assert [row["backend"] for row in rows] == ["event_driven"] * 3
    assert all(row["seconds"][name] > 0 for row in rows for name in SERIES)
    assert rows[1]["work"]["dense_macs"] > 1.9 * rows[0]["work"]["dense_macs"]
    assert measure(levels, baseline, turns=1, results=results) == rows
    text = tables(rows, {"32 KiB": 3e-11})
    assert text.count("| T 4 |") == 3  # of times, of our costs, of the system's shares
    assert len(growth_figure(rows).axes) == 6
