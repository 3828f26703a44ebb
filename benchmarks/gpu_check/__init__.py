"""What is asked of a GPU, step by step: does it work, is it right, how fast is it.

`scripts/gpu_check` runs the steps of `steps.STEPS`, each in a process of its own and within a
limit of time; `scripts/gpu_kit` packs all that a bare machine with a GPU lacks for that. A step is
a module with a `main`. The files: `steps` (what there is), `runner` (processes and limits),
`facts` (what a step says), `place` (the GPU, or the emulator of the tests).
"""
