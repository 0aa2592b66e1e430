"""Measures of spiking networks: time steps to the final accuracy, sparsity by layer, operations and energy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.statistics.data.cells import Cell, block_means, estimate, finite_values, group_by_levels
from analysis.statistics.data.estimates import COUNTS, SHARES, Estimate, mean_interval
from analysis.statistics.data.judged_images import collapsed_seeds, judged_images
from analysis.statistics.data.level_cells import AROUND_A_BASELINE, level_cells
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME, SPIKES
from analysis.statistics.effects.contrasts import Contrast, paired_contrasts
from analysis.statistics.search.pareto import pareto_front
from studies.run_record import (
    ACCURACY,
    COMPARED_ROLES,
    SPARSITY,
    TEST_ACCURACY,
    Level,
    Role,
    RunRecord,
    StudyRecord,
    levels_in_words,
)

ONE_POINT = 0.01
STEPS_TO_WITHIN = "val/steps_to_within_one_point"
ACS, MACS, ENERGY_PJ = "ops/effective_acs", "ops/effective_macs", "ops/energy_pj"
PER_DENSE_MAC = "ops/operations_per_dense_mac"
"""All operations over the multiply-accumulates of one pass of the same network without spikes."""
AC_MAC_RATIO = "ops/ac_mac_ratio"
"""The accumulates alone over these, which is what earlier versions recorded."""
ACS_EACH_STEP, MACS_EACH_STEP = "ops_input_each_step/effective_acs", "ops_input_each_step/effective_macs"
ENERGY_EACH_STEP_PJ = "ops_input_each_step/energy_pj"
"""As above, with an input that is constant in time counted at every step and not once."""
TIES = "val/ties"
MANY_TIES = 0.01
SPARSITY_OF = "sparsity/"
LOWEST_CLASS = "lowest_class"
"""The value of the config field ``ties`` with which the first class wins; the other one looks at membrane potentials."""
MOST_CONFIGURATIONS = 10
"""Of a random design or a search these best ones are shown."""


@dataclass(frozen=True)
class SpikingRow:
    """The measures of a level, over its cells, or of one configuration of a ranking; estimates are over seeds.

    ``factor`` is empty for a configuration, and for the baseline cell, which stands once for all factors.
    """

    factor: str
    levels: Mapping[str, Level]
    is_baseline: bool
    steps_to_within: Estimate | None
    operations_per_dense_mac: Estimate | None
    spikes_per_neuron: Estimate | None
    operations: Estimate | None
    energy_pj: Estimate | None
    operations_each_step: Estimate | None
    energy_each_step_pj: Estimate | None
    ties: Estimate | None
    """The share of validation images whose largest spike count several classes have."""
    sparsity: Mapping[str, Estimate]
    """By layer, those that at least one seed has."""


@dataclass(frozen=True)
class CostPoint:
    """The accuracy and the cost of one cell over the seeds that have both, and whether no other cell dominates its means."""

    levels: Mapping[str, Level]
    accuracy: Estimate
    operations: Estimate
    """Synaptic operations per image: accumulates and multiply-accumulates."""
    energy_pj: Estimate
    is_on_operations_front: bool = False
    is_on_energy_front: bool = False


@dataclass(frozen=True)
class CellResult:
    """What one cell reached and what it costs; each estimate is over the seeds that have it, None where none has."""

    levels: Mapping[str, Level]
    num_planned: int
    """Seeds."""
    accuracy: Estimate | None
    test_accuracy: Estimate | None
    spikes_per_neuron: Estimate | None
    operations: Estimate | None
    energy_pj: Estimate | None


@dataclass(frozen=True)
class Spiking:
    """Rows of tables and heat maps, and points of figures; these are empty where no replicate has these measures."""

    rows: Sequence[SpikingRow]
    points: Sequence[CostPoint]
    layers: Sequence[str]
    """From the input to the output, then ``overall``."""
    operation_contrasts: Mapping[tuple[str, Level], Contrast] = field(default_factory=dict)
    """Synaptic operations of every level compared with its factor's baseline level, as a ratio."""
    cells: Sequence[CellResult] = ()
    """All cells of which something is known, whether or not their networks spike."""


def spiking_of(study: StudyRecord, runs: Sequence[RunRecord]) -> Spiking:
    """The measures of the cells of a design, of the finalists of a search, or of its trials if there are no finalists."""
    cells = _cells(runs)
    layers = _layers([run for cell in cells for run in cell])
    rows = _level_rows(study, runs, layers) or _configuration_rows(cells, layers)
    measured = [row for row in rows if row.steps_to_within or row.operations or len(row.sparsity) > 1]
    results = [result for result in _results(cells) if result.accuracy or result.test_accuracy or result.operations]
    return Spiking(measured, cost_points(cells), layers, _operation_contrasts(study, runs), results)


