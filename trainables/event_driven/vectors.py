"""The inner loops of the event-driven kernels, in vector registers.

Numba has no vectors, so these are built in LLVM's intermediate language: a sum stays in registers while rows are added to it,
and a comparison becomes bits. LLVM makes of a vector of 32 floats what the machine has (2 registers with AVX-512, 4 with AVX2).
Addresses are in bytes, rows have ``lanes`` floats, 16 or 32, and bits begin with the lowest.

Kernels call the functions at the end, which choose by ``lanes``: a kernel that had its intrinsics in a closure could not be kept.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from trainables.event_driven.compiling import inlined

FLOAT = ir.FloatType()
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
FLOAT_BYTES = 4
EVENT_BYTES = 4
TAPS = 3
"""The rows of a window."""


def load(builder: Any, address: Any, type_: Any, align: int = 4) -> Any:
    align = 1 if isinstance(type_, ir.IntType) else align
    return builder.load(builder.inttoptr(address, ir.PointerType()), typ=type_, align=align)


def store(builder: Any, value: Any, address: Any, align: int = 4) -> None:
    builder.store(value, builder.inttoptr(address, ir.PointerType()), align=align)


def splat(builder: Any, value: Any, lanes: int) -> Any:
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    vector = builder.insert_element(nothing, value, ir.Constant(INT32, 0))
    return builder.shuffle_vector(vector, nothing, ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes))


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """The sum a · b + c, in one operation where the machine has it."""
    type_ = ir.FunctionType(a.type, [a.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, type_, f"llvm.fmuladd.v{a.type.count}f32")
    return builder.call(function, [a, b, c])


def _constant(value: float, lanes: int) -> Any:
    return ir.Constant(ir.VectorType(FLOAT, lanes), [value] * lanes)


def _signature(num_arguments: int) -> Any:
    return types.void(*[types.int64] * num_arguments)


def address_of(builder: Any, address: Any, index: Any, size: int) -> Any:
    """The address of an element of ``size`` bytes."""
    return builder.add(address, builder.mul(index, ir.Constant(INT64, size)))


def _sum_rows(lanes: int, *, scaled: bool) -> Any:
    """``into = start + Σ rows[event]``, or ``Σ value · rows[event]``, for the events from first to last.

    The intrinsic takes ``(into, start, rows, events, values, first, last)``; events are row numbers (int32), values floats.
    """
    row = ir.VectorType(FLOAT, lanes)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        into, start, rows, events, values, first, last = arguments
        total = cgutils.alloca_once_value(builder, load(builder, start, row))
        with cgutils.for_range_slice(builder, first, last, ir.Constant(INT64, 1), INT64) as (index, _):
            event = builder.sext(load(builder, address_of(builder, events, index, EVENT_BYTES), INT32), INT64)
            more = load(builder, address_of(builder, rows, event, lanes * FLOAT_BYTES), row)
            so_far = builder.load(total, typ=row)
            if scaled:
                value = load(builder, address_of(builder, values, index, FLOAT_BYTES), FLOAT)
                builder.store(_multiply_add(builder, splat(builder, value, lanes), more, so_far), total)
            else:
                builder.store(builder.fadd(so_far, more), total)
        store(builder, builder.load(total, typ=row), into)
        return context.get_dummy_value()

    @intrinsic
    def made(_: Any, into: Any, start: Any, rows: Any, events: Any, values: Any, first: Any, last: Any) -> Any:
        return _signature(7), codegen

    return made


def _add_taps(lanes: int, *, scaled: bool) -> Any:
    """``into[k] += Σ rows[event, k]`` for the three rows of every event from first to last, one for each of three sums.

    The intrinsic takes ``(into 0, into 1, into 2, rows, events, first, last, others, start, stop)``. With ``scaled`` others are
    the events' values, which their rows are multiplied with; else events from start to stop, whose rows are subtracted.
    """
    row = ir.VectorType(FLOAT, lanes)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        places, (rows, events, first, last, others, start, stop) = arguments[:TAPS], arguments[TAPS:]
        sums = [cgutils.alloca_once(builder, row) for _ in places]
        for place, total in zip(places, sums, strict=True):
            builder.store(load(builder, place, row), total)

        def over(listed: Any, begin: Any, end: Any, combine: Callable[[Any, Any, Any], Any]) -> None:
            with cgutils.for_range_slice(builder, begin, end, ir.Constant(INT64, 1), INT64) as (index, _):
                event = builder.sext(load(builder, address_of(builder, listed, index, EVENT_BYTES), INT32), INT64)
                address = address_of(builder, rows, event, TAPS * lanes * FLOAT_BYTES)
                for tap, total in enumerate(sums):
                    more = load(builder, builder.add(address, ir.Constant(INT64, tap * lanes * FLOAT_BYTES)), row)
                    builder.store(combine(index, builder.load(total, typ=row), more), total)

        def multiplied(index: Any, total: Any, more: Any) -> Any:
            value = load(builder, address_of(builder, others, index, FLOAT_BYTES), FLOAT)
            return _multiply_add(builder, splat(builder, value, lanes), more, total)

        over(events, first, last, multiplied if scaled else lambda _, total, more: builder.fadd(total, more))
        if not scaled:
            over(others, start, stop, lambda _, total, more: builder.fsub(total, more))
        for place, total in zip(places, sums, strict=True):
            store(builder, builder.load(total, typ=row), place)
        return context.get_dummy_value()

    @intrinsic
    def made(
        _: Any, a: Any, b: Any, c: Any, rows: Any, events: Any, first: Any, last: Any, others: Any, start: Any, stop: Any
    ) -> Any:
        return _signature(10), codegen

    return made


def _move_sum(lanes: int) -> Any:
    """``into = start + more; more = 0``. The intrinsic takes ``(into, start, more)``."""
    row = ir.VectorType(FLOAT, lanes)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        into, start, more = arguments
        store(builder, builder.fadd(load(builder, start, row), load(builder, more, row)), into)
        store(builder, _constant(0.0, lanes), more)
        return context.get_dummy_value()

    @intrinsic
    def made(_: Any, into: Any, start: Any, more: Any) -> Any:
        return _signature(3), codegen

    return made


def _add_rows(lanes: int, num_rows: int, *, bits: bool) -> Any:
    """``into[r] += value · row`` for the rows at ``rows + offset + r · stride`` and events from 0 to num.

    The intrinsic takes ``(into, into_stride, rows, stride, offsets, values, num)``, strides in bytes; with ``bits`` a row is one
    bit a lane, else one float.
    """
    row, word = ir.VectorType(FLOAT, lanes), ir.IntType(lanes)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        into, into_stride, rows, stride, offsets, values, num = arguments
        sums = [cgutils.alloca_once(builder, row) for _ in range(num_rows)]
        places = [builder.add(into, builder.mul(into_stride, ir.Constant(INT64, r))) for r in range(num_rows)]
        for place, so_far in zip(places, sums, strict=True):
            builder.store(load(builder, place, row), so_far)
        with cgutils.for_range_slice(builder, ir.Constant(INT64, 0), num, ir.Constant(INT64, 1), INT64) as (index, _):
            offset = builder.sext(load(builder, address_of(builder, offsets, index, EVENT_BYTES), INT32), INT64)
            value = splat(builder, load(builder, address_of(builder, values, index, FLOAT_BYTES), FLOAT), lanes)
            for r, so_far in enumerate(sums):
                address = builder.add(builder.add(rows, offset), builder.mul(stride, ir.Constant(INT64, r)))
                before = builder.load(so_far, typ=row)
                if bits:
                    where = builder.bitcast(load(builder, address, word), ir.VectorType(ir.IntType(1), lanes))
                    builder.store(builder.select(where, builder.fadd(before, value), before), so_far)
                else:
                    builder.store(_multiply_add(builder, value, load(builder, address, row), before), so_far)
        for place, so_far in zip(places, sums, strict=True):
            store(builder, builder.load(so_far, typ=row), place)
        return context.get_dummy_value()

    @intrinsic
    def made(_: Any, into: Any, into_stride: Any, rows: Any, stride: Any, offsets: Any, values: Any, num: Any) -> Any:
        return _signature(7), codegen

    return made


def _add_masked(lanes: int, *, bits: bool) -> Any:
    """``into += row · mask``; with ``bits`` the mask is one bit a lane. The intrinsic takes ``(into, row, mask)``."""
    row, word = ir.VectorType(FLOAT, lanes), ir.IntType(lanes)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        into, more, mask = arguments
        before, values = load(builder, into, row), load(builder, more, row)
        if bits:
            where = builder.bitcast(load(builder, mask, word), ir.VectorType(ir.IntType(1), lanes))
            after = builder.select(where, builder.fadd(before, values), before)
        else:
            after = _multiply_add(builder, values, load(builder, mask, row), before)
        store(builder, after, into)
        return context.get_dummy_value()

    @intrinsic
    def made(_: Any, into: Any, more: Any, mask: Any) -> Any:
        return _signature(3), codegen

    return made


def _fire(lanes: int, *, clamped: bool, hard: bool) -> Any:
    """One step of a row of neurons: clamp, integrate, fire, reset; see ``spiking.neurons``.

    The intrinsic takes ``(drive, potential, threshold, spikes, mask)``: the membrane potential is replaced, the spikes are
    written as bits, and with ``clamped`` so is the mask of the straight-through gradient, 0 < drive < 1.
    """
    row, word = ir.VectorType(FLOAT, lanes), ir.IntType(lanes)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        drive, potential, threshold, spikes, mask = arguments
        zero, one = _constant(0.0, lanes), _constant(1.0, lanes)
        d, theta = load(builder, drive, row), load(builder, threshold, row)
        if clamped:
            above, below = builder.fcmp_ordered(">", d, zero), builder.fcmp_ordered("<", d, one)
            store(builder, builder.bitcast(builder.and_(above, below), word), mask, align=1)
            d = builder.select(below, builder.select(above, d, zero), one)
        u = builder.fadd(load(builder, potential, row), d)
        fires = builder.fcmp_ordered(">=", u, theta)
        bits = builder.bitcast(fires, word)  # a whole word: memory that layers share has others' bits above
        store(builder, bits if lanes == WIDE else builder.zext(bits, INT32), spikes, align=4)
        after = zero if hard else builder.fsub(u, theta)
        store(builder, builder.select(fires, after, u), potential)
        return context.get_dummy_value()

    @intrinsic
    def made(_: Any, drive: Any, potential: Any, threshold: Any, spikes: Any, mask: Any) -> Any:
        return _signature(5), codegen

    return made


NARROW, WIDE = 16, 32
_sum_narrow, _sum_wide = (_sum_rows(lanes, scaled=False) for lanes in (NARROW, WIDE))
_sum_scaled_narrow, _sum_scaled_wide = (_sum_rows(lanes, scaled=True) for lanes in (NARROW, WIDE))
_add_taps_narrow, _add_taps_wide = (_add_taps(lanes, scaled=False) for lanes in (NARROW, WIDE))
_add_scaled_taps_narrow, _add_scaled_taps_wide = (_add_taps(lanes, scaled=True) for lanes in (NARROW, WIDE))
_move_sum_narrow, _move_sum_wide = (_move_sum(lanes) for lanes in (NARROW, WIDE))
_add_bits_narrow, _add_bits_wide = (_add_rows(lanes, 1, bits=True) for lanes in (NARROW, WIDE))
_add_floats_narrow, _add_floats_wide = (_add_rows(lanes, 1, bits=False) for lanes in (NARROW, WIDE))
_add_bits_window_narrow, _add_bits_window_wide = (_add_rows(lanes, 3, bits=True) for lanes in (NARROW, WIDE))
_add_floats_window_narrow, _add_floats_window_wide = (_add_rows(lanes, 3, bits=False) for lanes in (NARROW, WIDE))
_add_by_bits_narrow, _add_by_bits_wide = (_add_masked(lanes, bits=True) for lanes in (NARROW, WIDE))
_add_by_floats_narrow, _add_by_floats_wide = (_add_masked(lanes, bits=False) for lanes in (NARROW, WIDE))
_clamp_narrow, _clamp_wide = (_fire(lanes, clamped=True, hard=False) for lanes in (NARROW, WIDE))
_raw_narrow, _raw_wide = (_fire(lanes, clamped=False, hard=False) for lanes in (NARROW, WIDE))
_clamp_hard_narrow, _clamp_hard_wide = (_fire(lanes, clamped=True, hard=True) for lanes in (NARROW, WIDE))
_raw_hard_narrow, _raw_hard_wide = (_fire(lanes, clamped=False, hard=True) for lanes in (NARROW, WIDE))


@inlined
def sum_rows(lanes: int, into: int, start: int, rows: int, events: int, first: int, last: int) -> None:
    """``into = start + Σ rows[event]`` for the events from first to last."""
    if lanes == WIDE:
        _sum_wide(into, start, rows, events, 0, first, last)
    else:
        _sum_narrow(into, start, rows, events, 0, first, last)


@inlined
def sum_scaled_rows(lanes: int, into: int, start: int, rows: int, events: int, values: int, first: int, last: int) -> None:
    """``into = start + Σ value · rows[event]`` for the events from first to last."""
    if lanes == WIDE:
        _sum_scaled_wide(into, start, rows, events, values, first, last)
    else:
        _sum_scaled_narrow(into, start, rows, events, values, first, last)


@inlined
def add_taps(
    lanes: int, a: int, b: int, c: int, rows: int, events: int, first: int, last: int, ending: int, start: int, stop: int
) -> None:
    """Add the three rows of every event from first to last to a, b and c, and subtract those of the ending ones."""
    if lanes == WIDE:
        _add_taps_wide(a, b, c, rows, events, first, last, ending, start, stop)
    else:
        _add_taps_narrow(a, b, c, rows, events, first, last, ending, start, stop)


@inlined
def add_scaled_taps(lanes: int, a: int, b: int, c: int, rows: int, events: int, first: int, last: int, values: int) -> None:
    """Add the three rows of every event from first to last, times its value, to a, b and c."""
    if lanes == WIDE:
        _add_scaled_taps_wide(a, b, c, rows, events, first, last, values, 0, 0)
    else:
        _add_scaled_taps_narrow(a, b, c, rows, events, first, last, values, 0, 0)


@inlined
def move_sum(lanes: int, into: int, start: int, more: int) -> None:
    """``into = start + more``, and more becomes 0."""
    if lanes == WIDE:
        _move_sum_wide(into, start, more)
    else:
        _move_sum_narrow(into, start, more)


@inlined
def add_row(lanes: int, bits: bool, into: int, rows: int, offsets: int, values: int, num: int) -> None:
    """``into += Σ value · row at (rows + offset)``, rows of bits or of floats."""
    if lanes == WIDE and bits:
        _add_bits_wide(into, 0, rows, 0, offsets, values, num)
    elif lanes == WIDE:
        _add_floats_wide(into, 0, rows, 0, offsets, values, num)
    elif bits:
        _add_bits_narrow(into, 0, rows, 0, offsets, values, num)
    else:
        _add_floats_narrow(into, 0, rows, 0, offsets, values, num)


@inlined
def add_window(lanes: int, bits: bool, into: int, rows: int, stride: int, offsets: int, values: int, num: int) -> None:
    """The same for three rows, ``stride`` bytes apart, into three."""
    if lanes == WIDE and bits:
        _add_bits_window_wide(into, 4 * WIDE, rows, stride, offsets, values, num)
    elif lanes == WIDE:
        _add_floats_window_wide(into, 4 * WIDE, rows, stride, offsets, values, num)
    elif bits:
        _add_bits_window_narrow(into, 4 * NARROW, rows, stride, offsets, values, num)
    else:
        _add_floats_window_narrow(into, 4 * NARROW, rows, stride, offsets, values, num)


@inlined
def add_masked(lanes: int, bits: bool, into: int, row: int, mask: int) -> None:
    """``into += row · mask``, a mask of bits or of floats."""
    if lanes == WIDE and bits:
        _add_by_bits_wide(into, row, mask)
    elif lanes == WIDE:
        _add_by_floats_wide(into, row, mask)
    elif bits:
        _add_by_bits_narrow(into, row, mask)
    else:
        _add_by_floats_narrow(into, row, mask)


@inlined
def fire(lanes: int, clamped: bool, hard: bool, drive: int, potential: int, threshold: int, spikes: int, mask: int) -> None:
    """One step of a row of neurons, see ``spiking.neurons``; spikes become bits, and so does the mask of a clamped drive."""
    if lanes == WIDE and not hard:
        if clamped:
            _clamp_wide(drive, potential, threshold, spikes, mask)
        else:
            _raw_wide(drive, potential, threshold, spikes, mask)
    elif not hard:
        if clamped:
            _clamp_narrow(drive, potential, threshold, spikes, mask)
        else:
            _raw_narrow(drive, potential, threshold, spikes, mask)
    elif lanes == WIDE:
        if clamped:
            _clamp_hard_wide(drive, potential, threshold, spikes, mask)
        else:
            _raw_hard_wide(drive, potential, threshold, spikes, mask)
    elif clamped:
        _clamp_hard_narrow(drive, potential, threshold, spikes, mask)
    else:
        _raw_hard_narrow(drive, potential, threshold, spikes, mask)
