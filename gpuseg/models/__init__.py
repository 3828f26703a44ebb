"""Fitted segmentations as values: saved, loaded, and applied to new rows.

A model class is registered by the name of its algorithm (`models.base.register_model`), and
`load_model` finds it by the name in model.json.
"""
