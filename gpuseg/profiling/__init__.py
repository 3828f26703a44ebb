"""Profiles of segments, from their sizes and centres and a hashed sample of the rows."""
