"""Reading Parquet: schemas, row groups, shards, ids."""
