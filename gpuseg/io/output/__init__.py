"""The output folder: staged out of sight of readers, then published in one step."""
