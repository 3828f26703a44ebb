"""Fuzzers: hostile cases drawn from a seed, few of them in the tests, many by `scripts/fuzz`."""
