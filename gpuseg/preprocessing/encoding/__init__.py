"""Columns as features: numbers as they are, categories and gaps as numbers."""

from gpuseg.preprocessing.encoding.arrow_columns import as_numbers, is_number
from gpuseg.preprocessing.encoding.column_counts import Tally, settle
from gpuseg.preprocessing.encoding.encoder import Encoder, Kind

__all__ = ["Encoder", "Kind", "Tally", "as_numbers", "is_number", "settle"]
