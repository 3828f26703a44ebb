"""Where shards live and functions run: in this process or on Dask workers."""
