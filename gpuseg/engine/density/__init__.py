"""The steps of DBSCAN that run where a shard lives; `engine.dbscan` puts them in order.

Each is called as ``function(shard, env, ...)``. What a shard knows besides its rows lies in its
cache, as a `Region`; a shard that was built again elsewhere has lost it, and says so. Rows that
visit another region come as pieces, a piece being a tuple of arrays with an entry a row.
"""
