"""Ways of scoring the same customers, compared with what a job wrote: `scripts/one_answer`."""
