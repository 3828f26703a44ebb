"""From raw columns to the features that are clustered."""
