"""N equal processes, started by the same command, as one cluster for one run."""
