"""The next steps that errors of missing values name."""

from gpuseg.errors import set_key

_FILL = f"{set_key('missing', 'median')}, which fills each with the median of its feature"

FILL = f'{_FILL} (or "mean" or "zero")'
"""Fill missing values; a hint."""

FILL_OR_DROP = f'{_FILL} (or "mean" or "zero", or "drop", which leaves such rows out)'
"""Fill missing values, or drop their rows; a hint."""
