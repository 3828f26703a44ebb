"""Every path through every kernel, in few cases, against the specification."""

import os

from support.kernel_cases import CASES, try_out
from support.neighbor_cases import NEAR_CASES, try_near

from gpu_check import place
from gpu_check.facts import Attempts
from gpuseg.backends.cuda.backend import CudaBackend
from gpuseg.backends.cuda.neighbors import CudaNeighbors


def main() -> None:
    """Try all cases; with GPUSEG_TEST_POOL=no every array has memory of its own."""
    at = place.taken(place.parser(__doc__).parse_args().emulator)
    if os.environ.get("GPUSEG_TEST_POOL") == "no" and not at.emulated:
        at.xp.cuda.set_allocator(None)  # a pool hides overruns from sanitizers
    attempt = Attempts()
    streaming = CudaBackend(at.launcher, "full")
    for case in CASES:
        attempt(f"k-means {case}", try_out, at.backend, case)
        attempt(f"k-means, all rows streamed, {case}", try_out, streaming, case)
    for near in NEAR_CASES:
        attempt(f"DBSCAN {near}", try_near, CudaNeighbors(at.launcher), near)
    attempt.finish()


if __name__ == "__main__":
    main()
