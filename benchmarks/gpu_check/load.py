"""Basic checks: device, driver, NVRTC, and whether every form of every kernel loads."""

import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from gpu_check import facts, problems, targets
from gpu_check.facts import Attempts
from gpu_check.loaded import form, function, resident_blocks
from gpu_check.passes import Passes
from gpu_check.targets import Target
from gpuseg.backends.cuda import gpus, nvrtc
from gpuseg.backends.cuda import launch_plans as plan

_PACKAGES = (
    *("numpy", "scipy", "pandas", "pyarrow", "numba", "llvmlite", "scikit-learn"),
    *("cupy-cuda13x", "cupy-cuda12x", "nvidia-cuda-nvrtc", "cuda-pathfinder", "numba-cuda"),
    *("torch", "triton", "jax", "flash-kmeans", "cuml-cu13", "cudf-cu13"),
    *("dask", "distributed", "pydantic", "typing-extensions", "pytest"),
)

_ROWS = 4_000_000
"""Enough rows for all blocks."""

_QUERY = "name,driver_version,pstate,clocks.max.sm,clocks.max.mem,power.limit,ecc.mode.current"


def main() -> None:
    """Load all kernels, and run one pass of each kind of both cases."""
    target, attempt = targets.open_target(), Attempts()
    attempt("versions", versions)
    attempt("device", device_facts, target)
    loaded = attempt("kernels", kernels, target) or []
    occupancy = [attempt(f"passes, {case.title}", blocks, target, case) or []
            for case in problems.CASES]  # fmt: skip
    spilling = [form["form"] for form in loaded if form["spilled_bytes"]]
    max_registers = max((form["registers"] for form in loaded), default=0)
    parts = [
        f"{len(loaded)} forms load, up to {max_registers} registers, "
        f"{len(spilling)} with local memory"
    ]
    full = [launch for case in occupancy for launch in case if launch["kind"] == "full"]
    parts += [f"{launch['form']}: {launch['planned']:g} blocks planned, {launch['real']} fit"
              for launch in full]  # fmt: skip
    attempt.finish("; ".join(parts))


def versions() -> dict[str, str]:
    """Return the versions of the installed packages."""
    installed = {}
    for name in _PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "none"
    return installed


def device_facts(target: Target) -> dict[str, Any]:
    """Return the properties of the device and its driver."""
    smi = "none"
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        smi = (done.stdout or done.stderr).strip()
    runtime = target.xp.cuda.runtime
    return {
        "devices": gpus.devices(),
        "nvidia-smi": smi,
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "nvrtc": nvrtc.version(),
        "limits": vars(target.launcher.limits),
        "free_bytes": target.launcher.free_bytes(),
    }


def kernels(target: Target) -> list[dict[str, Any]]:
    """Load every form of every kernel; return the resources of each."""
    before, resources = _cubins(), []
    for kernel in plan.variants():
        attributes = function(target, kernel).attributes
        resources.append({
            "form": form(kernel),
            "registers": attributes["num_regs"],
            "spilled_bytes": attributes["local_size_bytes"],
            "shared_bytes": attributes["shared_size_bytes"],
        })  # fmt: skip
    facts.record("compiled", cached=len(before), new=len(_cubins() - before))
    return resources


def _cubins() -> set[str]:
    home = os.environ.get("GPUSEG_CACHE") or Path.home() / ".cache" / "gpuseg"
    return {path.name for path in Path(home).glob("*.cubin")}


def blocks(target: Target, case: problems.ProblemSize) -> list[dict[str, Any]]:
    """Run a pass of each kind; return its planned blocks, and how many of them fit."""
    problem = problems.make_problem(target.xp, case.with_rows(_ROWS))
    passes, values = Passes(target, problem, [problem.start]), []
    for kind in ("first", "full", "late"):
        timed = passes.timed(kind, repeats=1)
        for launch in timed.launches:
            planned, real = resident_blocks(target, launch)
            values.append({"kind": kind, "form": form(launch.kernel), "planned": planned,
                         "real": real, "shared_bytes": launch.shared_bytes})  # fmt: skip
    return values


if __name__ == "__main__":
    main()
