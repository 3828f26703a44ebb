"""Job files: validated whole, composed into one run."""
