"""DBSCAN over shards; `fit` puts the steps in order."""
