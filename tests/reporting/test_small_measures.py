"""Measures of drift as tables write them."""

import pytest

from gpuseg.formatting import NOTHING, small_measure


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, NOTHING), (0.0, "0"), (1.6e-5, "<0.001"), (0.001, "0.001"), (0.0456, "0.046")],
)
def test_measures_of_no_interest_have_no_exponent(value: float | None, text: str) -> None:
    assert small_measure(value) == text
