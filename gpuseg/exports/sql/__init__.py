"""A segmentation as one SELECT, in any dialect that sqlglot writes.

The statement rounds to float32 where gpuseg does, and adds in the same order. It only uses what all
dialects have with one meaning.
"""
