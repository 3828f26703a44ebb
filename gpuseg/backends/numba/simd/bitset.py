"""Sets of up to 64 rows of a tile as the bits of an int64, and an atomic compare-and-swap.

numba's arithmetic cannot handle the sign bit of such sets, and it has no population count.
"""

from typing import Any

from llvmlite import ir
from numba import types

from gpuseg.backends.numba.simd.float32 import Build, intrinsic, pointer

_LONG = ir.IntType(64)


@intrinsic
def count_bits(typing: Any, bits: Any) -> tuple[Any, Build]:
    """Return the number of set bits, int64."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.int64), build


@intrinsic
def clear_lowest_bit(typing: Any, bits: Any) -> tuple[Any, Build]:
    """Return the bits without the lowest set one."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.and_(args[0], builder.sub(args[0], ir.Constant(_LONG, 1)))

    return types.int64(types.int64), build


@intrinsic
def bit(typing: Any, position: Any) -> tuple[Any, Build]:
    """Return the set of one row, int64; `position` is 0 … 63."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.shl(ir.Constant(_LONG, 1), args[0])

    return types.int64(types.int64), build


@intrinsic
def compare_and_swap(typing: Any, array: Any, offset: Any, old: Any, new: Any) -> tuple[Any, Build]:
    """Set array[offset] to `new` if it is `old`, atomically; return the value before, int64."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = pointer(context, builder, signature.args[0], *args[:2])
        outcome = builder.cmpxchg(at, args[2], args[3], "acq_rel", "acquire")
        return builder.extract_value(outcome, 0)

    return types.int64(array, types.intp, types.int64, types.int64), build
