"""The specification of every primitive: short and obvious, the oracle of the tests."""
