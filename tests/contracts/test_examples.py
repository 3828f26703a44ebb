"""The examples in docstrings of the public interface run, and public functions have examples."""

import doctest
import importlib
import pkgutil

import pytest

import gpuseg
from gpuseg import estimators, models

MODULES = [
    "gpuseg",
    *(
        f"{package.__name__}.{module.name}"
        for package in (estimators, models)
        for module in pkgutil.iter_modules(package.__path__)
        if not module.ispkg
    ),
]

WITH_EXAMPLES = [
    name
    for name, module in gpuseg._PUBLIC.items()
    if module.startswith("gpuseg.estimators.") and name != "KMeansSweep"
]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), report=True)
    assert results.failed == 0


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_estimators_have_examples(name: str) -> None:
    docstring = getattr(gpuseg, name).__doc__
    assert "\n    Examples\n    --------\n    >>> import gpuseg\n" in docstring
