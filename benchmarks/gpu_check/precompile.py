"""Compile every form of every kernel for an architecture into $GPUSEG_CACHE, without a GPU."""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from gpuseg.backends.cuda import launch_plans as plan
from gpuseg.backends.cuda.kernel_cache import cubin_path


def main() -> None:
    """Compile, on all processors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arch", help="such as sm_90")
    kernels = plan.variants()
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(cubin_path, arch=parser.parse_args().arch), kernels))
    print(f"{len(kernels)} forms of kernels compiled")


if __name__ == "__main__":
    main()
