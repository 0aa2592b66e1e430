"""The inner loops of the event-driven kernels, in vector registers.

Numba has no vectors, so these are built in LLVM's intermediate language: a sum stays in registers while rows are added to it,
and a comparison becomes bits. LLVM makes of a vector of 32 floats what the machine has (2 registers with AVX-512, 4 with AVX2).
Addresses are in bytes, rows have ``lanes`` floats, 16 or 32, and bits begin with the lowest.

Kernels call the functions at the end, which choose by ``lanes``: a kernel that had its intrinsics in a closure could not be kept.
"""

from typing import Any

import numpy as np
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


def _load(builder: Any, address: Any, type_: Any, align: int = 4) -> Any:
    align = 1 if isinstance(type_, ir.IntType) else align
    return builder.load(builder.inttoptr(address, ir.PointerType()), typ=type_, align=align)


def _store(builder: Any, value: Any, address: Any, align: int = 4) -> None:
    builder.store(value, builder.inttoptr(address, ir.PointerType()), align=align)


def _splat(builder: Any, value: Any, lanes: int) -> Any:
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


def _at(builder: Any, address: Any, index: Any, size: int) -> Any:
    """The address of an element of ``size`` bytes."""
    return builder.add(address, builder.mul(index, ir.Constant(INT64, size)))


def _sum_rows(lanes: int, *, scaled: bool, negative: bool = False) -> Any:
    """``into = start ± Σ rows[event]``, or ``Σ value · rows[event]``, for the events from first to last.

    The intrinsic takes ``(into, start, rows, events, values, first, last)``; events are row numbers (int32), values floats.
    """
    row = ir.VectorType(FLOAT, lanes)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        into, start, rows, events, values, first, last = arguments
        total = cgutils.alloca_once_value(builder, _load(builder, start, row))
        with cgutils.for_range_slice(builder, first, last, ir.Constant(INT64, 1), INT64) as (index, _):
            event = builder.sext(_load(builder, _at(builder, events, index, EVENT_BYTES), INT32), INT64)
            more = _load(builder, _at(builder, rows, event, lanes * FLOAT_BYTES), row)
            so_far = builder.load(total, typ=row)
            if scaled:
                value = _load(builder, _at(builder, values, index, FLOAT_BYTES), FLOAT)
                builder.store(_multiply_add(builder, _splat(builder, value, lanes), more, so_far), total)
            else:
                builder.store(builder.fsub(so_far, more) if negative else builder.fadd(so_far, more), total)
        _store(builder, builder.load(total, typ=row), into)
        return context.get_dummy_value()

    @intrinsic
    def made(_: Any, into: Any, start: Any, rows: Any, events: Any, values: Any, first: Any, last: Any) -> Any:
        return _signature(7), codegen

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
            builder.store(_load(builder, place, row), so_far)
        with cgutils.for_range_slice(builder, ir.Constant(INT64, 0), num, ir.Constant(INT64, 1), INT64) as (index, _):
            offset = builder.sext(_load(builder, _at(builder, offsets, index, EVENT_BYTES), INT32), INT64)
            value = _splat(builder, _load(builder, _at(builder, values, index, FLOAT_BYTES), FLOAT), lanes)
            for r, so_far in enumerate(sums):
                address = builder.add(builder.add(rows, offset), builder.mul(stride, ir.Constant(INT64, r)))
                before = builder.load(so_far, typ=row)
                if bits:
                    where = builder.bitcast(_load(builder, address, word), ir.VectorType(ir.IntType(1), lanes))
                    builder.store(builder.select(where, builder.fadd(before, value), before), so_far)
                else:
                    builder.store(_multiply_add(builder, value, _load(builder, address, row), before), so_far)
        for place, so_far in zip(places, sums, strict=True):
            _store(builder, builder.load(so_far, typ=row), place)
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
        before, values = _load(builder, into, row), _load(builder, more, row)
        if bits:
            where = builder.bitcast(_load(builder, mask, word), ir.VectorType(ir.IntType(1), lanes))
            after = builder.select(where, builder.fadd(before, values), before)
        else:
            after = _multiply_add(builder, values, _load(builder, mask, row), before)
        _store(builder, after, into)
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
        d, theta = _load(builder, drive, row), _load(builder, threshold, row)
        if clamped:
            above, below = builder.fcmp_ordered(">", d, zero), builder.fcmp_ordered("<", d, one)
            _store(builder, builder.bitcast(builder.and_(above, below), word), mask, align=1)
            d = builder.select(below, builder.select(above, d, zero), one)
        u = builder.fadd(_load(builder, potential, row), d)
        fires = builder.fcmp_ordered(">=", u, theta)
        _store(builder, builder.bitcast(fires, word), spikes, align=1)
        after = zero if hard else builder.fsub(u, theta)
        _store(builder, builder.select(fires, after, u), potential)
        return context.get_dummy_value()

    @intrinsic
    def made(_: Any, drive: Any, potential: Any, threshold: Any, spikes: Any, mask: Any) -> Any:
        return _signature(5), codegen

    return made


