"""Score new customers: rows of JSON, and customers that are like a segment."""
