"""Time passes at full size, and compare with limits of the device measured in the same run."""

from dataclasses import asdict
from typing import Any

import numpy as np

from gpu_check import ceilings, problems, targets
from gpu_check.ceilings import Ceilings
from gpu_check.facts import Attempts, record
from gpu_check.loaded import form, function
from gpu_check.passes import KINDS, Passes, Timed
from gpu_check.problems import Problem, ProblemSize
from gpu_check.targets import Target

RESTARTS = 8
_CARVEOUTS = (-1, 100)
"""The default of the driver, and all of the L1 cache as shared memory."""


def main() -> None:
    """Measure both cases; `--share` uses a part of the rows."""
    parser = targets.parser(__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the rows")
    arguments = parser.parse_args()
    target, attempt = targets.open_target(arguments.emulator), Attempts()
    limits = attempt("measuring", ceilings.measured, target)
    if limits is None:
        attempt.finish()
        return
    record("ceilings", emulated=target.emulated, **asdict(limits))
    shares = []
    for full in problems.CASES:
        case = full.with_rows(target.rows(int(full.rows * arguments.share), problems.FEW_ROWS))
        share = attempt(case.title, measure, target, case, limits, attempt)
        shares.append(f"{case.title}: full pass {share:.0%} of the bound" if share else case.title)
    attempt.finish(target.figures("; ".join(shares)))


def measure(target: Target, case: ProblemSize, limits: Ceilings, attempt: Attempts) -> float:
    """Measure one case; return the share of the bound that its full pass reaches."""
    problem = problems.make_problem(target.xp, case)
    passes = Passes(target, problem, [problem.start])
    one = {kind: passes.timed(kind) for kind in KINDS}
    for kind, timed in one.items():
        record_pass(case, kind, passes, timed, limits)
    if not target.emulated:
        attempt(f"{case.title}, L1 cache as shared memory", carveouts, target, passes, one["full"])
    attempt(f"{case.title}, restarts", restarts, target, problem, one, limits)
    return limits.bound(case)[0] / one["full"].call


def record_pass(
    case: ProblemSize, kind: str, passes: Passes, timed: Timed, limits: Ceilings
) -> None:
    """Record the time of a pass, the bound of a full pass, and the bytes that it moves."""
    bound, by = limits.bound(case, len(passes.bounds))
    moved = passes.bytes_moved(kind)
    record(
        "pass", case=case.title, kind=kind, runs=len(passes.bounds),
        call_ms=_ms(timed.call), kernels_ms=_ms(timed.kernels),
        best_kernels_ms=_ms(timed.best_kernels), bound_ms=_ms(bound), bound_by=by,
        share=round(bound / timed.call, 3), kernels_share=round(bound / timed.kernels, 3),
        bytes_per_row=round(moved / case.rows, 1), moved_GB_s=round(moved / timed.kernels / 1e9),
        share_of_copy=round(moved / timed.kernels / limits.copy, 3),
        kernels=[f"{form(launch.kernel)}, {launch.blocks} blocks" for launch in timed.launches],
    )  # fmt: skip


def carveouts(target: Target, passes: Passes, full: Timed) -> dict[str, dict[str, float]]:
    """Time full passes with the default L1 cache, and with all of it as shared memory."""
    functions = [function(target, launch.kernel) for launch in full.launches]
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
    target: Target, problem: Problem, one: dict[str, Timed], limits: Ceilings
) -> dict[str, Any]:
    """Time passes of several runs together; return the ratios to the times of one run."""
    random, start = np.random.default_rng(1), problem.start
    starts = [start + 0.1 * random.normal(size=start.shape) for _ in range(RESTARTS)]
    passes, ratios = Passes(target, problem, starts), {}
    for kind in KINDS:
        timed = passes.timed(kind)
        record_pass(problem.case, kind, passes, timed, limits)
        ratios[kind] = round(timed.call / one[kind].call, 2)
    record("restarts", case=problem.case.title, runs=RESTARTS, times_one=ratios)
    return ratios


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 3)


if __name__ == "__main__":
    main()
