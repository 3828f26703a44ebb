"""Score new customers: tables, rows of JSON, and customers that are like a segment."""
