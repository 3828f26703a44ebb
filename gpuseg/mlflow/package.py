"""The package mlflow, which is optional."""

import warnings
from typing import Any

from gpuseg.errors import ResourceError


def import_mlflow() -> Any:
    """Return the package mlflow, with its modules `models` and `pyfunc`.

    Raises
    ------
    ResourceError
        When it cannot be imported.
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
            hint="install it with: pip install gpuseg[mlflow]",
        ) from None
    return mlflow
