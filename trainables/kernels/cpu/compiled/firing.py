"""Neurons in vector registers: a step of a row of channels, and of a column of such rows; see ``vectors`` for how."""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from trainables.kernels.cpu.compiled.compiling import inlined
from trainables.kernels.cpu.compiled.vectors import (
    FLOAT,
    FLOAT_BYTES,
    INT32,
    INT64,
    NARROW,
    WIDE,
    WINDOW,
    add_taps,
    constant,
    each_event,
    load,
    splat,
    store,
)


class Kind(NamedTuple):
    """What the neurons of a layer do; see ``spiking.neurons`` for the equations.

    Attributes:
        lanes: Channels of a lane group, 16 or 32.
        clamped: Whether the drive is clamped to [0, 1] before it is integrated.
        hard: Whether a spike resets the membrane potential to 0, rather than subtracting the threshold.
        passes_above: The gradient passes where the drive is above this, float32,
        passes_below: and below this.
    """

    lanes: int
    clamped: bool
    hard: bool
    passes_above: np.float32
    passes_below: np.float32


class Column(NamedTuple):
    """What one time step of one lane group of a column of pixels needs: the output of a convolution, from top to bottom.

    All but ``height`` are addresses, or distances between addresses, in bytes.

    Attributes:
        rows: Address of the weights of the events of three columns of the input, three rows each: for the drives of the row above
            them, of their own row, and of the row below.
        events: Address of the list of events that begin (of all events, where the drives start from the bias).
        bounds: Address of the number where the events of a row of the input begin; three numbers on stands where they end. The
            first row is that of the border.
        ending: Address of the list of events that end, which are subtracted.
        ending_bounds: Address of their numbers.
        bounds_step: Distance from row to row of the numbers.
        starts: Address of what the sums are added to: the bias, or the drives of the step before.
        starts_step: Distance from row to row; 0 for a bias.
        drives: Address where the drives are written.
        potential: Address of the membrane potentials, which are replaced.
        threshold: Address of the firing thresholds, the same for all rows.
        spikes: Address where the spikes are written, as bits.
        spikes_step: Distance from row to row.
        masks: Address where the masks are written, as bits.
        masks_step: Distance from row to row; 0 if nobody reads them.
        height: Rows of the output.
    """

    rows: int
    events: int
    bounds: int
    ending: int
    ending_bounds: int
    bounds_step: int
    starts: int
    starts_step: int
    drives: int
    potential: int
    threshold: int
    spikes: int
    spikes_step: int
    masks: int
    masks_step: int
    height: int


def _step(builder: Any, lanes: int, model: Any, drive: Any, potential: Any, threshold: Any, places: Any) -> None:
    """One time step of a lane group: clamp, integrate, fire, reset.

    ``model`` is a ``Kind`` without its lanes. The membrane potential is replaced; spikes and the mask are written as bits.
    """
    row, word = ir.VectorType(FLOAT, lanes), ir.IntType(lanes)
    (clamped, hard), (spikes, mask) = (_is_set(builder, flag) for flag in model[:2]), places
    zero, bounds = constant(0.0, lanes), [splat(builder, bound, lanes) for bound in model[2:]]
    above, below = (builder.fcmp_ordered(order, drive, bound) for order, bound in zip("><", bounds, strict=True))
    store(builder, builder.bitcast(builder.and_(above, below), word), mask, align=1)
    least, most = (
        splat(builder, builder.select(clamped, ir.Constant(FLOAT, bound), ir.Constant(FLOAT, infinite)), lanes)
        for bound, infinite in ((0.0, float("-inf")), (1.0, float("inf")))
    )
    drive = builder.select(builder.fcmp_ordered("<", drive, least), least, drive)
    drive = builder.select(builder.fcmp_ordered(">", drive, most), most, drive)
    u, theta = builder.fadd(load(builder, potential, row), drive), load(builder, threshold, row)
    fires = builder.fcmp_ordered(">=", u, theta)
    bits = builder.bitcast(fires, word)  # a whole word: memory that layers share has others' bits above
    store(builder, bits if lanes == WIDE else builder.zext(bits, INT32), spikes, align=4)
    after = builder.select(hard, zero, builder.fsub(u, theta))
    store(builder, builder.select(fires, after, u), potential)


MODEL = (types.int64, types.int64, types.float32, types.float32)
"""The types of a ``Kind`` without its lanes, as intrinsics take it."""


