"""Whole fits: the same bits as on the CPU, and their time in full passes."""

import time
from typing import Any

from gpu_check import facts, place, problems
from gpu_check.facts import Attempts
from gpu_check.inputs import same
from gpu_check.passes import Passes
from gpu_check.place import Place
from gpu_check.problems import OVERLAPPING, Case
from gpuseg import KMeans
from gpuseg.backends import registry

_BITS = Case(10_000_000, 16, 8, 0, 0)
_WHOLE = problems.CASES[0]
_ITERATIONS = 20


def main() -> None:
    """Make both fits."""
    at, attempt = place.taken(place.parser(__doc__).parse_args().emulator), Attempts()
    case = _BITS.of(at.rows(_BITS.rows, problems.FEW_ROWS))
    attempt(f"the CPU's bits, {case.title}", same_bits, at, case)
    case = _WHOLE.of(at.rows(_WHOLE.rows, problems.FEW_ROWS))
    whole = attempt(f"a whole fit, {case.title}", whole_fit, at, case)
    takes = f"a fit takes {whole['full_passes']} full passes" if whole else ""
    attempt.finish(at.figures(takes))


def _model(backend: str = "auto", max_iter: int = _ITERATIONS) -> KMeans:
    """Return a model that stops for nothing but where it can go no further."""
    return KMeans(8, random_state=0, max_iter=max_iter, tol=0.0, backend=backend)


def same_bits(at: Place, case: Case) -> dict[str, float]:
    """Fit on the GPU and on the CPU, and hold one against the other; return the seconds."""
    x = registry.get("cuda").to_host(
        registry.get("cuda").to_device(problems.made(at.xp, case, OVERLAPPING).x)
    )
    fits, took = {}, {}
    for name in ("cuda", "numba"):
        _model(name, 2).fit(x[:100_000])  # compiles
        began = time.perf_counter()
        fits[name] = _model(name).fit(x)
        took[name] = round(time.perf_counter() - began, 2)
    facts.say("fits of both", case=case.title, seconds=took)
    gpu, cpu = fits["cuda"], fits["numba"]
    same(gpu.cluster_centers_, cpu.cluster_centers_, "centres")
    same(gpu.labels_, cpu.labels_, "labels")
    assert (gpu.inertia_, gpu.n_iter_) == (cpu.inertia_, cpu.n_iter_), "inertia or iterations"
    return took


def whole_fit(at: Place, case: Case) -> dict[str, Any]:
    """Time a fit of rows on the device, and full passes over them."""
    problem = problems.made(at.xp, case, OVERLAPPING)
    x = at.backend.to_device(problem.x)
    _model(max_iter=2).fit(x[: at.rows(1_000_000, 500)])
    at.clock.wait()
    began = time.perf_counter()
    model = _model().fit(x)
    at.clock.wait()
    took = time.perf_counter() - began
    full = Passes(at, problem, [problem.start]).timed("full").call
    told = {
        "case": case.title,
        "seconds": round(took, 4),
        "iterations": model.n_iter_,
        "full_pass_ms": round(1e3 * full, 3),
        "full_passes": round(took / full, 1),
    }
    facts.say("fit", **told)
    return told


if __name__ == "__main__":
    main()
