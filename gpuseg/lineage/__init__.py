"""The life of segments: their ids in another run, what became of them, and who moved."""