def _operation_contrasts(study: StudyRecord, runs: Sequence[RunRecord]) -> dict[tuple[str, Level], Contrast]:
    levels = [(level, _operations(level.cells)) for level in level_cells(study, runs) if level.cells]
    references = {level.factor: of_seed for level, of_seed in levels if level.is_baseline}
    compared = [(level, of_seed) for level, of_seed in levels if not level.is_baseline]
    contrasts = paired_contrasts([(references.get(level.factor, {}), of_seed) for level, of_seed in compared], scale="log")
    return {
        (level.factor, level.level): contrast
        for (level, _), contrast in zip(compared, contrasts, strict=True)
        if contrast.difference.num_values
    }


def steps_to_within(accuracy_at_t: Sequence[float], margin: float = ONE_POINT) -> int:
    """The first time step, counted from 1, from which the accuracy stays within ``margin`` of its final value.

    Raises:
        ValueError: The curve is empty.
    """
    if not len(accuracy_at_t):
        raise ValueError("steps_to_within needs at least 1 time step, but got none")
    outside = np.abs(np.asarray(accuracy_at_t) - accuracy_at_t[-1]) > margin + 1e-9
    return int(np.flatnonzero(outside)[-1]) + 2 if outside.any() else 1


def cost_points(cells: Sequence[Cell]) -> list[CostPoint]:
    """A point for every cell that has accuracy, operations and energy of at least one seed, with the two Pareto fronts."""
    points = [point for point in map(_cost_point, cells) if point]
    by_operations = pareto_front([(p.accuracy.mean, p.operations.mean) for p in points], ["maximize", "minimize"])
    by_energy = pareto_front([(p.accuracy.mean, p.energy_pj.mean) for p in points], ["maximize", "minimize"])
    return [
        replace(point, is_on_operations_front=operations, is_on_energy_front=energy)
        for point, operations, energy in zip(points, by_operations, by_energy, strict=True)
    ]


def _cost_point(cell: Cell) -> CostPoint | None:
    accuracy, energy = finite_values(cell, ACCURACY), finite_values(cell, ENERGY_PJ)
    operations = _operations([cell])
    seeds = sorted(accuracy.keys() & energy.keys() & operations.keys())
    if not seeds:
        return None
    limited = ((accuracy, SHARES), (operations, COUNTS), (energy, COUNTS))
    estimates = [mean_interval([of_seed[seed] for seed in seeds], limits=limits) for of_seed, limits in limited]
    return CostPoint(cell[0].levels, estimates[0], estimates[1], estimates[2])


def _results(cells: Sequence[Cell]) -> list[CellResult]:
    """Accuracies have no intervals where replicates collapse, as more of them may in any cell."""
    images = judged_images((run for cell in cells for run in cell), ACCURACY_OUTCOME)
    if not any(collapsed_seeds(finite_values(cell, ACCURACY), images) for cell in cells):
        return list(map(_result, cells))
    return [
        replace(
            result,
            accuracy=result.accuracy and result.accuracy.without_interval(),
            test_accuracy=result.test_accuracy and result.test_accuracy.without_interval(),
        )
        for result in map(_result, cells)
    ]


def _result(cell: Cell) -> CellResult:
    accuracy, test_accuracy = (estimate(finite_values(cell, metric), SHARES) for metric in (ACCURACY, TEST_ACCURACY))
    spikes, energy = (estimate(finite_values(cell, metric), COUNTS) for metric in (SPIKES, ENERGY_PJ))
    operations = estimate(_operations([cell]), COUNTS)
    return CellResult(cell[0].levels, len({run.seed for run in cell}), accuracy, test_accuracy, spikes, operations, energy)


def _operations(cells: Sequence[Cell], names: tuple[str, str] = (ACS, MACS)) -> dict[int, float]:
    acs, macs = (block_means(cells, name) for name in names)
    return {seed: acs[seed] + macs[seed] for seed in acs.keys() & macs.keys()}


def _cells(runs: Sequence[RunRecord]) -> list[Cell]:
    roles: tuple[Role, ...] = ("cell", "finalist", "search")
    of_roles = (group_by_levels(run for run in runs if run.role == role) for role in roles)
    return next((list(cells.values()) for cells in of_roles if cells), [])


def _level_rows(study: StudyRecord, runs: Sequence[RunRecord], layers: Sequence[str]) -> list[SpikingRow]:
    """Every level that has cells; where the baseline levels of all factors stand for the same one cell, that cell once, first."""
    levels = [level for level in level_cells(study, runs) if level.cells]
    shared = [level for level in levels if study.design in AROUND_A_BASELINE and level.is_baseline and not level.in_cell]
    rows = [_row("", {}, shared[0].cells, layers, is_baseline=True)] if shared else []
    return rows + [
        _row(level.factor, {level.factor: level.level}, level.cells, layers, is_baseline=level.is_baseline)
        for level in levels
        if not any(level is other for other in shared)
    ]


