"""Arguments of compiled kernels."""

from typing import Any

from numpy.typing import NDArray


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view of an array that a kernel does not write.

    numba compiles a kernel once for arrays that may be written and once for arrays that may not.
    Users pass both, and what comes from a Dask worker or a file may be read-only. So kernels get
    rows, weights and centers as read-only views.
    """
    view = array.view()
    view.flags.writeable = False
    return view
