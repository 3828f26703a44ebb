"""Change scikit-learn's modules when they are imported, or now if they are already."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES = (
    "sklearn.cluster._kmeans",
    "sklearn.cluster._dbscan",
    "sklearn.metrics.cluster._unsupervised",
)
"""The modules with names that are replaced; see `gpuseg.accel.replacements`."""


class _Finder(MetaPathFinder):
    """Finds what the other finders find, and has the module changed once it has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in MODULES:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            _change_after_run(spec.loader)
        return spec


def _change_after_run(loader: Any) -> None:
    run = loader.exec_module

    def run_and_change(module: ModuleType) -> None:
        run(module)
        _change(module)

    loader.exec_module = run_and_change


def _change(module: ModuleType) -> None:
    from gpuseg.accel.replacements import replace_names

    replace_names(module)


_finder = _Finder()


def change_modules() -> None:
    """Change the modules that are imported, and those that will be."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    for name in MODULES:
        if name in sys.modules:
            _change(sys.modules[name])


def restore_modules() -> None:
    """Change the modules back, and no others."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    if any(name in sys.modules for name in MODULES):
        from gpuseg.accel.replacements import restore_names

        restore_names()
