"""Lists of the bits that are set in a word, eight at a time; see ``vectors`` for how."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from trainables.kernels.cpu.compiled.compiling import inlined
from trainables.kernels.cpu.compiled.vectors import EVENT_BYTES, INT32, INT64, address_of, load, splat, store


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
            numbers = load(
                builder, address_of(builder, table, builder.zext(value, INT64), 8), ir.VectorType(ir.IntType(8), 8), align=1
            )
            start = builder.add(builder.trunc(first, INT32), ir.Constant(INT32, 8 * byte))
            listed = builder.add(builder.zext(numbers, row), splat(builder, start, 8))
            store(builder, listed, address_of(builder, into, builder.zext(before, INT64), EVENT_BYTES))
            before = builder.add(before, builder.ctpop(value))
        return builder.zext(before, INT64)

    return types.int64(types.uint32, types.int64, types.int64, types.int64), codegen


@inlined
def list_bits(word: int, first: int, into: int) -> int:
    """Write ``first`` plus the number of every bit that is set, as int32, and up to 8 of any value; how many there are."""
    num: int = _list_bits(word, first, into, BITS_OF_BYTES.ctypes.data)
    return num
