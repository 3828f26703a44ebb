"""The stages of a job, in the order in which they run."""
