"""Saved segmentations in the formats of other systems.

A format is a module, or a folder of modules, with an `ExportFormat` named ``FORMAT``, and a line in
`exports.registry`. It makes files from a saved output and the options of the export.
"""
