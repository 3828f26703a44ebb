"""Profiles of segments, from their sizes and centers and a hashed sample of the rows."""
