"""Importing this last keeps the garbage collector off all that a fork server has imported.

The collector writes to each object that it visits, and a page that a worker writes to is no longer
shared with the others. And a process that ends visits all of them.
"""

import gc

gc.freeze()
gc.enable()
