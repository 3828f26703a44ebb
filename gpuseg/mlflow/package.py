"""The package mlflow, which is optional."""

import warnings
from typing import Any

from gpuseg.errors import ResourceError, install_extra

_OLDEST = (3, 17)
"""Older versions lose the index of a frame with columns of the type "any": rows are mixed up."""


def import_mlflow() -> Any:
    """Return the package mlflow, with its modules `models` and `pyfunc`.

    Raises
    ------
    ResourceError
        When it cannot be imported, or is too old.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its modules for language models
            import mlflow
            import mlflow.models
            import mlflow.pyfunc
    except ImportError as error:
        raise ResourceError(
            "mlflow.missing",
            f"MLflow cannot be imported ({error})",
            hint=f"install it with: {install_extra('mlflow')}",
        ) from None
    version = str(mlflow.__version__)
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        raise ResourceError(
            "mlflow.too_old",
            f"this is MLflow {version}",
            rule=f"must be {'.'.join(map(str, _OLDEST))} or later: older versions may give a row "
            "the values of another one",
            hint=f"update it with: {install_extra('mlflow')}",
        )
    return mlflow
