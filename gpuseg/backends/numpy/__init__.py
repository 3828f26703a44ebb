"""The specification of every primitive: short, obvious, the oracle of the tests."""
