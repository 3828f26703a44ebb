"""The steps, the most important first, in case time is short."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class CheckStep:
    """One check of a GPU.

    Attributes
    ----------
    name : str
    limit : int
        Maximum seconds.
    question : str
        What the step finds out.
    command : tuple of str
        The command of its process.
    emulated : bool
        Whether it accepts ``--emulator``.
    on_request : bool
        Whether it runs only if it is named.
    """

    name: str
    limit: int
    question: str
    command: tuple[str, ...]
    emulated: bool = False
    on_request: bool = False


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"gpu_check.{name}", *arguments)


SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
PEERS = ("flash_kmeans", "torch_one_hot", "torch_index_add", "cuml")

STEPS = (
    CheckStep("load", 60, "whether every form of every kernel loads; registers, resident blocks",
         _module("load")),
    CheckStep("small_cases", 60, "whether few cases are right: every path through every kernel",
         _module("small_cases"), emulated=True),
    CheckStep("times", 150, "the times of passes at full size, and the limits of the device",
         _module("times"), emulated=True),
    CheckStep("quick", 60, "the same with a twentieth of the rows",
         _module("times", "--share", "0.05"), emulated=True, on_request=True),
    CheckStep("inputs", 120, "whether rows of all libraries are accepted",
         _module("inputs"), emulated=True),
    CheckStep("profile", 90, "counters of NVIDIA's profiler, to explain the times of passes",
         _module("profile")),
    *(CheckStep(tool, 75, f"whether compute-sanitizer's {tool} reports errors in few cases",
           _module("sanitize", tool)) for tool in SANITIZERS),
    CheckStep("tests", 180, "whether the kernels' tests pass on the device", _module("suite")),
    CheckStep("fits", 120, "whether complete fits have the bits of the CPU, and their times",
         _module("fits"), emulated=True),
    *(CheckStep(peer, 75, f"the time of an iteration of {peer}", _module("peers", peer))
      for peer in PEERS),
    CheckStep("dbscan", 100, "DBSCAN against the CPU", _module("dbscan"), emulated=True),
    CheckStep("cuml_dbscan", 60, "the time of cuML's DBSCAN", _module("dbscan", "--cuml")),
)  # fmt: skip

GROUPS = {
    "sanitizers": SANITIZERS,
    "peers": (*PEERS, "cuml_dbscan"),
    "figures": ("load", "times", "fits", *PEERS, "dbscan", "cuml_dbscan"),
}
"""Names of several steps."""


def select_steps(names: list[str]) -> list[CheckStep]:
    """Return the steps of these names, in this order; by default, all that run without a request.

    Raises
    ------
    ValueError
        For a name that is neither a step nor a group.
    """
    by_name = {step.name: step for step in STEPS}
    if not names:
        return [step for step in STEPS if not step.on_request]
    single = [step for name in names for step in GROUPS.get(name, (name,))]
    if unknown := [name for name in single if name not in by_name]:
        raise ValueError(
            f"{', '.join(unknown)}: no such step; there are {', '.join([*by_name, *GROUPS])}"
        )
    return [by_name[name] for name in single]
