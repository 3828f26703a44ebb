"""Importing this removes the working folder from the path of a fork server."""

import sys

if "" in sys.path:
    sys.path.remove("")
