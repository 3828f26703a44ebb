"""Submit jobs to the schedulers of clusters, and ask about them."""
