"""Vector registers as numba types, so that a kernel controls what stays in registers.

Without them the compiler keeps a score in memory while it runs through the features. Here a
value of type `Floats` is a register of `LANES` float32, and a kernel that holds eight of them
in eight variables keeps them in eight registers. LLVM turns every operation into instructions of
the machine: AVX-512, AVX2, SSE or NEON.

Arrays are C-order, and offsets count elements of the flat array; nothing is checked.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic as untyped_intrinsic
from numba.extending import models, register_model

_CPU = binding.get_host_cpu_features()

LANES = 16 if _CPU.get("avx512f") else 8 if _CPU.get("avx") else 4
"""float32 values in a register of this machine; it holds half as many float64 values."""

EDGES = 16
"""float32 values that `count_below` compares: one register with AVX-512, two with AVX."""

FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(ir.IntType(32), LANES)
_DOUBLES = ir.VectorType(ir.DoubleType(), LANES // 2)

intrinsic: Any = untyped_intrinsic
"""Untyped: a decorated function is called with other arguments than it is defined with."""

Build = Callable[[Any, Any, Any, Any], Any]


class Floats(types.Type):
    """A register of float32."""

    llvm = FLOATS

    def __init__(self) -> None:
        super().__init__(name=f"Floats{LANES}")


class Ints(types.Type):
    """A register of int32."""

    llvm = _INTS

    def __init__(self) -> None:
        super().__init__(name=f"Ints{LANES}")


class Doubles(types.Type):
    """A register of float64."""

    llvm = _DOUBLES

    def __init__(self) -> None:
        super().__init__(name=f"Doubles{LANES // 2}")


@register_model(Floats)
@register_model(Ints)
@register_model(Doubles)
class _InRegister(models.PrimitiveModel):
    def __init__(self, manager: Any, register: Any) -> None:
        super().__init__(manager, register, register.llvm)


in_floats, _ints, _doubles = Floats(), Ints(), Doubles()

_REGISTER_OF: Any = {types.float32: in_floats, types.int32: _ints, types.float64: _doubles}


def pointer(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    """Return the address of an element of an array."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])


def _broadcast(builder: Any, value: Any, register: ir.VectorType) -> Any:
    """Return a register that holds the value in every lane."""
    undefined = ir.Constant(register, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, shuffle_mask([0] * register.count))


def shuffle_mask(indices: list[int]) -> ir.Constant:
    """Return the mask of a shuffle that takes these lanes of two registers."""
    return ir.Constant(ir.VectorType(ir.IntType(32), len(indices)), indices)


@intrinsic
def load(typing: Any, array: Any, offset: Any) -> tuple[Any, Build]:
    """Return a register with the values of the array from `offset` on."""
    register = _REGISTER_OF[array.dtype]

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = pointer(context, builder, signature.args[0], *args)
        return builder.load(builder.bitcast(at, register.llvm.as_pointer()), align=4)

    return register(array, types.intp), build


