"""Run the unchanged CUDA C++ files of `kernels/` on the CPU, for tests without a GPU.

g++ compiles a kernel with `cuda.h`, which defines what CUDA adds to C++, and a small runtime
executes it: each thread of a block is a fiber, and blocks run one after another. In check mode
every memory access is watched. Data races, accesses out of bounds, reads of uninitialized memory,
misaligned vectors, writes through const and integer overflows are reported with the line of the
kernel.

Asynchronous copies arrive when they are waited for, never earlier; until then their target holds
garbage. Products on tensor cores and approximate roots are random within the bounds of
`kernels/common/mma.cuh`, and differ from run to run. To repeat a run, set the environment variable
`GPUSEG_EMULATOR_DRAWS` to the number in its reports, or below its failed tests.

The emulator can prove that a kernel computes the right result in several orders of execution, and
that these executions contain none of the errors above. It proves nothing about speed, registers
or the limits of a device, about weak memory ordering (fences do nothing here), or about paths that
no test takes. Blocks that pass data by fence and counter are reported as a race, correct or not.
Lanes that meet for a product of matrices from different lines of the kernel are treated as lanes
that meet in one line. A pointer that leaves one static __shared__ array for the next is not
detected (an index is: it is checked against the declaration), nor is a pointer that leaves a slice
of an array for a neighboring slice which is also an argument. Subnormal numbers are kept, as on a
GPU without flags that flush them.
"""
