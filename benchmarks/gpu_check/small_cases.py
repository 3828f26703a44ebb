"""Compare few cases, which take every path through every kernel, with the specification."""

import os

from support.kernel_cases import CASES, try_out
from support.neighbor_cases import NEAR_CASES, try_near

from gpu_check import targets
from gpu_check.facts import Attempts
from gpuseg.backends.cuda.backend import CudaBackend
from gpuseg.backends.cuda.neighbors import CudaNeighbors


def main() -> None:
    """Run all cases; with GPUSEG_TEST_POOL=no each array has a separate allocation."""
    target = targets.open_target(targets.parser(__doc__).parse_args().emulator)
    if os.environ.get("GPUSEG_TEST_POOL") == "no" and not target.emulated:
        target.xp.cuda.set_allocator(None)  # a pool hides overruns from sanitizers
    attempt = Attempts()
    streaming = CudaBackend(target.launcher, "full")
    for case in CASES:
        attempt(f"k-means {case}", try_out, target.backend, case)
        attempt(f"k-means, all rows streamed, {case}", try_out, streaming, case)
    for near in NEAR_CASES:
        attempt(f"DBSCAN {near}", try_near, CudaNeighbors(target.launcher), near)
    attempt.finish()


if __name__ == "__main__":
    main()
