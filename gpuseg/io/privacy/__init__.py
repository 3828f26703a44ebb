"""Personal data: columns that are refused, and ids as keyed hashes."""
