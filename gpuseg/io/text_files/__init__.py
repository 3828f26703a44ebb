"""CSV files and workbooks of Excel: find their format, read them, convert them to Parquet."""
