"""Resume a run: its calls of the executor are recorded, and their results taken the next time."""