@intrinsic
def lowest_bit(_: Any, word: Any) -> Any:
    """The number of the lowest bit that is set in a uint32 other than 0."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1)), INT64)

    return types.int64(types.uint32), codegen


BITS_OF_BYTES = np.zeros((256, 8), dtype=np.uint8)
"""The numbers of the bits that are set in every byte, one after the other."""
for _byte in range(256):
    _bits = [bit for bit in range(8) if _byte >> bit & 1]
    BITS_OF_BYTES[_byte, : len(_bits)] = _bits


@intrinsic
def _list_bits(_: Any, word: Any, first: Any, into: Any, table: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, first, into, table = arguments
        row = ir.VectorType(INT32, 8)
        before = ir.Constant(INT32, 0)
        for byte in range(4):
            value = builder.and_(builder.lshr(word, ir.Constant(INT32, 8 * byte)), ir.Constant(INT32, 255))
            numbers = _load(builder, _at(builder, table, builder.zext(value, INT64), 8), ir.VectorType(ir.IntType(8), 8), align=1)
            start = builder.add(builder.trunc(first, INT32), ir.Constant(INT32, 8 * byte))
            listed = builder.add(builder.zext(numbers, row), _splat(builder, start, 8))
            _store(builder, listed, _at(builder, into, builder.zext(before, INT64), EVENT_BYTES))
            before = builder.add(before, builder.ctpop(value))
        return builder.zext(before, INT64)

    return types.int64(types.uint32, types.int64, types.int64, types.int64), codegen


@inlined
def list_bits(word: int, first: int, into: int) -> int:
    """Write ``first`` plus the number of every bit that is set, as int32, and up to 8 of any value; how many there are."""
    num: int = _list_bits(word, first, into, BITS_OF_BYTES.ctypes.data)
    return num


COPIED_AT_ONCE = 16


@intrinsic
def copy_events(_: Any, into: Any, source: Any, num: Any, more: Any) -> Any:
    """Copy so many int32 from one address to another, adding ``more`` to each; up to 15 of any value are written behind them."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        into, source, num, more = arguments
        row = ir.VectorType(INT32, COPIED_AT_ONCE)
        many = _splat(builder, builder.trunc(more, INT32), COPIED_AT_ONCE)
        with cgutils.for_range_slice(builder, ir.Constant(INT64, 0), num, ir.Constant(INT64, COPIED_AT_ONCE), INT64) as (
            index,
            _,
        ):
            copied = builder.add(_load(builder, _at(builder, source, index, EVENT_BYTES), row), many)
            _store(builder, copied, _at(builder, into, index, EVENT_BYTES))
        return context.get_dummy_value()

    return _signature(4), codegen


NARROW, WIDE = 16, 32
_sum_narrow, _sum_wide = (_sum_rows(lanes, scaled=False) for lanes in (NARROW, WIDE))
_subtract_narrow, _subtract_wide = (_sum_rows(lanes, scaled=False, negative=True) for lanes in (NARROW, WIDE))
_sum_scaled_narrow, _sum_scaled_wide = (_sum_rows(lanes, scaled=True) for lanes in (NARROW, WIDE))
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
def subtract_rows(lanes: int, into: int, rows: int, events: int, first: int, last: int) -> None:
    """``into -= Σ rows[event]`` for the events from first to last."""
    if lanes == WIDE:
        _subtract_wide(into, into, rows, events, 0, first, last)
    else:
        _subtract_narrow(into, into, rows, events, 0, first, last)


@inlined
def sum_scaled_rows(lanes: int, into: int, start: int, rows: int, events: int, values: int, first: int, last: int) -> None:
    """``into = start + Σ value · rows[event]`` for the events from first to last."""
    if lanes == WIDE:
        _sum_scaled_wide(into, start, rows, events, values, first, last)
    else:
        _sum_scaled_narrow(into, start, rows, events, values, first, last)


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