def _configuration_rows(cells: Sequence[Cell], layers: Sequence[str]) -> list[SpikingRow]:
    accuracies = [(estimate(finite_values(cell, ACCURACY)), cell) for cell in cells]
    best_first = sorted(((found.mean, i) for i, (found, _) in enumerate(accuracies) if found), key=lambda pair: -pair[0])
    best = [cells[i] for _, i in best_first[:MOST_CONFIGURATIONS]]
    return [_row("", cell[0].levels, [cell], layers, is_baseline=False) for cell in best]


def _row(
    factor: str, levels: Mapping[str, Level], cells: Sequence[Cell], layers: Sequence[str], *, is_baseline: bool
) -> SpikingRow:
    by_layer = {layer: estimate(block_means(cells, SPARSITY_OF + layer), SHARES) for layer in layers}
    return SpikingRow(
        factor,
        levels,
        is_baseline,
        steps_to_within=estimate(_block_steps(cells)),
        operations_per_dense_mac=estimate(block_means([list(map(_with_ratio, cell)) for cell in cells], PER_DENSE_MAC), COUNTS),
        spikes_per_neuron=estimate(block_means(cells, SPIKES), COUNTS),
        operations=estimate(_operations(cells), COUNTS),
        energy_pj=estimate(block_means(cells, ENERGY_PJ), COUNTS),
        operations_each_step=estimate(_operations(cells, (ACS_EACH_STEP, MACS_EACH_STEP)), COUNTS),
        energy_each_step_pj=estimate(block_means(cells, ENERGY_EACH_STEP_PJ), COUNTS),
        ties=estimate(block_means(cells, TIES), SHARES),
        sparsity={layer: found for layer, found in by_layer.items() if found},
    )


def _with_ratio(run: RunRecord) -> RunRecord:
    """A replicate of an earlier version with all its operations over those of a dense pass, which follow from what it has."""
    acs, macs, ratio = (run.metrics.get(name, 0.0) for name in (ACS, MACS, AC_MAC_RATIO))
    if PER_DENSE_MAC in run.metrics or not acs * ratio > 0:
        return run
    return replace(run, metrics={**run.metrics, PER_DENSE_MAC: (acs + macs) * ratio / acs})


def tie_warnings(runs: Sequence[RunRecord]) -> list[str]:
    """A sentence where many images have no class with the most spikes, and the order of the classes decides."""
    compared = [run for run in runs if run.role in COMPARED_ROLES and run.status == "FINISHED"]
    by_order = [run for run in compared if run.config.get("ties") == LOWEST_CLASS and run.metrics.get(TIES, 0.0) >= MANY_TIES]
    if not by_order:
        return []
    worst, share = max(((run, run.metrics[TIES]) for run in by_order), key=lambda pair: pair[1])
    return [
        f"Up to {100 * share:.0f} % of validation images ({levels_in_words(worst.levels)}) have several classes with the most "
        f"spikes, at least {100 * MANY_TIES:g} % in {len(by_order)} of {len(compared)} replicates. The first of these classes is "
        f"the answer (ties: {LOWEST_CLASS}), so that accuracies depend on the order of the classes."
    ]


def _block_steps(cells: Sequence[Cell]) -> dict[int, float]:
    """Steps to within one point, by seed: the mean over cells, of the seeds that have a value in every one of them."""
    values = [_steps_of(cell) for cell in cells]
    seeds = set.intersection(*map(set, values)) if values else set()
    return {seed: float(np.mean([of_cell[seed] for of_cell in values])) for seed in sorted(seeds)}


def _steps_of(cell: Cell) -> dict[int, float]:
    """As the trainable measured it, else from the curve."""
    from_curves = {
        run.seed: float(steps_to_within(run.accuracy_at_t)) for run in cell if run.status == "FINISHED" and run.accuracy_at_t
    }
    return from_curves | finite_values(cell, STEPS_TO_WITHIN)


def _layers(runs: Sequence[RunRecord]) -> list[str]:
    names = {name.removeprefix(SPARSITY_OF) for run in runs for name in run.metrics if name.startswith(SPARSITY_OF)}
    overall = SPARSITY.removeprefix(SPARSITY_OF)
    return [*sorted(names - {overall}, key=_place), *(names & {overall})]


def _place(layer: str) -> tuple[int, str]:
    """layer2 before layer10; names without a number after those with one."""
    digits = layer.lstrip("abcdefghijklmnopqrstuvwxyz_")
    return (int(digits), layer) if digits.isdecimal() else (len(layer) + 10**6, layer)
