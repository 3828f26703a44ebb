"""Every backend implements every method of the protocols in its own files."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytest

from gpuseg.backends import protocols
from gpuseg.backends.backend import Backend

BACKENDS = ("numpy", "numba", "cuda")

PARTS = {
    "device": protocols.Device,
    "columns": protocols.ColumnKernels,
    "centroids": protocols.CentroidKernels,
    "runs": protocols.RunKernels,
    "bins": protocols.BinKernels,
    "neighbors": protocols.NeighborKernels,
    "customers": protocols.CustomerKernels,
    "trees": protocols.TreeKernels,
}
"""The protocol that each file of a backend implements."""

COMPOSED = ("device", "columns", "centroids", "runs", "bins")
"""Parts that callers see as one `Backend`."""

BORROWED = {
    ("numba", "device"): (
        "numpy",
        {"fits", "block_rows", "to_device", "from_foreign", "to_host"},
    ),
    ("numba", "columns"): ("numpy", {"key_histogram"}),
    ("numba", "centroids"): (
        "numpy",
        {"bounds_budget", "bounds_bytes_per_row", "new_bounds", "reset_slack"},
    ),
    ("cuda", "runs"): ("numba", {"choose_in_cells", "iterate", "sum_assignments"}),
    ("cuda", "customers"): ("numba", {"aggregate"}),
    ("cuda", "trees"): ("numba", {"best_splits"}),
}
"""Methods that a part takes from another backend on purpose; no other method may be."""


def load_part(backend: str, part: str) -> type:
    """Return the class that implements a protocol, such as NumbaColumns of numba/columns.py."""
    module = import_module(f"gpuseg.backends.{backend}.{part}")
    kind: type = getattr(module, backend.title() + part.title())
    return kind


def methods_of(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if inspect.isfunction(vars(protocol)[name])} - {
        "__init__",
        "__subclasshook__",
    }


def attributes_of(protocol: type) -> set[str]:
    return set(inspect.get_annotations(protocol))


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    """Return name, kind and default of each parameter but `self`."""
    signature = inspect.signature(function)
    return [(p.name, p.kind, p.default) for p in signature.parameters.values() if p.name != "self"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_has_every_method(backend: str, part: str) -> None:
    kind, protocol = load_part(backend, part), PARTS[part]
    assert methods_of(protocol) | attributes_of(protocol) <= {*dir(kind)}
    for name in methods_of(protocol):
        actual, expected = (parameters(getattr(owner, name)) for owner in (kind, protocol))
        assert actual == expected, f"{kind.__name__}.{name}"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_methods_are_defined_in_the_backend_unless_listed(backend: str, part: str) -> None:
    kind = load_part(backend, part)
    by_backend: dict[str, set[str]] = {}
    for name in methods_of(PARTS[part]):
        home = inspect.unwrap(getattr(kind, name)).__module__.split(".")[2]
        by_backend.setdefault(home, set()).add(name)
    defined = by_backend.pop(backend, set())
    lender, borrowed = BORROWED.get((backend, part), ("", set()))
    assert by_backend == ({lender: borrowed} if borrowed else {})
    assert defined == methods_of(PARTS[part]) - borrowed


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_parts_inherit_from_nothing(backend: str, part: str) -> None:
    assert load_part(backend, part).__bases__ == (object,)


def test_a_backend_composes_all_methods_of_its_parts() -> None:
    parts = [load_part("numpy", part)() for part in COMPOSED]
    backend = Backend("numpy", *parts)
    assert backend.name == "numpy"
    for part, instance in zip(COMPOSED, parts, strict=True):
        for name in methods_of(PARTS[part]) | attributes_of(PARTS[part]):
            assert getattr(backend, name) == getattr(instance, name)
    composed = set[str]().union(
        *(methods_of(PARTS[part]) | attributes_of(PARTS[part]) for part in COMPOSED)
    )
    assert set(vars(backend)) == composed | {"name", *COMPOSED}
