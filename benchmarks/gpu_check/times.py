"""The passes' times at full size, beside what the device can do, measured in the same run."""

from dataclasses import asdict
from typing import Any

import numpy as np

from gpu_check import ceilings, place, problems
from gpu_check.ceilings import Ceilings
from gpu_check.facts import Attempts, say
from gpu_check.loaded import form, function
from gpu_check.passes import KINDS, Passes, Timed
from gpu_check.place import Place
from gpu_check.problems import Case, Problem

RESTARTS = 8
_CARVEOUTS = (-1, 100)
"""The driver's choice, and all of the L1 cache as shared memory."""


def main() -> None:
    """Measure both cases; `--share` takes a part of the rows."""
    parser = place.parser(__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the rows")
    asked = parser.parse_args()
    at, attempt = place.taken(asked.emulator), Attempts()
    limits = attempt("measuring", ceilings.measured, at)
    if limits is None:
        attempt.finish()
        return
    say("ceilings", emulated=at.emulated, **asdict(limits))
    shares = []
    for full in problems.CASES:
        case = full.of(at.rows(int(full.rows * asked.share), problems.FEW_ROWS))
        share = attempt(f"{case.title} as a whole", measure, at, case, limits, attempt)
        shares.append(f"{case.title}: full pass {share:.0%} of the bound" if share else case.title)
    attempt.finish(at.figures("; ".join(shares)))


def measure(at: Place, case: Case, limits: Ceilings, attempt: Attempts) -> float:
    """Measure one case; return the share of the bound that its full pass reaches."""
    problem = problems.made(at.xp, case)
    passes = Passes(at, problem, [problem.start])
    one = {kind: passes.timed(kind) for kind in KINDS}
    for kind, timed in one.items():
        tell(case, kind, passes, timed, limits)
    if not at.emulated:
        attempt(f"{case.title}, L1 cache as shared memory", carveouts, at, passes, one["full"])
    attempt(f"{case.title}, restarts", restarts, at, problem, one, limits)
    return limits.bound(case)[0] / one["full"].call


def tell(case: Case, kind: str, passes: Passes, timed: Timed, limits: Ceilings) -> None:
    """Say what a pass took, beside the bound of a full one and the bytes that it moves."""
    bound, by = limits.bound(case, len(passes.memories))
    moved = passes.bytes_moved(kind)
    say(
        "pass", case=case.title, kind=kind, runs=len(passes.memories),
        call_ms=_ms(timed.call), kernels_ms=_ms(timed.kernels),
        best_kernels_ms=_ms(timed.best_kernels), bound_ms=_ms(bound), bound_by=by,
        share=round(bound / timed.call, 3), kernels_share=round(bound / timed.kernels, 3),
        bytes_per_row=round(moved / case.rows, 1), moved_GB_s=round(moved / timed.kernels / 1e9),
        share_of_copy=round(moved / timed.kernels / limits.copy, 3),
        kernels=[f"{form(launch.kernel)}, {launch.blocks} blocks" for launch in timed.launches],
    )  # fmt: skip


def carveouts(at: Place, passes: Passes, full: Timed) -> dict[str, dict[str, float]]:
    """Time full passes with the L1 cache shared out by the driver, and all as shared memory."""
    functions = [function(at, launch.kernel) for launch in full.launches]
    before = [kernel.preferred_shared_memory_carveout for kernel in functions]
    took = {}
    for percent in _CARVEOUTS:
        for kernel in functions:
            kernel.preferred_shared_memory_carveout = percent
        timed = passes.timed("full")
        took[str(percent)] = {"call_ms": _ms(timed.call), "kernels_ms": _ms(timed.kernels)}
    for kernel, percent in zip(functions, before, strict=True):
        kernel.preferred_shared_memory_carveout = percent
    return took


def restarts(
    at: Place, problem: Problem, one: dict[str, Timed], limits: Ceilings
) -> dict[str, Any]:
    """Time passes of several runs together; return how many times one run's time they take."""
    random, start = np.random.default_rng(1), problem.start
    starts = [start + 0.1 * random.normal(size=start.shape) for _ in range(RESTARTS)]
    passes, ratios = Passes(at, problem, starts), {}
    for kind in KINDS:
        timed = passes.timed(kind)
        tell(problem.case, kind, passes, timed, limits)
        ratios[kind] = round(timed.call / one[kind].call, 2)
    say("restarts", case=problem.case.title, runs=RESTARTS, times_one=ratios)
    return ratios


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 3)


if __name__ == "__main__":
    main()
