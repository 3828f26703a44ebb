"""k-means by exact Lloyd iteration over shards; `fit` puts the steps in order."""
