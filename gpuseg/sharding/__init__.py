"""The distributed table: shards, and passes over their rows and columns."""
