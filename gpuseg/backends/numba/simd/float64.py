"""Registers of float64: conversion from float32, and arithmetic that `simd.float32` lacks."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from gpuseg.backends.numba.simd.float32 import (
    LANES,
    Build,
    Doubles,
    Floats,
    in_floats,
    intrinsic,
    pointer,
    shuffle_mask,
)

HALF = LANES // 2
"""float64 values in a register."""

_doubles: Any = Doubles()


def _call(builder: Any, name: str, kind: ir.VectorType, args: Any) -> Any:
    """Call an LLVM intrinsic whose arguments and result are registers of one kind."""
    function_type = ir.FunctionType(kind, [kind] * len(args))
    function: Any = cgutils.get_or_insert_function
    return builder.call(function(builder.module, function_type, name), args)


@intrinsic
def magnitude(typing: Any, value: Any) -> tuple[Any, Build]:
    """Return |value|, float32; NaN stays NaN."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, f"llvm.fabs.v{LANES}f32", Floats.llvm, args)

    return in_floats(in_floats), build


@intrinsic
def halves(typing: Any, value: Any) -> tuple[Any, Build]:
    """Return a register of float32 as two of float64."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        both = []
        for first in (0, HALF):
            mask = shuffle_mask(list(range(first, first + HALF)))
            narrow = builder.shuffle_vector(args[0], args[0], mask)
            both.append(builder.fpext(narrow, Doubles.llvm))
        return context.make_tuple(builder, signature.return_type, both)

    two: Any = types.UniTuple
    return two(_doubles, 2)(in_floats), build


@intrinsic
def square_plus(typing: Any, a: Any, b: Any) -> tuple[Any, Build]:
    """Return a² + b, float64, in one rounding where the machine can."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name = f"llvm.fmuladd.v{HALF}f64"
        return _call(builder, name, Doubles.llvm, [args[0], args[0], args[1]])

    return _doubles(_doubles, _doubles), build


@intrinsic
def divide(typing: Any, a: Any, b: Any) -> tuple[Any, Build]:
    """Return a / b, float64."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fdiv(*args)

    return _doubles(_doubles, _doubles), build


@intrinsic
def store_rounded(typing: Any, array: Any, offset: Any, value: Any) -> tuple[Any, Build]:
    """Write a register of float64 to an array of float32 from `offset` on, rounded."""
    stored = ir.VectorType(ir.FloatType(), HALF)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = pointer(context, builder, signature.args[0], *args[:2])
        rounded = builder.fptrunc(args[2], stored)
        builder.store(rounded, builder.bitcast(at, stored.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, _doubles), build
