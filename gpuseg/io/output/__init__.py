"""The output folder: staged where nobody reads, then published in one step."""
