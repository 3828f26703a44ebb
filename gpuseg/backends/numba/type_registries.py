"""Importing this fills numba's registries of types and functions.

numba fills them before it loads the first kernel, which takes longer than loading it.
"""

from numba.core.registry import cpu_target

cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
