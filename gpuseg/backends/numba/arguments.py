"""Arguments of compiled kernels."""

from typing import Any

from numpy.typing import NDArray


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view of an array that a kernel does not write.

    numba compiles a kernel once for arrays that may be written and once for arrays that may not.
    Users pass both; so kernels get rows as read-only views, and are compiled once.
    """
    view = array.view()
    view.flags.writeable = False
    return view
