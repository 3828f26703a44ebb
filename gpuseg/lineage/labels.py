"""Numbers beside those of segments: what a customer may be in one output."""

import numpy as np

ABSENT = np.int32(-2)
"""The customer is not in the output."""

REPEATED = np.int32(-3)
"""Several rows of the output have the id."""
