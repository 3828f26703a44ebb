"""Tables of Delta Lake, Iceberg and Hudi: which files have their current rows."""
