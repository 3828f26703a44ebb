"""Drift: how far rows differ from the rows of the fit, counted exactly in bins of the fit."""
