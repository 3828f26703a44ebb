"""Constants of confidence intervals."""

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution: half the width of a 95 % interval."""
