"""Arguments of compiled kernels."""

from typing import Any

from numpy.typing import NDArray


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view of an array that a kernel does not write.

    numba compiles a kernel once for arrays that may be written and once for arrays that may not.
    Users pass both; so the kernels of k-means and DBSCAN get rows as read-only views.
    """
    view = array.view()
    view.flags.writeable = False
    return view
