"""Inputs of the estimators: arrays, frames, GPU arrays and Dask collections."""
