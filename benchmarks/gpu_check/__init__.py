"""Check a GPU step by step: whether kernels work, whether results are right, how fast they are.

`scripts/gpu_check` runs the steps of `steps.STEPS`, each in a separate process with a time limit.
`scripts/gpu_kit` packs everything that a bare machine with a GPU needs for that. A step is a module
with a `main`. The shared modules are `steps` (the list), `runner` (processes and limits), `facts`
(results as JSON lines) and `targets` (the GPU, or the emulator of the tests).
"""
