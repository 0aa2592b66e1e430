"""Steps, costs, fronts and sparsity by layer, against numbers worked out by hand."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.reporting.figures import spiking
from analysis.reporting.topics.paper_tables import MOST_LISTED, listed_cells, results_tables
from analysis.reporting.topics.spiking import spiking_tables
from analysis.statistics.spiking import CostPoint, cost_points, spiking_of, steps_to_within
from analysis.statistics.summary import Summary, summarise
from studies.run_record import Level, Role, RunRecord
from tests.analysis.examples import all_outputs, run_of, study_of

CURVE = (0.1, 0.9, 0.5, 0.895, 0.9)


def spiking_run(time_steps: Level, seed: int, accuracy: float, acs: float, macs: float = 100.0) -> RunRecord:
    """A replicate with operations, their energy, and sparsity of two layers and the output."""
    costs = {"ops/effective_acs": acs, "ops/effective_macs": macs, "ops/energy_pj": 0.9 * acs + 4.6 * macs}
    layers = {"sparsity/layer10": 0.8, "sparsity/layer2": 0.7 + 0.1 * seed, "sparsity/output": 0.9}
    run = run_of({"time_steps": time_steps}, seed, accuracy)
    return replace(run, metrics={**run.metrics, **costs, **layers, "ops/ac_mac_ratio": acs / 1000})


def spiking_study() -> Summary:
    """Of T=4, 8 and 16 the last has more operations than the second, and no better accuracy."""
    cells: Mapping[int, tuple[float, float]] = {4: (0.6, 500), 8: (0.8, 1000), 16: (0.7, 4000)}
    runs = [
        spiking_run(time_steps, seed, accuracy + 0.02 * seed, acs + 100 * seed)
        for seed in range(3)
        for time_steps, (accuracy, acs) in cells.items()
    ]
    return summarise(study_of("one_factor_at_a_time", {"time_steps": [8, 4, 16]}, runs), runs)


def test_steps_to_within_a_point_by_hand() -> None:
    """The last step outside counts, whether above or below; a curve that is never outside needs one step."""
    assert steps_to_within(CURVE) == 4
    assert steps_to_within((0.9, 0.91, 0.9)) == 1
    assert steps_to_within((0.95, 0.9)) == 2
    with pytest.raises(ValueError, match="needs at least 1 time step"):
        steps_to_within(())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_from_those_steps_on_the_accuracy_stays(curve: list[float]) -> None:
    """From the step that is named all are within one point of the last, and the step before is not."""
    step = steps_to_within(curve)
    assert all(abs(accuracy - curve[-1]) <= 0.01 + 1e-9 for accuracy in curve[step - 1 :])
    assert step == 1 or abs(curve[step - 2] - curve[-1]) > 0.01


def test_steps_are_averaged_over_seeds() -> None:
    """Each seed's own curve has its steps; the mean of 4 and 2 is 3; what the trainable measured counts before the curve."""
    runs = [replace(run_of({"a": 1}, 0), accuracy_at_t=CURVE), replace(run_of({"a": 1}, 1), accuracy_at_t=(0.1, 0.9, 0.9))]
    (row,) = spiking_of(study_of("one_factor_at_a_time", {"a": [1]}, runs), runs).rows
    assert row.steps_to_within is not None
    assert (row.steps_to_within.mean, row.steps_to_within.num_values) == (3, 2)
    measured = [replace(run, metrics={**run.metrics, "val/steps_to_within_one_point": 5.0}) for run in runs]
    (row,) = spiking_of(study_of("one_factor_at_a_time", {"a": [1]}, measured), measured).rows
    assert row.steps_to_within is not None
    assert row.steps_to_within.mean == 5


def test_costs_by_hand() -> None:
    """Operations are accumulates and multiply-accumulates together, over those of a dense pass too, which follow from what
    earlier versions recorded; the baseline cell stands once, first.
    """
    rows = spiking_study().spiking.rows
    assert [(row.factor, dict(row.levels), row.is_baseline) for row in rows] == [
        ("", {}, True),
        ("time_steps", {"time_steps": 4}, False),
        ("time_steps", {"time_steps": 16}, False),
    ]
    baseline = rows[0]
    assert baseline.operations is not None
    assert baseline.operations.mean == pytest.approx(1100 + 100)
    assert baseline.operations_per_dense_mac is not None
    assert baseline.operations_per_dense_mac.mean == pytest.approx((1100 + 100) / 1000)
    assert baseline.energy_pj is not None
    assert baseline.energy_pj.mean == pytest.approx(0.9 * 1100 + 460)


def test_an_input_counted_once_and_at_each_step() -> None:
    """Both figures stand side by side, for operations and for energy, where they were recorded."""
    each_step = {"ops_input_each_step/effective_acs": 500.0, "ops_input_each_step/effective_macs": 400.0}
    each_step["ops_input_each_step/energy_pj"] = 0.9 * 500 + 4.6 * 400
    found = spiking_run(4, 0, 0.6, 500)
    runs = [replace(found, metrics={**found.metrics, **each_step}), spiking_run(8, 0, 0.6, 500)]
    summary = summarise(study_of("one_factor_at_a_time", {"time_steps": [4, 8]}, runs), runs)
    costs = spiking_tables(summary)[0]
    titles = [column.title for column in costs.columns]
    baseline, other = (dict(zip(titles, row.cells, strict=True)) for row in costs.rows)
    assert (baseline["synaptic operations"], baseline["operations, each step"]) == ("600", "900")
    assert (baseline["energy, µJ"], baseline["energy, each step, µJ"]) == ("0.00091", "0.00229")
    assert other["operations, each step"] == "–"
    assert "operations, each step" not in [column.title for column in spiking_tables(spiking_study())[0].columns]


