"""Inputs of the estimators: arrays, frames, GPU arrays and Dask collections.

An estimator uses functions of `_inputs.load`: `load_rows` and `load_batch` put the rows of any X
into an executor, and `map_rows` calls a function on any X. Only this package asks what X is.
"""
