"""Complete fits: the same bits as on the CPU, and their time in full passes."""

import time
from typing import Any

from gpu_check import facts, problems, targets
from gpu_check.facts import Attempts
from gpu_check.inputs import same
from gpu_check.passes import Passes
from gpu_check.problems import OVERLAPPING, ProblemSize
from gpu_check.targets import Target
from gpuseg import KMeans
from gpuseg.backends import registry

_BITS = ProblemSize(10_000_000, 16, 8, 0, 0)
_WHOLE = problems.CASES[0]
_ITERATIONS = 20


def main() -> None:
    """Run both fits."""
    target, attempt = targets.open_target(targets.parser(__doc__).parse_args().emulator), Attempts()
    case = _BITS.with_rows(target.rows(_BITS.rows, problems.FEW_ROWS))
    attempt(f"the CPU's bits, {case.title}", same_bits, target, case)
    case = _WHOLE.with_rows(target.rows(_WHOLE.rows, problems.FEW_ROWS))
    whole = attempt(f"a whole fit, {case.title}", whole_fit, target, case)
    takes = f"a fit takes {whole['full_passes']} full passes" if whole else ""
    attempt.finish(target.figures(takes))


def _model(backend: str = "auto", max_iter: int = _ITERATIONS) -> KMeans:
    """Return a model that stops only when no label changes."""
    return KMeans(8, random_state=0, max_iter=max_iter, tol=0.0, backend=backend)


def same_bits(target: Target, case: ProblemSize) -> dict[str, float]:
    """Fit on the GPU and on the CPU, and compare the results; return the seconds."""
    x = registry.get("cuda").to_host(
        registry.get("cuda").to_device(problems.make_problem(target.xp, case, OVERLAPPING).x)
    )
    fits, took = {}, {}
    for name in ("cuda", "numba"):
        _model(name, 2).fit(x[:100_000])  # compiles
        began = time.perf_counter()
        fits[name] = _model(name).fit(x)
        took[name] = round(time.perf_counter() - began, 2)
    facts.record("fits", case=case.title, seconds=took)
    gpu, cpu = fits["cuda"], fits["numba"]
    same(gpu.cluster_centers_, cpu.cluster_centers_, "centers")
    same(gpu.labels_, cpu.labels_, "labels")
    assert (gpu.inertia_, gpu.n_iter_) == (cpu.inertia_, cpu.n_iter_), "inertia or iterations"
    return took


def whole_fit(target: Target, case: ProblemSize) -> dict[str, Any]:
    """Time a fit of rows on the device, and full passes over them."""
    problem = problems.make_problem(target.xp, case, OVERLAPPING)
    x = target.backend.to_device(problem.x)
    _model(max_iter=2).fit(x[: target.rows(1_000_000, 500)])
    target.clock.wait()
    began = time.perf_counter()
    model = _model().fit(x)
    target.clock.wait()
    took = time.perf_counter() - began
    full = Passes(target, problem, [problem.start]).timed("full").call
    values = {
        "case": case.title,
        "seconds": round(took, 4),
        "iterations": model.n_iter_,
        "full_pass_ms": round(1e3 * full, 3),
        "full_passes": round(took / full, 1),
    }
    facts.record("fit", **values)
    return values


if __name__ == "__main__":
    main()