def _is_set(builder: Any, flag: Any) -> Any:
    return builder.icmp_signed("!=", flag, ir.Constant(INT64, 0))


def _fire(lanes: int) -> Any:
    """The intrinsic takes ``(clamped, hard, passes_above, passes_below, drive, potential, threshold, spikes, mask)``."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *model, drive, potential, threshold, spikes, mask = arguments
        value = load(builder, drive, ir.VectorType(FLOAT, lanes))
        _step(builder, lanes, model, value, potential, threshold, (spikes, mask))
        return context.get_dummy_value()

    @intrinsic
    def made(
        _: Any, clamped: Any, hard: Any, above: Any, below: Any, drive: Any, potential: Any, theta: Any, spikes: Any, mask: Any
    ) -> Any:
        return types.void(*MODEL, *[types.int64] * 5), codegen

    return made


def _fire_column(lanes: int) -> Any:
    """The intrinsic takes ``(clamped, hard, passes_above, passes_below, Column)``.

    As rows of events are read from top to bottom, three sums stay in registers: for the drives of the row above, of the row
    itself, and of the row below.
    """
    row, row_bytes, one = ir.VectorType(FLOAT, lanes), lanes * FLOAT_BYTES, ir.Constant(INT64, 1)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *model, packed = arguments
        column = Column(*cgutils.unpack_tuple(builder, packed))
        sums = [cgutils.alloca_once_value(builder, constant(0.0, lanes)) for _ in range(WINDOW)]

        def at(address: Any, number: Any, step: Any) -> Any:
            return builder.add(address, builder.mul(number, step))

        def events_of(bounds: Any, y: Any, listed: Any) -> Any:
            first = at(bounds, y, column.bounds_step)
            last = builder.add(first, ir.Constant(INT64, WINDOW * INT32.width // 8))
            limits = [builder.sext(load(builder, place, INT32), INT64) for place in (first, last)]
            return each_event(builder, listed, *limits)

        stop = builder.add(column.height, ir.Constant(INT64, 2))
        with cgutils.for_range_slice(builder, one, stop, one, INT64) as (y, _):
            with events_of(column.bounds, y, column.events) as (event, _):
                add_taps(builder, lanes, sums, column.rows, event, builder.fadd)
            with events_of(column.ending_bounds, y, column.ending) as (event, _):
                add_taps(builder, lanes, sums, column.rows, event, builder.fsub)
            complete, *rest = (builder.load(total, typ=row) for total in sums)
            with builder.if_then(builder.icmp_signed(">", y, one)):
                out = builder.sub(y, ir.Constant(INT64, 2))
                drive = builder.fadd(load(builder, at(column.starts, out, column.starts_step), row), complete)
                store(builder, drive, at(column.drives, out, ir.Constant(INT64, row_bytes)))
                potential = at(column.potential, out, ir.Constant(INT64, row_bytes))
                places = at(column.spikes, out, column.spikes_step), at(column.masks, out, column.masks_step)
                _step(builder, lanes, model, drive, potential, column.threshold, places)
            for total, value in zip(sums, [*rest, constant(0.0, lanes)], strict=True):
                builder.store(value, total)
        return context.get_dummy_value()

    @intrinsic
    def made(_: Any, clamped: Any, hard: Any, above: Any, below: Any, column: Any) -> Any:
        return types.void(*MODEL, column), codegen

    return made


_fire_narrow, _fire_wide = (_fire(lanes) for lanes in (NARROW, WIDE))
_fire_column_narrow, _fire_column_wide = (_fire_column(lanes) for lanes in (NARROW, WIDE))


@inlined
def fire(kind: Any, drive: int, potential: int, threshold: int, spikes: int, mask: int) -> None:
    """One step of a row of neurons, see ``spiking.neurons``; spikes become bits, and so does the mask of the gradient."""
    _, clamped, hard, above, below = kind
    if kind.lanes == WIDE:
        _fire_wide(clamped, hard, above, below, drive, potential, threshold, spikes, mask)
    else:
        _fire_narrow(clamped, hard, above, below, drive, potential, threshold, spikes, mask)


@inlined
def fire_column(kind: Any, column: Any) -> None:
    """One step of a column of rows of neurons, driven by events."""
    _, clamped, hard, above, below = kind
    if kind.lanes == WIDE:
        _fire_column_wide(clamped, hard, above, below, column)
    else:
        _fire_column_narrow(clamped, hard, above, below, column)
