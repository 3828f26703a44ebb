"""Columns as features: numbers as they are, categories and gaps as numbers."""

from gpuseg.encoding.columns import as_numbers, is_number
from gpuseg.encoding.encoder import Encoder, Kind
from gpuseg.encoding.tally import Tally, settle

__all__ = ["Encoder", "Kind", "Tally", "as_numbers", "is_number", "settle"]
