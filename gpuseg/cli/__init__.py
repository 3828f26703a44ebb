"""The command line. Commands import heavy packages themselves, so that ``--help`` is fast."""
