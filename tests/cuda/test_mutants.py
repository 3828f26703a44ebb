"""Check mode or a wrong result detects each of the bugs that are planted in the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TypeVar

import pytest
from emulator.build import included, unavailable
from emulator.launcher import KERNELS, ONE_BLOCK, SMALL
from emulator.report import EmulatorError
from emulator.strict_arrays import StrictLauncher
from support.helpers import in_turn
from support.kernel_cases import CASES, MANY_ROWS, KernelCase, try_out
from support.kernel_mutants import MUTANTS, NEAR_MUTANTS, Mutant, write_mutants
from support.neighbor_cases import NEAR_CASES, NearCase, try_near

from gpuseg.backends.cuda.backend import CudaBackend
from gpuseg.backends.cuda.launcher import Kernel, Limits
from gpuseg.backends.cuda.lloyd import PassKind
from gpuseg.backends.cuda.neighbors import CudaNeighbors

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))

ONE_MULTIPROCESSOR = replace(SMALL, multiprocessors=1)

SCHEDULES = ("up", "fuzz")

ALL_CASES = (*CASES, MANY_ROWS)

CHOICES: tuple[PassKind, ...] = ("auto", "full")
"""With so few rows, only a first pass streams all rows by default."""

MAX_FEATURES = 64
"""Cases with more features have no passes that stream all rows."""


class MutantLauncher(StrictLauncher):
    """Watches every access of the kernels with a mutant, and no others.

    Parameters
    ----------
    mutant : Mutant
    mutants : Path
        Folder of the kernels that have all mutants.
    """

    def __init__(self, mutant: Mutant, mutants: Path, schedule: str, limits: Limits) -> None:
        super().__init__(True, schedule, limits=limits, mutant=mutant.number)
        self.kernels = kernels_with(mutant.file)
        self.mutants = mutants

    def watches(self, kernel: Kernel) -> bool:
        return kernel.name in self.kernels

    def folder_of(self, kernel: Kernel) -> Path:
        return self.mutants if self.watches(kernel) else self.folder


def kernels_with(file: str) -> set[str]:
    """Return the kernels that include a file."""
    (changed,) = KERNELS.rglob(file)
    return {path.stem for path in KERNELS.rglob("*.cu") if changed in included(path, KERNELS)}


@pytest.fixture(scope="module")
def mutants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the kernels that have all mutants."""
    folder = tmp_path_factory.mktemp("mutants") / "kernels"
    write_mutants(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.bug)
def test_mutant_is_caught(
    mutant: Mutant, mutants: Path, record_property: Callable[[str, str], None]
) -> None:
    """The end of the test run lists how each mutant was detected."""
    record_property(mutant.bug, detect(mutant, mutants))


def detect(mutant: Mutant, mutants: Path) -> str:
    """Return the first error that a mutant causes."""
    kernels = kernels_with(mutant.file)
    for schedule, case, choice in product(SCHEDULES, in_order(ALL_CASES, mutant), CHOICES):
        if choice == "full" and ("lloyd_full" not in kernels or case.d > MAX_FEATURES):
            continue  # no such pass, or none that the mutant changes
        launcher = MutantLauncher(mutant, mutants, schedule, ONE_MULTIPROCESSOR)
        try:
            try_out(CudaBackend(launcher, choice), case, kernels)
        except EmulatorError as error:
            return str(error).splitlines()[1].strip()
        except AssertionError as error:
            return f"wrong: {error}".splitlines()[0]
    pytest.fail("the bug was not detected")


@pytest.mark.slow
@pytest.mark.parametrize("mutant", NEAR_MUTANTS, ids=lambda mutant: mutant.bug)
def test_mutant_of_dbscan_is_caught(
    mutant: Mutant, mutants: Path, record_property: Callable[[str, str], None]
) -> None:
    record_property(mutant.bug, detect_in_dbscan(mutant, mutants))


def detect_in_dbscan(mutant: Mutant, mutants: Path) -> str:
    """Return the first error that a mutant of DBSCAN's kernels causes."""
    for schedule, case in product(SCHEDULES, in_order(NEAR_CASES, mutant)):
        launcher = MutantLauncher(mutant, mutants, schedule, ONE_BLOCK)
        try:
            try_near(CudaNeighbors(launcher), case)
        except EmulatorError as error:
            return str(error).splitlines()[1].strip()
        except AssertionError as error:
            return f"wrong: {error}".splitlines()[0]
    pytest.fail("the bug was not detected")


T = TypeVar("T")


def in_order(cases: Sequence[T], mutant: Mutant) -> list[T]:
    """Return all cases, the mutant's case first."""
    return [cases[mutant.case], *(cases[i] for i in range(len(cases)) if i != mutant.case)]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "schedule", "choice"), in_turn(ALL_CASES, SCHEDULES, CHOICES))
def test_kernels_pass_without_a_mutant(
    case: KernelCase, schedule: str, choice: PassKind, mutants: Path
) -> None:
    if choice == "full" and case.d > MAX_FEATURES:
        pytest.skip("there is no such pass")
    launcher = StrictLauncher(True, schedule, folder=mutants, limits=ONE_MULTIPROCESSOR)
    try_out(CudaBackend(launcher, choice), case, {"lloyd_full"} if choice == "full" else ())


@pytest.mark.slow
@pytest.mark.parametrize(("case", "schedule"), in_turn(NEAR_CASES, SCHEDULES, step=2))
def test_kernels_of_dbscan_pass_without_a_mutant(
    case: NearCase, schedule: str, mutants: Path
) -> None:
    launcher = StrictLauncher(True, schedule, folder=mutants, limits=ONE_BLOCK)
    try_near(CudaNeighbors(launcher), case)