@intrinsic
def widen(typing: Any, array: Any, offset: Any) -> tuple[Any, Build]:
    """Return float32 or float64 values of the array from `offset` on as a register of float64."""
    is_wide = array.dtype == types.float64
    stored = _DOUBLES if is_wide else ir.VectorType(ir.FloatType(), LANES // 2)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = pointer(context, builder, signature.args[0], *args)
        values = builder.load(builder.bitcast(at, stored.as_pointer()), align=4)
        return values if is_wide else builder.fpext(values, _DOUBLES)

    return _doubles(array, types.intp), build


@intrinsic
def store(typing: Any, array: Any, offset: Any, register: Any) -> tuple[Any, Build]:
    """Write a register to the array from `offset` on."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = pointer(context, builder, signature.args[0], *args[:2])
        builder.store(args[2], builder.bitcast(at, args[2].type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, register), build


@intrinsic
def load_broadcast(typing: Any, array: Any, offset: Any) -> tuple[Any, Build]:
    """Return array[offset] in every lane."""
    register = _REGISTER_OF[array.dtype]

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = pointer(context, builder, signature.args[0], *args)
        return _broadcast(builder, builder.load(at), register.llvm)

    return register(array, types.intp), build


@intrinsic
def broadcast(typing: Any, value: Any) -> tuple[Any, Build]:
    """Return the number in every lane."""
    register = _REGISTER_OF[value]

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _broadcast(builder, args[0], register.llvm)

    return register(value), build


@intrinsic
def add(typing: Any, a: Any, b: Any) -> tuple[Any, Build]:
    """Return a + b."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args)

    return a(a, a), build


@intrinsic
def subtract(typing: Any, a: Any, b: Any) -> tuple[Any, Build]:
    """Return a - b."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fsub(*args)

    return a(a, a), build


@intrinsic
def multiply(typing: Any, a: Any, b: Any) -> tuple[Any, Build]:
    """Return a·b."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return a(a, a), build


@intrinsic
def multiply_add(typing: Any, a: Any, b: Any, c: Any) -> tuple[Any, Build]:
    """Return a·b + c, in one rounding where the machine can."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
        name = f"llvm.fmuladd.v{LANES}f32"
        function: Any = cgutils.get_or_insert_function
        return builder.call(function(builder.module, kind, name), args)

    return in_floats(in_floats, in_floats, in_floats), build


@intrinsic
def select_lt(typing: Any, a: Any, b: Any, then: Any, otherwise: Any) -> tuple[Any, Build]:
    """Return `then` in the lanes where a < b; `otherwise` in the others, also where one is NaN."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return then(a, a, then, otherwise), build


@njit(inline="always")
def larger(a: Any, b: Any) -> Any:
    """Return the larger values; a where one is NaN."""
    return select_lt(a, b, b, a)


@intrinsic
def square_root(typing: Any, a: Any) -> tuple[Any, Build]:
    """Return √a, float32."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(FLOATS, [FLOATS])
        function: Any = cgutils.get_or_insert_function
        return builder.call(function(builder.module, kind, f"llvm.sqrt.v{LANES}f32"), args)

    return in_floats(in_floats), build


@intrinsic
def not_gt_mask(typing: Any, a: Any, b: Any) -> tuple[Any, Build]:
    """Return an int64 with a bit set for each lane where not a > b: less, equal or NaN."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(builder.fcmp_unordered("<=", *args), ir.IntType(a.llvm.count))
        return builder.zext(bits, ir.IntType(64))

    return types.int64(a, a), build


@intrinsic
def count_below(typing: Any, array: Any, offset: Any, value: Any) -> tuple[Any, Build]:
    """Return how many of the `EDGES` values from `offset` on are less than the value, int64."""
    register = ir.VectorType(ir.FloatType(), EDGES)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = pointer(context, builder, signature.args[0], *args[:2])
        values = builder.load(builder.bitcast(at, register.as_pointer()), align=4)
        is_below = builder.fcmp_ordered("<", values, _broadcast(builder, args[2], register))
        bits = builder.bitcast(is_below, ir.IntType(EDGES))
        return builder.zext(builder.ctpop(bits), ir.IntType(64))

    return types.int64(array, types.intp, types.float32), build


@intrinsic
def lowest_bit(typing: Any, bits: Any) -> tuple[Any, Build]:
    """Return the position of the lowest set bit, int64; undefined for zero."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), build


@intrinsic
def prefetch(typing: Any, array: Any, offset: Any) -> tuple[Any, Build]:
    """Start to load the cache line of array[offset]."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = ir.IntType(32)
        byte = ir.IntType(8).as_pointer()
        at = builder.bitcast(pointer(context, builder, signature.args[0], *args), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function: Any = cgutils.get_or_insert_function
        read_keep_data = [ir.Constant(number, value) for value in (0, 3, 1)]
        builder.call(function(builder.module, kind, "llvm.prefetch.p0"), [at, *read_keep_data])
        return context.get_dummy_value()

    return types.void(array, types.intp), build
