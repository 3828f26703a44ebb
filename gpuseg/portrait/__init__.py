"""What a segment is: told from the segments' sizes and centres, and a hashed sample of the rows."""
