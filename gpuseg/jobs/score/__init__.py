"""Score a table with a saved model: read, prepare, assign and write in one pass."""
