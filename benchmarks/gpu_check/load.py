"""Whether it works at all: device, driver, NVRTC; whether every form of every kernel loads."""

import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from gpu_check import facts, place, problems
from gpu_check.facts import Attempts
from gpu_check.loaded import blocks_at_once, form, function
from gpu_check.passes import Passes
from gpu_check.place import Place
from gpuseg.backends.cuda import device, nvrtc
from gpuseg.backends.cuda import launch_plans as plan

_PACKAGES = (
    *("numpy", "scipy", "pandas", "pyarrow", "numba", "llvmlite", "scikit-learn"),
    *("cupy-cuda13x", "cupy-cuda12x", "nvidia-cuda-nvrtc", "cuda-pathfinder", "numba-cuda"),
    *("torch", "triton", "jax", "flash-kmeans", "cuml-cu13", "cudf-cu13"),
    *("dask", "distributed", "pydantic", "typing-extensions", "pytest"),
)

_ROWS = 4_000_000
"""Enough for every block to have its share."""

_ASKED = "name,driver_version,pstate,clocks.max.sm,clocks.max.mem,power.limit,ecc.mode.current"


def main() -> None:
    """Load all, and make one pass of each kind of both cases."""
    at, attempt = place.taken(), Attempts()
    attempt("versions", versions)
    attempt("device", about, at)
    known = attempt("kernels", kernels, at) or []
    held = [attempt(f"passes, {case.title}", blocks, at, case) or []
            for case in problems.CASES]  # fmt: skip
    spilling = [form["form"] for form in known if form["spilled_bytes"]]
    most = max((form["registers"] for form in known), default=0)
    parts = [f"{len(known)} forms load, up to {most} registers, {len(spilling)} with local memory"]
    parts += [f"{launch['form']}: {launch['planned']:g} blocks planned, {launch['real']} fit"
              for launches in held for launch in launches if launch["kind"] == "full"]  # fmt: skip
    attempt.finish("; ".join(parts))


def versions() -> dict[str, str]:
    """Return the versions of the packages that are there."""
    there = {}
    for name in _PACKAGES:
        try:
            there[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            there[name] = "none"
    return there


def about(at: Place) -> dict[str, Any]:
    """Return what the device and its driver say of themselves."""
    smi = "none"
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", f"--query-gpu={_ASKED}", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        smi = (done.stdout or done.stderr).strip()
    runtime = at.xp.cuda.runtime
    return {
        "devices": device.devices(),
        "nvidia-smi": smi,
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "nvrtc": nvrtc.version(),
        "limits": vars(at.launcher.limits),
        "free_bytes": at.launcher.free_bytes(),
    }


def kernels(at: Place) -> list[dict[str, Any]]:
    """Load every form of every kernel; return what the compiler made of each."""
    before, made = _cubins(), []
    for kernel in plan.variants():
        attributes = function(at, kernel).attributes
        made.append({
            "form": form(kernel),
            "registers": attributes["num_regs"],
            "spilled_bytes": attributes["local_size_bytes"],
            "shared_bytes": attributes["shared_size_bytes"],
        })  # fmt: skip
    facts.say("compiled", there=len(before), here=len(_cubins() - before))
    return made


def _cubins() -> set[str]:
    home = os.environ.get("GPUSEG_CACHE") or Path.home() / ".cache" / "gpuseg"
    return {path.name for path in Path(home).glob("*.cubin")}


def blocks(at: Place, case: problems.Case) -> list[dict[str, Any]]:
    """Make a pass of each kind; return how many blocks it planned and how many fit."""
    problem = problems.made(at.xp, case.of(_ROWS))
    passes, told = Passes(at, problem, [problem.start]), []
    for kind in ("first", "full", "late"):
        timed = passes.timed(kind, repeats=1)
        for launch in timed.launches:
            planned, real = blocks_at_once(at, launch)
            told.append({"kind": kind, "form": form(launch.kernel), "planned": planned,
                         "real": real, "shared_bytes": launch.shared_bytes})  # fmt: skip
    return told


if __name__ == "__main__":
    main()
