"""Tables of spiking networks: time steps to the final accuracy and their cost, sparsity by layer."""

import math
from dataclasses import replace

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Row, Table, filled
from analysis.reporting.topics.published import matches
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.outcomes import SPARSITY_OUTCOME
from analysis.statistics.spiking import SpikingRow
from analysis.statistics.summary import Summary
from studies.run_record import StudyRecord

PICOJOULES = 1e6
"""Of a microjoule."""


def row_in_words(study: StudyRecord, row: SpikingRow) -> str:
    """The label of a row: its level, or its configuration."""
    if row.factor:
        (level,) = row.levels.values()
        named = f"{formatting.factor_name(study, row.factor)} = {formatting.level_name(study, row.factor, level)}"
        return f"{named}{' (baseline)' if row.is_baseline else ''}"
    return "baseline" if row.is_baseline else formatting.configuration_in_words(study, row.levels)


def spiking_tables(summary: Summary) -> list[Table]:
    """The tables for which replicates have measured something."""
    return filled(_costs(summary), _sparsity(summary))


def _costs(summary: Summary) -> Table:
    caption = (
        "Means over seeds ± half the width of their 95 % intervals. Within one point: the first time step from which the "
        "validation accuracy stays within 1 point of its final value. Ties: validation images whose largest spike count several "
        "classes have. Operations and energy are per image. An input that is constant in time is counted once, as its drive can "
        "be kept, and under “each step” at every step, as NeuroBench does where a network is run step by step. Of a dense pass: "
        "all operations divided by the multiply-accumulates of one pass of the same network without spikes. Energy is "
        "modelled: 4.6 pJ per MAC, 0.9 pJ per AC (45 nm)."
    )
    columns = [
        Column("level or cell", is_text=True),
        Column("seeds"),
        Column("time steps to within one point"),
        Column("ties %"),
        Column("spikes per neuron"),
        Column("synaptic operations"),
        Column("operations, each step"),
        Column("of a dense pass"),
        Column("energy, µJ"),
        Column("energy, each step, µJ"),
    ]
    rows = [row for row in summary.spiking.rows if row.steps_to_within or row.operations]
    has_ties = any(row.ties and row.ties.mean for row in rows)
    shown = [_cost_row(summary.study, row if has_ties else replace(row, ties=None)) for row in rows]
    known = [i for i in range(len(columns)) if any(row.cells[i] != formatting.NONE for row in shown)]
    shown = [Row([row.cells[i] for i in known], row.classes) for row in shown]
    return Table("Time steps and cost", caption, [columns[i] for i in known], shown, is_folded=True, is_detail=True)


def _cost_row(study: StudyRecord, row: SpikingRow) -> Row:
    of_energy = (formatting.divided(row.energy_pj, PICOJOULES), formatting.divided(row.energy_each_step_pj, PICOJOULES))
    counts = (row.spikes_per_neuron, row.operations, row.operations_each_step, row.operations_per_dense_mac, *of_energy)
    num_seeds = max(found.num_values for found in (row.steps_to_within, row.ties, *counts) if found)
    steps = formatting.plus_minus(row.steps_to_within)
    cells = [row_in_words(study, row), str(num_seeds), steps, _percent(row.ties), *map(formatting.plus_minus, counts)]
    return Row(cells, "baseline" if row.is_baseline else "")


def _sparsity(summary: Summary) -> Table:
    layers = summary.spiking.layers
    columns = [Column("level or cell", is_text=True), *(Column(layer) for layer in layers)]
    rows = [
        Row([row_in_words(summary.study, row), *(_percent(row.sparsity.get(layer)) for layer in layers)], _class(row))
        for row in summary.spiking.rows
        if row.sparsity
    ]
    for found in matches(summary.study, summary.runs):
        if rows and found.sparsity:
            shown = [f"{found.sparsity[layer]:.2f}" if layer in found.sparsity else formatting.NONE for layer in layers]
            rows.append(Row([f"{found.model}, published", *shown], "published"))
    caption = (
        "Percentage of zeros among each layer's outputs over all time steps and images; ± half the width of the 95 % interval."
    )
    return Table("Sparsity by layer", caption, columns, rows if len(layers) > 1 else [], is_folded=True, is_detail=True)


def _class(row: SpikingRow) -> str:
    return "baseline" if row.is_baseline else ""


def _percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return formatting.NONE
    mean = formatting.number(SPARSITY_OUTCOME, estimate.mean)
    return mean if not math.isfinite(estimate.low) else f"{mean} ± {formatting.number(SPARSITY_OUTCOME, estimate.half_width)}"
