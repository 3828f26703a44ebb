"""Importing this first stops the garbage collector while a fork server imports.

Imports make many objects, and hardly any garbage.
"""

import gc

gc.disable()
