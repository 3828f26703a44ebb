"""Watch runs from another process: their status, their log, and their end."""
