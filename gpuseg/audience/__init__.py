"""Files of customers for advertising platforms: hashed contacts of a segment, with consent."""

MINIMUM = 100
"""Rows of a file by default. Meta asks for lists of at least 100 people, and Google shows no
advertisement to fewer."""
