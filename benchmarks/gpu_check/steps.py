"""The steps, in the order of what they are worth when time is short."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One thing that is asked of a GPU.

    Attributes
    ----------
    name : str
    limit : int
        Seconds that it may take.
    tells : str
        What is known after it.
    command : tuple of str
        What is run.
    emulated : bool
        Whether it takes ``--emulator``.
    asked_only : bool
        Whether it runs only where it is named.
    """

    name: str
    limit: int
    tells: str
    command: tuple[str, ...]
    emulated: bool = False
    asked_only: bool = False


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"gpu_check.{name}", *arguments)


SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
PEERS = ("flash_kmeans", "torch_one_hot", "torch_index_add", "cuml")

STEPS = (
    Step("load", 60, "whether every form of every kernel loads; registers, blocks at once",
         _module("load")),
    Step("few", 60, "whether few cases are right: every path through every kernel",
         _module("few"), emulated=True),
    Step("times", 150, "the passes' times at full size, beside what the device can do",
         _module("times"), emulated=True),
    Step("quick", 60, "the same with a twentieth of the rows",
         _module("times", "--share", "0.05"), emulated=True, asked_only=True),
    Step("inputs", 120, "whether rows are taken from wherever they lie",
         _module("inputs"), emulated=True),
    Step("profile", 90, "why passes take as long as they do, by NVIDIA's profiler",
         _module("profile")),
    *(Step(tool, 75, f"what compute-sanitizer's {tool} says of few cases",
           _module("sanitize", tool)) for tool in SANITIZERS),
    Step("tests", 180, "whether the kernels' tests pass on the device", _module("suite")),
    Step("fits", 120, "whether whole fits have the CPU's bits, and how long they take",
         _module("fits"), emulated=True),
    *(Step(peer, 75, f"how long an iteration of {peer} takes", _module("peers", peer))
      for peer in PEERS),
    Step("dbscan", 100, "DBSCAN against the CPU", _module("dbscan"), emulated=True),
    Step("cuml_dbscan", 60, "how long cuML's DBSCAN takes", _module("dbscan", "--cuml")),
)  # fmt: skip

GROUPS = {
    "sanitizers": SANITIZERS,
    "peers": (*PEERS, "cuml_dbscan"),
    "figures": ("load", "times", "fits", *PEERS, "dbscan", "cuml_dbscan"),
}
"""Names that stand for several steps."""


def chosen(names: list[str]) -> list[Step]:
    """Return the steps of these names, in this order; without names, those that run unasked.

    Raises
    ------
    ValueError
        For a name that is neither a step's nor a group's.
    """
    known = {step.name: step for step in STEPS}
    if not names:
        return [step for step in STEPS if not step.asked_only]
    single = [step for name in names for step in GROUPS.get(name, (name,))]
    if unknown := [name for name in single if name not in known]:
        raise ValueError(
            f"{', '.join(unknown)}: no such step; there are {', '.join([*known, *GROUPS])}"
        )
    return [known[name] for name in single]
