"""Mutations of bytes, of text and of JSON-like values, for all fuzzers."""

import random
from typing import Any

HOSTILE_NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 0.5, -0.0, 1e308, 5e-324,
    float("inf"), float("-inf"), float("nan"), True, False,
)  # fmt: skip

HOSTILE_TEXTS = (
    "", " ", "\0", "a\0b", "\n", "\x1b[31mred", "../outside", "/etc/passwd", "/dev/zero", "~",
    "[/x]", "[bold]", "<script>alert(1)</script>", "{{ 7 * 7 }}", "';DROP TABLE customers;--",
    "\u202eevil", "\u2066x\u2069", "\ud800", "é" * 300, "a" * 20_000, "nan", "NULL", "N/A", "=1+1",
    "σ", "名前",
)  # fmt: skip


def mutated_bytes(draw: random.Random, content: bytes) -> bytes:
    """Return the bytes with one to four changes: bytes flipped, cut, repeated, moved, inserted."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(data) + 1)
        length = min(draw.choice((1, 1, 2, 4, 8, 64, 1024)), len(data) - start)
        match draw.randrange(6):
            case 0:
                data[start : start + length] = draw.randbytes(length)
            case 1:
                del data[start : start + length]
            case 2:
                data[start:start] = data[start : start + length]
            case 3:
                data[start:start] = draw.randbytes(draw.choice((1, 4, 16)))
            case 4:
                del data[start:]
            case 5:
                target = draw.randrange(len(data) + 1)
                data[target : target + length] = data[start : start + length]
    return bytes(data)


def mutated_value(draw: random.Random, value: Any) -> Any:
    """Return another value for this one: near to it, hostile, or of another type."""
    choices = [
        lambda: draw.choice(HOSTILE_NUMBERS),
        lambda: draw.choice(HOSTILE_TEXTS),
        lambda: None,
        list,
        dict,
        lambda: [value] * draw.choice((1, 2, 100)),
        lambda: {"a": value},
        lambda: str(value),
    ]
    if isinstance(value, int | float) and not isinstance(value, bool):
        choices += [lambda: value + 1, lambda: -value, lambda: value * 1000] * 2
    return draw.choice(choices)()


def mutated_tree(draw: random.Random, tree: Any) -> Any:
    """Return a copy of nested lists and dicts with one place changed, removed, or renamed."""
    if isinstance(tree, dict) and tree and draw.random() < 0.85:
        copy = dict(tree)
        key = draw.choice(list(copy))
        match draw.randrange(8):
            case 0:
                del copy[key]
            case 1:
                copy[draw.choice(HOSTILE_TEXTS)] = copy.pop(key)
            case 2:
                copy[draw.choice(list(copy))] = copy[key]
            case _:
                copy[key] = mutated_tree(draw, copy[key])
        return copy
    if isinstance(tree, list) and tree and draw.random() < 0.85:
        items = list(tree)
        index = draw.randrange(len(items))
        match draw.randrange(6):
            case 0:
                del items[index]
            case 1:
                items.insert(index, items[index])
            case _:
                items[index] = mutated_tree(draw, items[index])
        return items
    return mutated_value(draw, tree)
