"""Rows into registers, feature by feature: a transposition made of shuffles."""

from typing import Any

from llvmlite import ir
from numba import types

from gpuseg.backends.numba.simd.float32 import (
    LANES,
    Build,
    in_floats,
    intrinsic,
    pointer,
    shuffle_mask,
)

_FOUR = ir.VectorType(ir.FloatType(), 4)


@intrinsic
def transpose4(typing: Any, array: Any, starts: Any, first: Any, offset: Any) -> tuple[Any, Build]:
    """Return four registers; register j holds array[starts[first + lane] + offset + j].

    These are four consecutive features of `LANES` rows, feature by feature; `starts`, int64, holds
    the offsets of the rows. Register j first takes four features of rows j, j + 4, j + 8, …;
    within each group of four lanes a 4×4 transposition by two rounds of shuffles follows.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pieces = []
        row_starts = pointer(context, builder, signature.args[1], args[1], args[2])
        for row in range(LANES):
            start = builder.load(builder.gep(row_starts, [ir.Constant(args[2].type, row)]))
            at = builder.add(start, args[3])
            source = pointer(context, builder, signature.args[0], args[0], at)
            pieces.append(builder.load(builder.bitcast(source, _FOUR.as_pointer()), align=4))
        a, b, c, d = (_joined(builder, pieces[j::4]) for j in range(4))
        low, high = _in_fours([0, LANES, 1, LANES + 1]), _in_fours([2, LANES + 2, 3, LANES + 3])
        ab, cd = builder.shuffle_vector(a, b, low), builder.shuffle_vector(c, d, low)
        ab_high, cd_high = builder.shuffle_vector(a, b, high), builder.shuffle_vector(c, d, high)
        first, last = _in_fours([0, 1, LANES, LANES + 1]), _in_fours([2, 3, LANES + 2, LANES + 3])
        features = [
            builder.shuffle_vector(ab, cd, first),
            builder.shuffle_vector(ab, cd, last),
            builder.shuffle_vector(ab_high, cd_high, first),
            builder.shuffle_vector(ab_high, cd_high, last),
        ]
        return context.make_tuple(builder, signature.return_type, features)

    four: Any = types.UniTuple
    return four(in_floats, 4)(array, starts, types.intp, types.intp), build


def _joined(builder: Any, pieces: list[Any]) -> Any:
    """Concatenate short registers to a long one."""
    while len(pieces) > 1:
        width = 2 * pieces[0].type.count
        both = shuffle_mask(list(range(width)))
        pairs = zip(pieces[::2], pieces[1::2], strict=True)
        pieces = [builder.shuffle_vector(a, b, both) for a, b in pairs]
    return pieces[0]


def _in_fours(indices: list[int]) -> ir.Constant:
    """Return the shuffle that takes, in every group of four lanes, the lanes `indices`."""
    return shuffle_mask([group + index for group in range(0, LANES, 4) for index in indices])
