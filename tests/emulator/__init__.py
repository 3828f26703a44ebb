"""Runs the unchanged CUDA C++ files of `kernels/` on the CPU, for tests on machines without a GPU.

g++ compiles a kernel with `cuda.h`, which defines what CUDA adds to C++, and a small runtime
executes it: each thread of a block is a fiber, blocks run one after another. In check mode every
access to memory is watched, and data races, accesses out of bounds, reads of what nobody wrote,
misaligned vectors, writes through const and overflows of integers are reported with the line of
the kernel.

Asynchronous copies arrive when they are waited for, never before, and what they copy to is garbage
until then. Products on tensor cores and approximate roots come out anywhere within the bounds of
`kernels/mma.cuh`, drawn anew in each run. What was drawn is repeated by setting the environment
variable `GPUSEG_EMULATOR_DRAWS` to the number that stands in a report, or below tests that failed.

What this can prove: that a kernel computes what it should in several orders of execution, and
that these executions contain none of the errors above. What it cannot: anything about speed,
registers or the limits of a device; about weak memory ordering, since fences do nothing here;
about paths that no test takes. Blocks that hand over data by fence and counter are reported as a
race whether they do it well or badly. Lanes that meet for a product of matrices from different
lines of the kernel are not told from lanes that meet in one. A pointer that leaves one static
__shared__ array for the next is not seen (an index is: it is held against the declaration), nor is
one that leaves a slice of an array for a neighbouring slice which is an argument too. Subnormal
numbers are kept, as they are on a GPU unless it is told to flush them.
"""
