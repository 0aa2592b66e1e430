"""The inner loops of the event-driven kernels, in vector registers.

Numba has no vectors, so these are built in LLVM's intermediate language: a sum stays in registers while rows are added to it,
and a comparison becomes bits. LLVM makes of a vector of 32 floats what the machine has (2 registers with AVX-512, 4 with AVX2).
Addresses are in bytes, rows have ``lanes`` floats, 16 or 32, and bits begin with the lowest.

Kernels call the functions at the end, which choose by ``lanes``: Numba cannot cache a kernel that takes an intrinsic from a
closure.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from trainables.kernels.cpu.compiled.compiling import inlined

FLOAT = ir.FloatType()
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
FLOAT_BYTES = 4
EVENT_BYTES = 4
WINDOW = 3
"""Its rows, and its columns."""


def load(builder: Any, address: Any, type_: Any, align: int = 4) -> Any:
    """The value of an LLVM type at an address (an integer, in bytes); ``align`` holds for floats, integers may lie anywhere."""
    align = 1 if isinstance(type_, ir.IntType) else align
    return builder.load(builder.inttoptr(address, ir.PointerType()), typ=type_, align=align)


def store(builder: Any, value: Any, address: Any, align: int = 4) -> None:
    """Write a value to an address, an integer in bytes that is a multiple of ``align``."""
    builder.store(value, builder.inttoptr(address, ir.PointerType()), align=align)


def splat(builder: Any, value: Any, lanes: int) -> Any:
    """A vector of ``lanes`` elements that all have the same value, known when the kernel runs."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    vector = builder.insert_element(nothing, value, ir.Constant(INT32, 0))
    return builder.shuffle_vector(vector, nothing, ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes))


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """The sum a · b + c, in one operation where the machine has it."""
    type_ = ir.FunctionType(a.type, [a.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, type_, f"llvm.fmuladd.v{a.type.count}f32")
    return builder.call(function, [a, b, c])


def constant(value: float, lanes: int) -> Any:
    """A vector of ``lanes`` floats that all have the same value, known when the kernel is compiled."""
    return ir.Constant(ir.VectorType(FLOAT, lanes), [value] * lanes)


def signature_of(num_arguments: int) -> Any:
    """The signature of an intrinsic that takes ``num_arguments`` integers and returns nothing."""
    return types.void(*[types.int64] * num_arguments)


def address_of(builder: Any, address: Any, index: Any, size: int) -> Any:
    """The address of an element of ``size`` bytes."""
    return builder.add(address, builder.mul(index, ir.Constant(INT64, size)))


@contextmanager
def each_event(builder: Any, events: Any, first: Any, last: Any) -> Iterator[tuple[Any, Any]]:
    """A loop over a short list: an event's number of its rows, and its own number.

    Assembly without instructions hides the loop's count from LLVM, which would unroll it: then the processor has two
    loop ends to predict, of four events and of the rest, and every wrong guess costs as much as two events.
    """
    with cgutils.for_range_slice(builder, first, last, ir.Constant(INT64, 1), INT64) as (counter, _):
        index = builder.asm(ir.FunctionType(INT64, [INT64]), "", "=r,0", [counter], True)
        yield builder.sext(load(builder, address_of(builder, events, index, EVENT_BYTES), INT32), INT64), index


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
        return signature_of(7), codegen

    return made


def add_taps(builder: Any, lanes: int, sums: list[Any], rows: Any, event: Any, combine: Callable[[Any, Any], Any]) -> None:
    """Combine the three rows of an event, one behind the other, with three sums."""
    address = address_of(builder, rows, event, WINDOW * lanes * FLOAT_BYTES)
    row = ir.VectorType(FLOAT, lanes)
    for tap, total in enumerate(sums):
        more = load(builder, builder.add(address, ir.Constant(INT64, tap * lanes * FLOAT_BYTES)), row)
        builder.store(combine(builder.load(total, typ=row), more), total)


def _add_scaled_taps(lanes: int) -> Any:
    """``into[k] += Σ value · rows[event, k]`` for the three rows of every event from first to last, one for each of three sums.

    The intrinsic takes ``(into 0, into 1, into 2, rows, events, values, first, last)``.
    """
    row = ir.VectorType(FLOAT, lanes)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        places, (rows, events, values, first, last) = arguments[:WINDOW], arguments[WINDOW:]
        sums = [cgutils.alloca_once_value(builder, load(builder, place, row)) for place in places]
        with each_event(builder, events, first, last) as (event, index):
            value = splat(builder, load(builder, address_of(builder, values, index, FLOAT_BYTES), FLOAT), lanes)
            add_taps(builder, lanes, sums, rows, event, lambda so_far, more: _multiply_add(builder, value, more, so_far))
        for place, total in zip(places, sums, strict=True):
            store(builder, builder.load(total, typ=row), place)
        return context.get_dummy_value()

    @intrinsic
    def made(_: Any, a: Any, b: Any, c: Any, rows: Any, events: Any, values: Any, first: Any, last: Any) -> Any:
        return signature_of(8), codegen

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
        return signature_of(7), codegen

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
        return signature_of(3), codegen

    return made


NARROW, WIDE = 16, 32
_sum_narrow, _sum_wide = (_sum_rows(lanes, scaled=False) for lanes in (NARROW, WIDE))
_sum_scaled_narrow, _sum_scaled_wide = (_sum_rows(lanes, scaled=True) for lanes in (NARROW, WIDE))
_add_scaled_taps_narrow, _add_scaled_taps_wide = (_add_scaled_taps(lanes) for lanes in (NARROW, WIDE))
_add_bits_narrow, _add_bits_wide = (_add_rows(lanes, 1, bits=True) for lanes in (NARROW, WIDE))
_add_floats_narrow, _add_floats_wide = (_add_rows(lanes, 1, bits=False) for lanes in (NARROW, WIDE))
_add_bits_window_narrow, _add_bits_window_wide = (_add_rows(lanes, 3, bits=True) for lanes in (NARROW, WIDE))
_add_floats_window_narrow, _add_floats_window_wide = (_add_rows(lanes, 3, bits=False) for lanes in (NARROW, WIDE))
_add_by_bits_narrow, _add_by_bits_wide = (_add_masked(lanes, bits=True) for lanes in (NARROW, WIDE))
_add_by_floats_narrow, _add_by_floats_wide = (_add_masked(lanes, bits=False) for lanes in (NARROW, WIDE))


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
def add_scaled_taps(lanes: int, a: int, b: int, c: int, rows: int, events: int, first: int, last: int, values: int) -> None:
    """Add the three rows of every event from first to last, times its value, to a, b and c."""
    if lanes == WIDE:
        _add_scaled_taps_wide(a, b, c, rows, events, values, first, last)
    else:
        _add_scaled_taps_narrow(a, b, c, rows, events, values, first, last)


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
    """Add weighted rows to three sums at once: for each event three rows of weights, ``stride`` bytes apart."""
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
