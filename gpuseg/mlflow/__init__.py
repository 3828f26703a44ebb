"""Segmentations as models of MLflow: saved without pickle, loaded by MLflow as a pyfunc.

The folder of an MLflow model holds the saved model and the manifest of the run. MLflow loads it by
the module `gpuseg.mlflow`, so nothing in the folder is code. This needs ``gpuseg[mlflow]``.

Examples
--------
>>> import gpuseg
>>> import mlflow  # doctest: +SKIP
>>> info = gpuseg.mlflow.log_model("out/segments", "segments")  # doctest: +SKIP
>>> mlflow.pyfunc.load_model(info.model_uri).predict(customers)  # doctest: +SKIP
>>> gpuseg.mlflow.load_model(info.model_uri)  # doctest: +SKIP
KMeansModel(n_clusters=5, n_features=3)
"""

from gpuseg.mlflow.load import load_model, load_pyfunc
from gpuseg.mlflow.log import log_model
from gpuseg.mlflow.save import save_model

__all__ = ["load_model", "log_model", "save_model"]

_load_pyfunc = load_pyfunc
"""The name by which MLflow finds the function."""