@pytest.mark.parametrize(
    ("rule", "share", "is_told"), [("lowest_class", 0.54, True), ("lowest_class", 0.005, False), ("potential", 0.54, False)]
)
def test_ties_are_told(rule: str, share: float, is_told: bool) -> None:
    """The share of images that several classes win is in the table of costs; where the order of the classes decides on many, a
    warning says so.
    """
    runs = [spiking_run(time_steps, seed, 0.6, 500) for time_steps in (2, 4) for seed in range(2)]
    runs = [
        replace(run, config={"ties": rule}, metrics={**run.metrics, "val/ties": share if run.levels["time_steps"] == 2 else 0.0})
        for run in runs
    ]
    summary = summarise(study_of("one_factor_at_a_time", {"time_steps": [2, 4]}, runs), runs)
    costs = spiking_tables(summary)[0]
    place = [column.title for column in costs.columns].index("ties %")
    assert [row.cells[place][:4] for row in costs.rows] == [f"{100 * share:.2f}"[:4], "0.00"]
    said = [warning for warning in summary.warnings if "several classes with the most" in warning]
    assert [warning[:9] for warning in said] == (["Up to 54 "] if is_told else [])
    assert all("(time_steps=2)" in warning and "in 2 of 4 replicates" in warning for warning in said)


def test_the_front_by_hand() -> None:
    """What costs more at lower accuracy is on no front."""
    points = spiking_study().spiking.points
    on_front = {point.levels["time_steps"]: (point.is_on_operations_front, point.is_on_energy_front) for point in points}
    assert on_front == {4: (True, True), 8: (True, True), 16: (False, False)}


def test_a_point_is_of_the_seeds_that_have_everything() -> None:
    """A seed without energy does not enter the accuracy either, and a cell without any has no point."""
    whole, lacking = spiking_run(4, 0, 0.6, 500), spiking_run(4, 1, 0.9, 500)
    lacking = replace(lacking, metrics={name: value for name, value in lacking.metrics.items() if name != "ops/energy_pj"})
    (point,) = cost_points([[whole, lacking], [replace(lacking, levels={"time_steps": 8})]])
    assert (point.accuracy.mean, point.accuracy.num_values) == (0.6, 1)


def test_layers_stand_in_the_order_of_the_network() -> None:
    """layer2 before layer10, then names without a number, the overall value last; means over seeds."""
    spiking = spiking_study().spiking
    assert spiking.layers == ["layer2", "layer10", "output", "overall"]
    assert spiking.rows[0].sparsity["layer2"].mean == pytest.approx(0.8)


def test_tables_say_what_was_measured() -> None:
    """All cells, time steps and cost, sparsity by layer with half intervals."""
    (cells,), (costs, sparsity) = results_tables(spiking_study()), spiking_tables(spiking_study())
    assert costs.rows[0].cells[:3] == ["baseline", "3", "2"]
    assert [row.cells[0] for row in cells.rows] == ["baseline", "time_steps=4", "time_steps=16"]
    assert [row.cells[-1] for row in cells.rows] == ["operations, energy", "operations, energy", "–"]
    assert sparsity.rows[0].cells[1] == "80.00 ± 24.84"  # 10 points · t(0.975, 2) / √3


def test_of_many_cells_those_on_a_front_are_listed() -> None:
    """A table of hundreds of cells would be read by nobody."""
    runs = [spiking_run(t, 0, 0.5 + 0.001 * (t if t <= 3 else -t), 100.0 * t) for t in range(1, MOST_LISTED + 2)]
    study = study_of("one_factor_at_a_time", {"time_steps": list(range(1, MOST_LISTED + 2))}, runs)
    assert [cell.levels["time_steps"] for cell in listed_cells(summarise(study, runs))] == [1, 2, 3]


def test_without_measurements_there_is_nothing() -> None:
    """A study of accuracies alone has neither cost figure nor heat map, and no table of them but that of steps."""
    runs = [replace(run_of({"a": a}, seed), accuracy_at_t=()) for a in (0, 1) for seed in range(3)]
    summary = summarise(study_of("one_factor_at_a_time", {"a": [0, 1]}, runs), runs)
    assert spiking_tables(summary) == []
    assert spiking.accuracy_against_cost(summary) is None
    assert spiking.sparsity_by_layer(summary) is None


@pytest.mark.parametrize("design", ["full_factorial", "random", "adaptive_search"])
def test_every_design_has_spiking_rows(design: str) -> None:
    """Levels of a factorial design, configurations of the others; every output is made."""
    role: Role = "search" if design == "adaptive_search" else "cell"
    runs = [replace(spiking_run(t, seed, 0.5 + t / 100, 10.0 * t), role=role) for t in (4, 8) for seed in range(2)]
    summary = summarise(study_of(design, {"time_steps": [4, 8]}, runs, seeds=[0, 1]), runs)
    assert [row.levels["time_steps"] for row in summary.spiking.rows] == ([4, 8] if design == "full_factorial" else [8, 4])
    assert "Time steps and cost" in all_outputs(summary)
    assert isinstance(summary.spiking.points[0], CostPoint)
